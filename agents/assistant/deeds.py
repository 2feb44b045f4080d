"""All actions on the desk that need no student, by name."""

from collections.abc import Callable, Mapping

from bundlewise.agents.assistant import adding, cart, shelf
from bundlewise.agents.assistant.cart import Deed, Finder
from bundlewise.agents.assistant.conversation import Act, Action, ChipsEvent, Desk
from bundlewise.agents.assistant.wording import HELP, chips_of


def do(desk: Desk, action: Action, finder: Finder) -> Deed:
    """Perform an action and return its result."""
    return DEEDS[action.name](desk, action, finder)


def _saying(text: str) -> Callable[[Desk, Action, Finder], Deed]:
    return lambda desk, action, finder: Deed(desk, text, (ChipsEvent(chips=chips_of(desk)),))


DEEDS: Mapping[Act, Callable[[Desk, Action, Finder], Deed]] = {
    "search": shelf.search,
    "more": shelf.more,
    "sort": shelf.sort,
    "compare": shelf.compare,
    "details": shelf.details,
    "swap": shelf.swap,
    "checkout": shelf.checkout,
    "answer": shelf.answer,
    "unknown": shelf.unknown,
    "add": adding.add,
    "paste": adding.paste,
    "remove": cart.remove,
    "quantity": cart.quantity,
    "exclude": cart.exclude,
    "include": adding.include,
    "clear": cart.clear,
    "limit": cart.limit,
    "free": cart.free,
    "show": cart.show,
    "help": _saying(HELP),
    "greet": _saying(f"Hello. {HELP}"),
    "thanks": lambda desk, action, finder: Deed(desk, "You are welcome."),
    "dismiss": _saying("All right, I leave everything as it is."),
}
