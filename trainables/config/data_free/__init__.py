"""Fields of a data-free trial, and the names of the parts that such a trial can be composed of. Imports no torch."""
