"""Products come into the cart: by their places in the last list, by words, by title, or as a pasted list."""

import hashlib
from collections.abc import Sequence

from bundlewise.agents.assistant.cart import ALIKE, NEAR, SHOWN, Deed, Finder, again, changed, pieces_of, refused
from bundlewise.agents.assistant.choosing import POINTING, Chosen, in_bundles, in_cart, means_all
from bundlewise.agents.assistant.conversation import MOST_PIECES, Action, Desk, OpenQuestion, ProductsEvent
from bundlewise.agents.assistant.mentions import (
    at,
    bundles_in,
    called,
    called_each,
    called_wholly,
    is_amount,
    ordered,
)
from bundlewise.agents.assistant.wording import count_of, no_place, quoted, titles_of
from bundlewise.agents.student.compose import MAX_PRODUCTS
from bundlewise.domain import Item
from bundlewise.text import line, normal, short
from bundlewise.titles import LONGEST, clean, title_fault


def add(desk: Desk, action: Action, finder: Finder) -> Deed:
    """Put products into the cart: by id, by their numbers in the last list, or by words."""
    count = action.count
    if action.ids:
        if unknown := [key for key in action.ids if key not in finder.by_id]:
            return refused(desk, f"There is no product {quoted(unknown)} in the catalogue.")
        return put(desk, [finder.by_id[key] for key in action.ids], count)
    if action.numbers:
        chosen, missing = at(action.numbers, desk.found)
        if missing or not chosen:
            return refused(desk, no_place(missing or action.numbers, len(desk.found), "in the list"))
        return put(desk, chosen, count)
    if action.order:
        return _add_ordered(desk, action, finder)
    if bundles_in(action.text):
        products, fault = in_bundles(desk, action.text)
        return refused(desk, fault) if fault else put(desk, products)
    if exact := finder.titled(line(action.text)):
        return put(desk, [exact], count)
    if is_amount(action.text) or means_all(action.text):
        return _add_pointed(desk, action)
    return _add_called(desk, action, finder)


def _add_ordered(desk: Desk, action: Action, finder: Finder) -> Deed:
    """Put the cheapest or dearest of the last list into the cart, or of the catalogue if the list has no such."""
    listed = called(action.text, desk.found) if action.text else list(desk.found)
    found = ordered(listed or alike(finder, action.text), action.order)[: action.top]
    if not found:
        return refused(desk, "I know no price of such a product. Say find and what you look for.")
    return put(desk, found, action.count)


def _add_pointed(desk: Desk, action: Action) -> Deed:
    """Put what `it`, `both` or `all` points to into the cart; `both` only where there are two."""
    parts, found = set(action.text.split()), desk.found
    known = {item.id: item for item in (*desk.found, *desk.cart)}
    focused = [known[key] for key in desk.focus if key in known]
    if "both" in parts:
        two = next((items for items in (focused, found) if len(items) == 2), None)
        return put(desk, two, action.count) if two else _which(desk, action, "Which two? Say add and their numbers.")
    if (action.count or parts & POINTING) and len(focused) == 1:
        return put(desk, focused, action.count)
    if is_amount(action.text) or (action.count and len(found) > 1):
        return _which(desk, action, "Which ones? Say add and their numbers.")
    if not found or (parts & POINTING and len(found) > 1):
        said = "Which product? Say find and what you look for, then add and its number."
        return _which(desk, action, said)
    return put(desk, list(found), action.count)


def _which(desk: Desk, action: Action, said: str) -> Deed:
    return refused(Chosen(among=desk.found).asked(desk, action), said)


