"""The assistant: understands a message, changes the cart and words the reply."""
