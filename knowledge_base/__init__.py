"""Distilled knowledge: storing, embedding, retrieving and exchanging it."""
