"""Speedrun: records of the recipes that reach a target accuracy with the fewest operations, under common rules."""
