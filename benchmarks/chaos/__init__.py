"""Sweeps that are disturbed at random: what disturbs them, and what must be equal in the end. Tests use both."""
