"""Pools of pseudo images, and the policies that decide which images a pool keeps."""
