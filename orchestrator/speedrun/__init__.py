"""Records: which students of a track are reached for how little, by rules that are the same for all."""
