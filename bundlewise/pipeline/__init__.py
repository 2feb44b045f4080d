"""The steps of the main job as functions: distil, predict, serve."""