def _add_called(desk: Desk, action: Action, finder: Finder) -> Deed:
    text = action.text
    if several := called_each(text, desk.found):
        return put(desk, several, action.count)
    is_pointed = text.startswith(("the ", "that ", "this "))
    fitting = called(text, desk.found) if is_pointed else called_wholly(text, desk.found)
    if len(fitting) == 1:
        return put(desk, fitting, action.count)
    found = fitting or alike(finder, text)[:SHOWN]
    if not found:
        return refused(desk, f"I found nothing for {line(text)!r} in the catalogue.")
    wholly = called_wholly(text, found)
    if len(found) == 1 and wholly:
        return put(desk, found, action.count)
    query = line(text)[:LONGEST]
    asked = Action(name="search", text=query)
    after = desk.model_copy(update={"found": tuple(found[:SHOWN]), "query": query, "asked": asked, "passed": 0})
    question = OpenQuestion(action=action, among=tuple(item.id for item in after.found))
    said = f"Several products fit {line(text)!r}. Which one? Say add and its number."
    if not wholly:
        said = f"I found nothing called {line(text)!r}. Do you mean one of these? Say add and its number."
    card = ProductsEvent(products=after.found, query=after.query, currency=desk.currency)
    return Deed(after.model_copy(update={"question": question}), said, (card,), refused=True)


def alike(finder: Finder, text: str, least: float | None = None, most: float | None = None) -> list[Item]:
    """Return the products that match a text about as well as the best one does."""
    best = max((score for _, score in finder.search(text, 1)), default=0.0)
    found = finder.search(text, ALIKE, least, most)
    return [item for item, score in found if score >= best - NEAR or not text]


def paste(desk: Desk, action: Action, finder: Finder) -> Deed:
    """Put a list of titles into the cart, as products of the catalogue if it has them, else as new products."""
    if not action.titles:
        return refused(desk, "The list is empty; paste products, one per line.")
    if faults := [f"{short(title, 4)!r}: {title_fault(title)}." for title in action.titles if title_fault(title)]:
        return refused(desk, faults[0])
    return put(desk, [_of_title(title, finder) for title in action.titles])


def _of_title(title: str, finder: Finder) -> Item:
    title = clean(title)
    if known := finder.titled(title):
        return known
    wanted = " ".join(normal(line(title)).split())
    return Item(id=f"own-{hashlib.sha256(wanted.encode()).hexdigest()[:12]}", title=line(title))


def put(desk: Desk, products: Sequence[Item], count: int | None = None) -> Deed:
    """Put products into the cart, each in so many pieces; a product that is there gets more only by a number."""
    there = {item.id for item in desk.cart}
    wanted = list({item.id: item for item in products}.values())
    new = [item for item in wanted if item.id not in there]
    if len(desk.cart) + len(new) > MAX_PRODUCTS:
        return refused(desk, f"The cart holds at most {MAX_PRODUCTS} products, as many as the student reads at once.")
    kept = tuple(key for key in desk.excluded if key not in {item.id for item in products})
    focus = tuple(item.id for item in wanted)
    if not new and count is None:
        after = changed(desk, excluded=kept) if kept != desk.excluded else desk
        after = after.model_copy(update={"focus": focus})
        return Deed(after, "That is in the cart already.", (after.card(),))
    pieces = {item.id: (count or 1) + (desk.pieces(item) if item.id in there else 0) for item in wanted}
    if max(pieces.values(), default=0) > MOST_PIECES:
        return refused(desk, f"The cart holds at most {MOST_PIECES} pieces of a product.")
    kind_of = changed(desk, cart=(*desk.cart, *new), excluded=kept) if new or kept != desk.excluded else desk
    after = kind_of.model_copy(update={"focus": focus, "quantities": pieces_of(desk, pieces)})
    told = wanted if count else new
    named = titles_of(told) if len(told) <= 3 else f"{len(told)} products"
    times = f"{count} of " if count and count > 1 else ""
    return Deed(after, f"Added {times}{named}. {count_of(after)}", (after.card(),))


def include(desk: Desk, action: Action, finder: Finder) -> Deed:
    """Let products into bundles again that were left out; without such, put back what was taken out last."""
    out = desk.model_copy(update={"cart": tuple(item for item in desk.cart if item.id in desk.excluded)})
    choice = in_cart(out, action)
    if choice.fault:
        gone = desk.removed if not action.text or means_all(action.text) else called(action.text, desk.removed)
        if gone and not action.ids and not action.numbers:
            return put(desk, gone)
        return refused(desk, "No product with this name is left out." if out.cart else "No product is left out.")
    back = {item.id for item in choice.items}
    after = changed(desk, excluded=tuple(key for key in desk.excluded if key not in back))
    return Deed(after, f"Taking {titles_of(choice.items)} in again.", (after.card(),), then=again(after))
