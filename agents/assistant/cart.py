"""The actions on the desk that need no student; a refused action gives the reason and changes nothing."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from bundlewise.agents.assistant.conversation import Act, Action, Desk, Event, ProductsEvent
from bundlewise.agents.assistant.mentions import ALL, at, bundles_in, called, called_each, is_amount
from bundlewise.agents.assistant.wording import (
    HELP,
    UNKNOWN,
    count_of,
    in_words,
    no_bundle,
    no_place,
    quoted,
    titles_of,
    within_prices,
)
from bundlewise.agents.student.compose import MAX_PRODUCTS
from bundlewise.agents.student.limits import Limits
from bundlewise.domain import Item
from bundlewise.text import MOST_WORDS, line, normal, short, words
from bundlewise.titles import LONGEST, clean, title_fault

SHOWN = 8


class Finder(Protocol):
    """The functions of a catalogue that actions need."""

    @property
    def by_id(self) -> Mapping[str, Item]:
        """Return all products by id."""

    def search(
        self, text: str, limit: int = SHOWN, least: float | None = None, most: float | None = None
    ) -> list[tuple[Item, float]]:
        """Return the products that match a text, best first."""

    def knows(self, word: str) -> bool:
        """Say whether a word is in the catalogue."""


@dataclass(frozen=True)
class Deed:
    """The result of an action: the new desk, the reply's text, cards, and the actions that must follow."""

    desk: Desk
    said: str
    events: tuple[Event, ...] = ()
    refused: bool = False
    then: tuple[Action, ...] = ()


def do(desk: Desk, action: Action, finder: Finder) -> Deed:
    """Perform an action and return its result."""
    return DEEDS[action.name](desk, action, finder)


def search(desk: Desk, action: Action, finder: Finder) -> Deed:
    """Show the products that match a text and a range of prices."""
    query = line(action.text)[:LONGEST]
    found = tuple(item for item, _ in finder.search(query, SHOWN, action.least_price, action.max_price))
    what = f" for {query!r}" if query else ""
    if len(set(words(query))) > MOST_WORDS:
        what = f" for the first {MOST_WORDS} words of your text"
    within = within_prices(action)
    if not found:
        return Deed(desk, f"I found nothing{what}{within} in the catalogue.")
    after = desk.model_copy(update={"found": found, "query": query})
    count = "one product" if len(found) == 1 else f"{len(found)} products"
    said = f"I found {count}{what}{within}. Say add 1{', or add 1 and 2' if len(found) > 1 else ''}."
    return Deed(after, said, (ProductsEvent(products=found, query=query),))


def add(desk: Desk, action: Action, finder: Finder) -> Deed:
    """Put products into the cart: by id, by their numbers in the last list, or by words."""
    if action.ids:
        if unknown := [key for key in action.ids if key not in finder.by_id]:
            return _refuse(desk, f"There is no product {quoted(unknown)} in the catalogue.")
        return _put(desk, [finder.by_id[key] for key in action.ids])
    if action.numbers:
        chosen, missing = at(action.numbers, desk.found)
        if missing or not chosen:
            return _refuse(desk, no_place(missing or action.numbers, len(desk.found), "in the list"))
        return _put(desk, chosen)
    if bundles_in(action.text):
        products, fault = _in_bundles(desk, action.text)
        return _refuse(desk, fault) if fault else _put(desk, products)
    if is_amount(action.text):
        return _refuse(desk, "Which ones? Say add and their numbers.")
    if _means_all(action.text):
        single = action.text.split()[0] in ("it", "this", "that") and len(desk.found) > 1
        if single or not desk.found:
            return _refuse(desk, "Which product? Say find and what you look for, then add and its number.")
        return _put(desk, list(desk.found))
    return _add_called(desk, action.text, finder)


def _add_called(desk: Desk, text: str, finder: Finder) -> Deed:
    if several := called_each(text, desk.found):
        return _put(desk, several)
    fitting = called(text, desk.found)
    if len(fitting) == 1:
        return _put(desk, fitting)
    found = fitting or [item for item, _ in finder.search(text, SHOWN)]
    if not found:
        return _refuse(desk, f"I found nothing for {line(text)!r} in the catalogue.")
    if len(found) == 1:
        return _put(desk, found)
    after = desk.model_copy(update={"found": tuple(found[:SHOWN]), "query": line(text)[:LONGEST]})
    said = f"Several products fit {line(text)!r}. Which one? Say add and its number."
    return Deed(after, said, (ProductsEvent(products=after.found, query=after.query),))


