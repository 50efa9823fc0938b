"""What is measured, and the plain loop that it is measured against."""
