"""The server: bundles over HTTP and MCP, and the assistant's web page."""
