"""Find the products that a shopper means in the cart or in the last list, or ask if that is not clear."""

from collections.abc import Sequence
from dataclasses import dataclass

from bundlewise.agents.assistant.conversation import Action, Desk, OpenQuestion
from bundlewise.agents.assistant.mentions import ALL, at, bundles_in, called, called_each, is_exactly, ordered
from bundlewise.agents.assistant.wording import no_bundle, no_place, quoted
from bundlewise.domain import Item
from bundlewise.text import head_noun, kind, line, tokens

POINTING = frozenset({"it", "this", "that"})
MOST_TOLD = 5
MOST_COMPARED = 3
"""The first products of a list that are compared if none is named."""


@dataclass(frozen=True)
class Chosen:
    """The products that are meant; else a fault in words, and the products among which to choose."""

    items: tuple[Item, ...] = ()
    fault: str = ""
    among: tuple[Item, ...] = ()

    def asked(self, desk: Desk, action: Action) -> Desk:
        """Return the desk with the question that the fault asks, if there is something to choose among."""
        if not self.among:
            return desk
        question = OpenQuestion(action=action, among=tuple(item.id for item in self.among))
        return desk.model_copy(update={"question": question})


def in_cart(desk: Desk, action: Action) -> Chosen:
    """Return the products of the cart that an action names."""
    if not desk.cart:
        return Chosen(fault="The cart is empty.")
    if action.ids:
        held = {item.id: item for item in desk.cart}
        if missing := [key for key in action.ids if key not in held]:
            return Chosen(fault=f"There is no product {quoted(missing)} in the cart.")
        return Chosen(tuple(held[key] for key in action.ids))
    if action.least_price is not None or action.max_price is not None:
        return _priced(desk, action)
    if action.order:
        pool = called(action.text, desk.cart) if action.text else list(desk.cart)
        found = tuple(ordered(pool, action.order)[: action.top])
        return Chosen(found, "" if found else "I know no price of such a product in the cart.")
    if action.numbers:
        chosen, absent = at(action.numbers, desk.cart)
        return Chosen(tuple(chosen), no_place(absent, len(desk.cart), "in the cart") if absent else "")
    if bundles_in(action.text):
        items, fault = in_bundles(desk, action.text)
        return Chosen(tuple(items), fault)
    return _pointed(desk, action) if not action.text or means_all(action.text) else _named(desk, action)


def _priced(desk: Desk, action: Action) -> Chosen:
    least, most = action.least_price or 0.0, action.max_price if action.max_price is not None else float("inf")
    found = tuple(item for item in desk.cart if item.price is not None and least <= item.price <= most)
    return Chosen(found, "" if found else "No product in the cart has such a price.")


def _pointed(desk: Desk, action: Action) -> Chosen:
    """Return the product that `it` or `both` points to: the one talked about last, or the only one."""
    focused = tuple(item for item in desk.cart if item.id in desk.focus)
    both = "both" in action.text.split()
    for items in (focused, desk.cart):
        if len(items) == (2 if both else 1):
            return Chosen(items)
    if set(action.text.split()) & {"them", "these", "those"} and focused:
        return Chosen(focused)
    return Chosen(fault="Which one? Say its number or words of its title.", among=desk.cart)


def _named(desk: Desk, action: Action) -> Chosen:
    """Return the products of the cart with the words of a title; what only a slip or half a word finds is asked."""
    if several := called_each(action.text, desk.cart):
        return Chosen(tuple(several))
    fitting = called(action.text, desk.cart)
    plural = action.text.rstrip().endswith("s") and len(fitting) < len(desk.cart)
    if len(fitting) == 1 or (fitting and plural):
        if action.name == "remove" and not all(_surely(action.text, item) for item in fitting):
            titles = "; ".join(line(item.title) for item in fitting)
            return Chosen(fault=f"Do you mean {titles}? Say yes or no.", among=tuple(fitting))
        return Chosen(tuple(fitting))
    if fitting:
        places = ", ".join(f"{desk.cart.index(item) + 1}. {item.title}" for item in fitting[:MOST_TOLD])
        return Chosen(fault=f"Several fit: {places}. Say its number.", among=tuple(fitting))
    return Chosen(fault=f"No product in the cart is called {line(action.text)!r}.", among=desk.cart)


def _surely(text: str, item: Item) -> bool:
    """Say whether every word of a text is in a title, and one of them says what the product is, or `one` is asked."""
    of_kind = {head_noun(word) for word in tokens(kind(item.title))}
    return is_exactly(text, item, of_kind)


def in_bundles(desk: Desk, text: str) -> tuple[list[Item], str]:
    """Return the products of the bundles that a text names, or a message about a missing bundle."""
    chosen, absent = at(bundles_in(text), desk.bundles)
    if absent:
        return [], no_bundle(absent[0], len(desk.bundles))
    return [item for offer in chosen for item in offer.items if item in desk.cart], ""


def means_all(text: str) -> bool:
    """Say whether a text only points: `all of them`, `it`, `both`."""
    parts = [word for word in text.lower().split() if word not in ("of", "the", "one", "ones", "products", "items")]
    return bool(parts) and set(parts) <= ALL


def in_list(desk: Desk, action: Action) -> Chosen:
    """Return the products of the last list, or of the cart where there is no list, that an action names."""
    listed: Sequence[Item] = desk.cart if action.text == "cart" or not desk.found else desk.found
    text = "" if action.text == "cart" else action.text
    if action.order:
        pool = called(text, listed) or list(listed) if text else list(listed)
        found = tuple(ordered(pool, action.order)[: action.top])
        return Chosen(found, "" if found else "I know no price of these.")
    if action.numbers:
        chosen, absent = at(action.numbers, listed)
        where = "in the list" if desk.found else "in the cart"
        return Chosen(tuple(chosen), no_place(absent, len(listed), where) if absent else "")
    if text and not means_all(text):
        each = called_each(text, listed) or called_each(text, (*listed, *desk.cart))
        return Chosen(tuple(each or called(text, listed) or called(text, desk.cart)))
    known = {item.id: item for item in (*desk.found, *desk.cart)}
    focused = tuple(known[key] for key in desk.focus if key in known)
    size = 2 if "both" in text.split() else 1
    if len(focused) >= size or (focused and size == 1):
        return Chosen(focused)
    return Chosen(tuple(listed[:MOST_COMPARED]) if action.name == "compare" or len(listed) <= 2 else ())
