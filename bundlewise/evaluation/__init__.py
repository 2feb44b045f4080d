"""Metrics, baselines, and scores of predictions."""
