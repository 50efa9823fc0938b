"""Fields of a data-free trial, and the pieces that they may name. Free of torch."""
