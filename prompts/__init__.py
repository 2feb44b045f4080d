"""Prompt templates and their strict rendering, for teacher, student, training and serving."""
