"""Fine-tune the student: training examples, LoRA training and adapters."""
