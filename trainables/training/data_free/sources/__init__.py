"""Sources of pseudo images: what makes them, and how it learns."""
