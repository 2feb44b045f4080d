"""The certificates by which clients of servers know whom to trust."""

import ssl
from functools import cache


@cache
def certificates() -> ssl.SSLContext:
    """Return the certificates that this machine trusts; they are read once, which takes longer than a question."""
    import httpx2

    return httpx2.create_ssl_context()
