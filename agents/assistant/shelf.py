"""The actions on what is shown: search, more of it, order, details, comparison, and replacements."""

from collections.abc import Sequence

from bundlewise.agents.assistant.adding import alike
from bundlewise.agents.assistant.cart import NEAR, SHOWN, Deed, Finder, changed, pieces_of, refused
from bundlewise.agents.assistant.choosing import in_cart, in_list
from bundlewise.agents.assistant.conversation import Action, ChipsEvent, Desk, ProductsEvent
from bundlewise.agents.assistant.mentions import ordered
from bundlewise.agents.assistant.wording import UNKNOWN, chips_of, count_of, described, money, within_prices
from bundlewise.domain import Item
from bundlewise.text import MOST_WORDS, head_noun, kind, line, words
from bundlewise.titles import LONGEST

MOST_LISTED = 200
"""The most products of a search that "show more" reaches."""
PLAIN = 3
"""The most words of a search that is made as it was said; of a longer one only the catalogue's words count."""
FAR, FEW = 0.4, 3
"""The most by which a score may be below the best one where only a few products match about as well as the best."""
MOST_COMPARED = 4
TOLD_WORDS = 8
ORDINAL = ("first", "second", "third", "fourth")


def search(desk: Desk, action: Action, finder: Finder) -> Deed:
    """Show the products that match a text and a range of prices; the nearest in price where the range has none."""
    query = line(action.text)[:LONGEST]
    found = _matching(action, finder)[: SHOWN + 1]
    what = f" for {query!r}" if query else ""
    if len(set(words(query))) > MOST_WORDS:
        what = f" for the first {MOST_WORDS} words of your text"
    within = within_prices(action, desk.currency)
    if not found:
        beside = _beside(action, finder) if within else []
        said = f"I found nothing{what}{within} in the catalogue."
        if not beside:
            return Deed(desk, said, (ChipsEvent(chips=chips_of(desk)),))
        return _shown(desk, action, beside, f"{said} The nearest in price are these.")
    count = "one product" if len(found) == 1 else f"{min(len(found), SHOWN)} products"
    sort = {"cheapest": ", the cheapest first", "dearest": ", the dearest first", "": ""}[action.order]
    pieces = f"{action.count} of " if action.count and action.count > 1 else ""
    more = f", or add {pieces}1 and 2" if len(found) > 1 and not pieces else ""
    return _shown(desk, action, found[:SHOWN], f"I found {count}{what}{within}{sort}. Say add {pieces}1{more}.")


def _matching(action: Action, finder: Finder, most: int = SHOWN) -> list[Item]:
    """Return the products of a search in its order: those that match about as well as the best, or all near `most`."""
    query = line(action.text)[:LONGEST]
    if action.order:
        return ordered(alike(finder, query, action.least_price, action.max_price), action.order)
    parts = words(query)
    if PLAIN < len(parts) <= MOST_WORDS:
        query = " ".join(word for word in parts if finder.knows(word) or finder.spelt(word)) or query
    found = finder.search(query, MOST_LISTED, action.least_price, action.max_price)
    best = found[0][1] if found and query else float("-inf")
    near = [item for item, score in found if score >= best - NEAR]
    return (
        near
        if len(near) >= (FEW if most <= SHOWN else most)
        else [item for item, score in found if score >= best - FAR]
    )


def _beside(action: Action, finder: Finder) -> list[Item]:
    """Return the products that match a text and are nearest to a range of prices that has none of them."""
    found = ordered(alike(finder, line(action.text)), "cheapest") if action.text else []
    return found[:3] if action.max_price is not None else found[::-1][:3]


def _shown(desk: Desk, action: Action, found: Sequence[Item], said: str, passed: int = 0) -> Deed:
    asked = action.model_copy(update={"name": "search", "count": None})
    query = line(action.text)[:LONGEST]
    after = desk.model_copy(
        update={"found": tuple(found), "query": query, "asked": asked, "passed": passed, "focus": ()}
    )
    return Deed(after, said, (ProductsEvent(products=after.found, query=query, currency=desk.currency),))


def more(desk: Desk, action: Action, finder: Finder) -> Deed:
    """Show the next products of the last search."""
    if desk.asked is None:
        return refused(desk, "There is no list yet. Say find and what you look for.", chips_of(desk))
    passed = desk.passed + len(desk.found)
    known = {item.id for item in desk.found}
    found = [item for item in _matching(desk.asked, finder, passed + SHOWN)[passed:] if item.id not in known][:SHOWN]
    if not found:
        return Deed(
            desk, "That is all that I found. Say it in other words to see others.", (ChipsEvent(chips=chips_of(desk)),)
        )
    what = f" for {desk.query!r}" if desk.query else ""
    return _shown(desk, desk.asked, found, f"Here are {len(found)} more{what}. Say add 1.", passed)


def sort(desk: Desk, action: Action, finder: Finder) -> Deed:
    """Show the last search, or the cart, in the order of prices."""
    if desk.found and action.text != "cart":
        order = action.order or "cheapest"
        listed = [*ordered(desk.found, order), *(item for item in desk.found if item.price is None)]
        after = desk.model_copy(update={"found": tuple(listed)})
        said = f"Here they are, the {order} first."
        return Deed(after, said, (ProductsEvent(products=after.found, query=after.query, currency=desk.currency),))
    if not desk.cart:
        return refused(desk, "There is nothing to sort yet. Say find and what you look for.", chips_of(desk))
    listed = [*ordered(desk.cart, action.order), *(item for item in desk.cart if item.price is None)]
    after = desk.model_copy(update={"cart": tuple(listed)})
    return Deed(after, "I sorted your cart by price.", (after.card(),))


