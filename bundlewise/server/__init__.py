"""The server: the student over HTTP, also for OpenAI's clients, and over MCP."""

from bundlewise.extras import require

require("serve", "the server (HTTP and MCP)")
