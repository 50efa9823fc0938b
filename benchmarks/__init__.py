"""Benchmarks: measurements of the project's speed and results, and the published loop that they compare it with."""
