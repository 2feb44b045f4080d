"""The prompt workbench: render templates, check them, compare them, and improve them."""
