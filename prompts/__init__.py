"""Prompt templates and their strict rendering, shared by teacher, student, training and serving."""
