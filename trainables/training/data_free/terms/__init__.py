"""Terms of a source's loss."""
