"""The student: reads titles and knowledge, scores pairs, and decodes bundles with their intents."""