def paste(desk: Desk, action: Action, finder: Finder) -> Deed:
    """Put a list of titles into the cart, as products of the catalogue if it has them, else as new products."""
    if not action.titles:
        return _refuse(desk, "The list is empty; paste products, one per line.")
    if faults := [f"{short(title, 4)!r}: {title_fault(title)}." for title in action.titles if title_fault(title)]:
        return _refuse(desk, faults[0])
    return _put(desk, [_of_title(title, finder) for title in action.titles])


def _of_title(title: str, finder: Finder) -> Item:
    title = clean(title)
    wanted = _same(title)
    for item, _ in finder.search(title, 3):
        if _same(item.title) == wanted:
            return item
    return Item(id=f"own-{hashlib.sha256(wanted.encode()).hexdigest()[:12]}", title=line(title))


def _same(title: str) -> str:
    """Return a title in a form that ignores case, white space and the encoding of accents."""
    return " ".join(normal(line(title)).split())


def _put(desk: Desk, products: Sequence[Item]) -> Deed:
    there = {item.id for item in desk.cart}
    new = list({item.id: item for item in products if item.id not in there}.values())
    if len(desk.cart) + len(new) > MAX_PRODUCTS:
        return _refuse(desk, f"The cart holds at most {MAX_PRODUCTS} products, as many as the student reads at once.")
    kept = tuple(key for key in desk.excluded if key not in {item.id for item in products})
    after = _changed(desk, cart=(*desk.cart, *new), excluded=kept) if new or kept != desk.excluded else desk
    if not new:
        return Deed(after, "That is in the cart already.", (after.card(),))
    named = titles_of(new) if len(new) <= 3 else f"{len(new)} products"
    return Deed(after, f"Added {named}. {count_of(after)}", (after.card(),))


def remove(desk: Desk, action: Action, _: Finder) -> Deed:
    """Take products out of the cart."""
    chosen, fault = _in_cart(desk, action)
    if fault:
        return _refuse(desk, fault)
    gone = {item.id for item in chosen}
    cart = tuple(item for item in desk.cart if item.id not in gone)
    after = _changed(desk, cart=cart, excluded=tuple(key for key in desk.excluded if key not in gone))
    return Deed(after, f"Removed {titles_of(chosen)}. {count_of(after)}", (after.card(),))


def exclude(desk: Desk, action: Action, _: Finder) -> Deed:
    """Leave products out of bundles; they stay in the cart."""
    chosen, fault = _in_cart(desk, action)
    if fault:
        return _refuse(desk, fault)
    after = _changed(desk, excluded=tuple(dict.fromkeys((*desk.excluded, *(item.id for item in chosen)))))
    return Deed(after, f"Leaving out {titles_of(chosen)}.", (after.card(),), then=_again(after))


def include(desk: Desk, action: Action, _: Finder) -> Deed:
    """Let products that were left out into bundles again."""
    out = desk.model_copy(update={"cart": tuple(item for item in desk.cart if item.id in desk.excluded)})
    chosen, fault = _in_cart(out, action)
    if fault:
        return _refuse(desk, "No product with this name is left out." if out.cart else "No product is left out.")
    back = {item.id for item in chosen}
    after = _changed(desk, excluded=tuple(key for key in desk.excluded if key not in back))
    return Deed(after, f"Taking {titles_of(chosen)} in again.", (after.card(),), then=_again(after))


def clear(desk: Desk, _: Action, __: Finder) -> Deed:
    """Clear the cart, the limits and everything else on the desk."""
    after = Desk()
    return Deed(after, "The cart is empty now. Say undo to restore it.", (after.card(),))


