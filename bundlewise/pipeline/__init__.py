"""The steps of the main workflow as functions: distil, tune, predict, assist."""