def details(desk: Desk, action: Action, finder: Finder) -> Deed:
    """Say all that the catalogue knows about products of the list or the cart."""
    choice = in_list(desk, action)
    if choice.fault or not choice.items:
        return refused(choice.asked(desk, action), choice.fault or "Which one? Say its number.", chips_of(desk))
    after = desk.model_copy(update={"focus": tuple(item.id for item in choice.items)})
    said = " ".join(described(item, desk.currency) for item in choice.items[:MOST_COMPARED])
    held = {item.id for item in desk.cart}
    offer = "" if all(item.id in held for item in choice.items) else " Say add it to put it into your cart."
    more_ = " I know no more than this."
    return Deed(after, f"{said}{more_ if not action.order else ''}{offer}")


def compare(desk: Desk, action: Action, finder: Finder) -> Deed:
    """Say how products of the list or the cart differ: by price and by the words of their titles."""
    choice = in_list(desk, action)
    items = choice.items[:MOST_COMPARED]
    if choice.fault or len(items) < 2:
        return refused(desk, choice.fault or "Which two? Say compare 1 and 2.", chips_of(desk))
    after = desk.model_copy(update={"focus": tuple(item.id for item in items)})
    return Deed(after, f"{_price_difference(items, desk.currency)} {_word_difference(items)}")


def _price_difference(items: Sequence[Item], currency: str) -> str:
    cheap, *_, dear = by_price if len(by_price := ordered(items, "cheapest")) > 1 else (items[0], items[-1])
    listed = "; ".join(f"{line(item.title)} ({money(item.price, currency)})" for item in items)
    if cheap.price is None or dear.price is None:
        return f"I compare {listed}."
    gap = dear.price - cheap.price
    told = f"{_name(cheap)} is cheaper by {money(gap, currency)}" if gap else "They cost the same"
    return f"I compare {listed}. {told}."


def _word_difference(items: Sequence[Item]) -> str:
    """Return the words that only one of the titles has."""
    own = [set(words(item.title)) for item in items]
    told = []
    for place, item in enumerate(items):
        others = set().union(*(each for n, each in enumerate(own) if n != place))
        only = [word for word in dict.fromkeys(words(item.title)) if word not in others][:TOLD_WORDS]
        told += [f"Only the {ORDINAL[place]} says {', '.join(only)}."] if only else []
    return " ".join(told) or "Their titles say the same."


def _name(item: Item) -> str:
    return " ".join(line(item.title).split(",")[0].split()[:6])


def swap(desk: Desk, action: Action, finder: Finder) -> Deed:
    """Put a cheaper or dearer product of its kind in the place of one of the cart; without a wish show others."""
    choice = in_cart(desk, action.model_copy(update={"order": ""}))
    if choice.fault or len(choice.items) != 1:
        return refused(choice.asked(desk, action), choice.fault or "Which one? Say swap and its number.")
    (old,) = choice.items
    sort, price, held = head_noun(kind(old.title)), old.price, {item.id for item in desk.cart}
    others = [item for item, _ in finder.search(kind(old.title), MOST_LISTED)]
    others = [item for item in others if item.category == old.category and item.id not in held]
    others = [item for item in others if head_noun(kind(item.title)) == sort] or others
    if not action.order:
        query = kind(old.title)
        asked = Action(name="search", text=query)
        after = desk.model_copy(update={"found": tuple(others[:SHOWN]), "query": query, "asked": asked, "passed": 0})
        said = f"Which one instead of {line(old.title)}? Say swap {desk.cart.index(old) + 1} for and its number."
        return Deed(after, said, (ProductsEvent(products=after.found, query=query, currency=desk.currency),))
    if price is None:
        return refused(desk, f"I do not know the price of {line(old.title)}.")
    cheaper = action.order == "cheapest"
    fit = [
        item for item in others if item.price is not None and (item.price < price) is cheaper and item.price != price
    ]
    if not fit:
        return refused(desk, f"I know no {'cheaper' if cheaper else 'dearer'} {sort} than {line(old.title)}.")
    new = fit[0]
    cart = tuple(new if item is old else item for item in desk.cart)
    pieces = {**{k: n for k, n in desk.quantities.items() if k != old.id}, new.id: desk.pieces(old)}
    after = changed(desk, cart=cart, excluded=tuple(key for key in desk.excluded if key != old.id))
    changes = {"quantities": pieces_of(after.model_copy(update={"quantities": {}}), pieces)}
    after = after.model_copy(update={**changes, "focus": (new.id,), "removed": (old,)})
    return Deed(after, f"Swapped {line(old.title)} for {line(new.title)}. {count_of(after)}", (after.card(),))


def unknown(desk: Desk, action: Action, finder: Finder) -> Deed:
    """Look for what an unclear message names, and say so; without such words say what can be asked."""
    asked = Action(name="search", text=action.text)
    found = _matching(asked, finder)[:SHOWN] if action.text.strip() else []
    if not found:
        return refused(desk, UNKNOWN, chips_of(desk))
    said = f"I am not sure what you mean, so I looked for {asked.text!r}."
    deed = _shown(desk, asked, found, said)
    return Deed(deed.desk, deed.said, (*deed.events, ChipsEvent(chips=chips_of(deed.desk))))


def answer(desk: Desk, action: Action, finder: Finder) -> Deed:
    """Give the shop's answer to a question, and offer the nearest thing that can be done here."""
    return Deed(desk, line(action.text), (ChipsEvent(chips=chips_of(desk)),))


def checkout(desk: Desk, action: Action, finder: Finder) -> Deed:
    """Show the cart, which the shop's own checkout takes over."""
    held = count_of(desk)
    said = f"{held} I cannot take payments: buy these products at the checkout of the shop." if desk.cart else held
    return Deed(desk, said, ((desk.card(), ChipsEvent(chips=chips_of(desk))) if desk.cart else ()))
