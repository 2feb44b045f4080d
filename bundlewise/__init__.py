"""Find product bundles in a shopper's session with a small model that uses the knowledge of a large one."""

__version__ = "0.1.0"
