"""The server: the student over HTTP, as OpenAI's clients speak it too, and over MCP."""
