"""Product bundles from a shopper's session, by a small model that has learnt a large model's know-how."""

__version__ = "0.1.0"
