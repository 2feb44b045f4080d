"""SFT examples, LoRA training and adapters."""
