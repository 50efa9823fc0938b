"""Pools of pseudo images: what is kept, and how it is drawn from."""
