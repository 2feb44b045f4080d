"""The prompt workbench: what templates render, what is wrong with them, and which of two is better."""
