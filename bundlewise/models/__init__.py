"""Base models: their folders, memory and prices, and the endpoints that serve them."""
