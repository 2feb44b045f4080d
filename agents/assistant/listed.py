"""Products that a message lists, as chat clients send them: lines, or parts between semicolons or commas."""

from bundlewise.agents.assistant.router import Seen, understand


def products_in(text: str) -> tuple[str, ...]:
    """Return the titles that a message lists, without its orders and talk; none where it is no list."""
    found = (action.titles for action in understand(text, Seen()) if action.name == "paste")
    return next(found, ())


def is_list(text: str) -> bool:
    """Say whether a message has several products in it, lines or parts between semicolons, and no orders or talk."""
    several = sum(bool(part.strip()) for part in text.replace(";", "\n").splitlines()) > 1
    return several and bool(products_in(text))
