"""Benchmarks of the time that training, evaluation and the driver take: the tables of docs/performance.md."""
