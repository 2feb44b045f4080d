"""Experiments: grids over the dials of knowledge, run, scored and reported without flattery."""
