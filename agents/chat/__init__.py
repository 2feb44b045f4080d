"""The client of chat endpoints: sends questions, waits, retries and reads the answers."""