def limit(desk: Desk, action: Action, _: Finder) -> Deed:
    """Set the limits that the action names, and keep the others."""
    wanted = action.limits or Limits()
    merged = desk.limits.model_dump() | _named(wanted)
    if wanted.most and wanted.least == 2:
        merged["least"] = min(merged["least"], wanted.most)
    if wanted.least > 2 and wanted.most is None and merged["most"] is not None:
        merged["most"] = max(merged["most"], wanted.least)
    after = _changed(desk, limits=Limits(**merged))
    return Deed(
        after, f"The limits for bundles are now: {in_words(after.limits)}.", (after.card(),), then=_again(after)
    )


def _named(wanted: Limits) -> dict[str, object]:
    """Return the named limits; if every field is set, those that differ from the defaults."""
    told = wanted.model_dump(exclude_unset=True, exclude_none=True)
    filled = wanted.model_fields_set == Limits.model_fields.keys()
    return (wanted.model_dump(exclude_defaults=True) or told) if filled else told


def free(desk: Desk, _: Action, __: Finder) -> Deed:
    """Remove all limits, and let products that were left out into bundles again."""
    after = _changed(desk, limits=Limits(), excluded=())
    return Deed(after, "There are no limits any more.", (after.card(),), then=_again(after))


def show(desk: Desk, _: Action, __: Finder) -> Deed:
    """Show the cart."""
    return Deed(desk, count_of(desk), (desk.card(),))


def _saying(text: str, refused: bool = False) -> Callable[[Desk, Action, Finder], Deed]:
    return lambda desk, action, finder: Deed(desk, text, refused=refused)


DEEDS: Mapping[Act, Callable[[Desk, Action, Finder], Deed]] = {
    "search": search,
    "add": add,
    "paste": paste,
    "remove": remove,
    "exclude": exclude,
    "include": include,
    "clear": clear,
    "limit": limit,
    "free": free,
    "show": show,
    "help": _saying(HELP),
    "greet": _saying(f"Hello. {HELP}"),
    "thanks": _saying("You are welcome."),
    "unknown": _saying(UNKNOWN, refused=True),
}


def _in_cart(desk: Desk, action: Action) -> tuple[list[Item], str]:
    """Return the products of the cart that an action names, or the reason why they are not clear."""
    if not desk.cart:
        return [], "The cart is empty."
    if action.ids:
        held = {item.id: item for item in desk.cart}
        if missing := [key for key in action.ids if key not in held]:
            return [], f"There is no product {quoted(missing)} in the cart."
        return [held[key] for key in action.ids], ""
    if action.numbers:
        chosen, absent = at(action.numbers, desk.cart)
        return ([], no_place(absent, len(desk.cart), "in the cart")) if absent else (chosen, "")
    if bundles_in(action.text):
        return _in_bundles(desk, action.text)
    if _means_all(action.text):
        return ([], "Which one? Say its number or words of its title.") if len(desk.cart) > 1 else (list(desk.cart), "")
    if several := called_each(action.text, desk.cart):
        return several, ""
    fitting = called(action.text, desk.cart)
    if len(fitting) == 1 or (fitting and action.text.rstrip().endswith("s") and len(fitting) < len(desk.cart)):
        return fitting, ""
    if fitting:
        places = ", ".join(f"{desk.cart.index(item) + 1}. {item.title}" for item in fitting[:5])
        return [], f"Several fit: {places}. Say its number."
    return [], f"No product in the cart is called {line(action.text)!r}."


def _in_bundles(desk: Desk, text: str) -> tuple[list[Item], str]:
    """Return the products of the bundles that a text names, or a message about a missing bundle."""
    chosen, absent = at(bundles_in(text), desk.bundles)
    if absent:
        return [], no_bundle(absent[0], len(desk.bundles))
    return [item for offer in chosen for item in offer.items if item in desk.cart], ""


def _means_all(text: str) -> bool:
    parts = [word for word in text.lower().split() if word not in ("of", "the", "one", "ones", "products", "items")]
    return bool(parts) and set(parts) <= ALL


def _changed(desk: Desk, **changes: object) -> Desk:
    """Return the changed desk without its bundles, which belong to the old cart."""
    return desk.model_copy(update={"bundles": (), **changes})


def _again(desk: Desk) -> tuple[Action, ...]:
    return (Action(name="bundle"),) if len(desk.cart) > 1 else ()


def _refuse(desk: Desk, said: str) -> Deed:
    return Deed(desk, said, refused=True)
