"""What the graphs' nodes do: teaching, answering, checking, decoding."""
