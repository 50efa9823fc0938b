"""Sources of pseudo images: generators, or pixels that are learnt directly."""
