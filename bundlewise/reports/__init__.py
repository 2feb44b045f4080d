"""Pages and pictures of knowledge and training."""
