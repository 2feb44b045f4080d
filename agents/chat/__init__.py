"""The client of chat endpoints: asks, waits, repeats and reads the answers."""
