"""How long the loop, its measurements and the driver take: the tables of docs/performance.md."""
