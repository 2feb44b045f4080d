"""Experiments: grids of settings of the knowledge, run cell by cell, scored and reported."""
