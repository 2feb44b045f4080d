"""The server: the student over HTTP, as OpenAI's clients speak it too, and over MCP."""

from bundlewise.extras import require

require("serve", "the server (HTTP and MCP)")
