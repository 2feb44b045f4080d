"""The actions of a phrase that was said, by its act and by what stands in its places."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bundlewise.agents.assistant.conversation import MOST_PIECES, Act, Action
from bundlewise.agents.assistant.mentions import (
    ALL,
    AND,
    bundles_in,
    called,
    called_each,
    called_wholly,
    is_amount,
    numbers_in,
)
from bundlewise.agents.assistant.naming import names_something, searching
from bundlewise.agents.assistant.normalise import Seen
from bundlewise.agents.assistant.pasted import QUESTIONS
from bundlewise.agents.assistant.phrases import THESE, Phrase, Spoken
from bundlewise.agents.assistant.slots import number_of, slots_in
from bundlewise.agents.assistant.wishes import cheaper, dearer

_POINTED = re.compile(rf"{THESE}(?: one| ones| bundles?)?")
_ASKING = QUESTIONS - {"me", "my", "i", "who", "is", "are", "can", "do", "does", "when", "how"}
"""The words that a wish for a product does not have."""
_IN_CART = re.compile(r"\bin (?:my|the) (?:cart|basket|bag)$")
_DESCENDING = re.compile(r"high(?:est)?\b.*\blow|^(?:most expensive|highest)|descending|from (?:most|high|expensive)")


@dataclass(frozen=True)
class SaidPhrase:
    """A phrase that was said: what stands in its places, the sentence, and what the router sees."""

    phrase: Phrase
    said: str
    seen: Seen
    x: str = ""
    y: str = ""
    n: str = ""
    bundle: str = ""


def whole(heard: SaidPhrase) -> list[Action]:
    """Return the action of an act that names no product; agreement without a question asks for nothing."""
    name: Any = heard.phrase.act
    return [Action(name=name)] if name != "agree" else []


def entries(what: str, seen: Seen) -> list[Action]:
    """Return the additions of several entries of the last list: `2 of the second and the cheapest one`."""
    each = [slots_in(part, seen.meaning.phrases) for part in AND.split(what) if part.strip()]
    pointed = all(slots.numbers or (slots.order and not slots.text) for slots in each)
    differs = any(slots.count or slots.order for slots in each)
    is_list = seen.desk.found and len(each) > 1 and pointed and differs
    return [Action(name="add", **slots.fields()) for slots in each] if is_list else []


def _on_products(heard: SaidPhrase) -> list[Action]:
    """Return the action of an act on the products that the sentence names."""
    name: Act = heard.phrase.act  # type: ignore[assignment]
    if not heard.x or {"instructions", "prompt"} & set(heard.x.split()) or heard.x.startswith("to "):
        return []
    if name == "remove" and re.search(r"\bbundles?$", heard.x) and heard.phrase.text.startswith("i do not"):
        return []
    desk = heard.seen.desk
    if name in ("remove", "exclude") and not desk.cart and _POINTED.fullmatch(heard.x):
        return []
    parts = [part for part in AND.split(heard.x) if part.strip()]
    is_several = name == "add" and len(parts) > 1 and not numbers_in(heard.x) and not called_each(heard.x, desk.found)
    if is_several and all(names_something(part, heard.seen) for part in parts):
        return [Action(name="add", **slots_in(part, heard.seen.meaning.phrases).fields()) for part in parts]
    if name == "add" and (each := entries(heard.x, heard.seen)):
        return each
    fields = slots_in(heard.x, heard.seen.meaning.phrases).fields()
    if re.search(r"\b(?:another|more|one of) X", heard.phrase.text):
        fields["count"] = 1
    if name == "include" and heard.phrase.text.startswith("with ") and not heard.said.endswith("again"):
        return []
    if name == "include":
        fields["text"] = "" if _POINTED.fullmatch(heard.x) else heard.x
    return [Action(name=name, **fields)]


def _taken(heard: SaidPhrase) -> list[Action]:
    """Return the action of a wish for products: add products of the last list, or else search for new ones."""
    what = re.sub(r"^(?:some|any|an?(?! (?:couple|pair)\b)) ", "", heard.x)
    if not what or what.startswith("to ") or _ASKING & set(what.split()) or heard.n:
        return []
    if each := entries(what, heard.seen):
        return each
    shown, slots = heard.seen.desk.found, slots_in(what, heard.seen.meaning.phrases)
    pointed = is_amount(what) or set(what.split()) <= ALL | {"of", "the"} or called_wholly(slots.text, shown)
    if bundles_in(what) or (shown and (slots.numbers or pointed or (slots.order and (not slots.text or pointed)))):
        return [Action(name="add", **slots.fields())]
    if slots.order and shown and called(slots.text, shown):
        return [Action(name="add", **slots.fields())]
    return searching(what, heard.seen)


def _searched(heard: SaidPhrase) -> list[Action]:
    what = f"{heard.y} for {re.sub('^an? ', '', heard.x)}" if heard.phrase.text.startswith("i have X") else heard.x
    what = f"{heard.x} for {heard.y}" if heard.phrase.text.endswith("X for Y") else what
    what = re.sub(r"^(?:some|any|an?|the|for) ", "", what)
    desk, slots = heard.seen.desk, slots_in(what, heard.seen.meaning.phrases)
    if desk.found and slots.numbers and not heard.phrase.text.startswith("which"):
        return [Action(name="details", numbers=slots.numbers, text=what)]
    if slots.order and (not slots.text or slots.text in ("in my cart", "in the cart", "of them", "is")):
        return [Action(name="details", order=slots.order, top=slots.top, text="cart" if "cart" in what else "")]
    if QUESTIONS.intersection(what.split()) - {"is", "are", "me", "my"} or re.match(r"(?:is|are) ", what):
        return []
    return searching(what, heard.seen)


def _completed(heard: SaidPhrase) -> list[Action]:
    pointed = not heard.x or _POINTED.fullmatch(heard.x)
    numbers = numbers_in(heard.x)
    what = re.sub(r"^an? ", "", heard.x) if heard.phrase.text.startswith("i ") else heard.x
    return [Action(name="complete", numbers=numbers, text="" if pointed else what)]


def _explained(heard: SaidPhrase) -> list[Action]:
    what = heard.bundle or heard.x
    if what and not re.match(r"(?:is|are|do|did|does|this|that|these|the|bundle|number|would|have|it|[0-9])", what):
        return []
    return [Action(name="explain", numbers=numbers_in(what) or bundles_in(what), text=what)]


def _cheaper(heard: SaidPhrase) -> list[Action]:
    if heard.phrase.act == "dearer":
        return dearer(heard.seen.desk)
    return cheaper(heard.seen.desk)


def _sorted(heard: SaidPhrase) -> list[Action]:
    order = "dearest" if _DESCENDING.search(heard.said) else "cheapest"
    return [Action(name="sort", order=order, text="cart" if "cart" in heard.said.split() else "")]


def _compared(heard: SaidPhrase) -> list[Action]:
    numbers: tuple[int, ...] = ()
    if heard.phrase.text.endswith("for X"):
        text = ""
    elif heard.y:
        numbers = (*numbers_in(heard.x), *numbers_in(heard.y))
        text = f"{heard.x} and {heard.y}"
    else:
        numbers, text = numbers_in(heard.x), heard.x
    desk = heard.seen.desk
    weak = heard.phrase.text in ("X or Y", "which is better X or Y", "X vs Y")
    on_table = [called_wholly(part, (*desk.found, *desk.cart)) for part in (heard.x, heard.y)]
    if weak and not (len(numbers) == 2 and desk.found) and not all(on_table):
        return []
    return [Action(name="compare", numbers=numbers, text="" if _POINTED.fullmatch(text) else text)]


def _detailed(heard: SaidPhrase) -> list[Action]:
    desk, what = heard.seen.desk, heard.x
    if bundles_in(what):
        return [Action(name="explain", numbers=bundles_in(what), text=what)]
    slots = slots_in(what, heard.seen.meaning.phrases)
    held = (*desk.found, *desk.cart)
    if not what or slots.numbers or slots.order or _POINTED.fullmatch(what) or called(slots.text, held):
        fields = slots.fields() | ({"text": "cart"} if slots.order and _IN_CART.search(what) else {})
        return [Action(name="details", **fields)] if held else []
    return [] if QUESTIONS.intersection(what.split()) else searching(what, heard.seen)


def _swapped(heard: SaidPhrase) -> list[Action]:
    """Return the actions that put one product in the place of another."""
    phrases, y = heard.seen.meaning.phrases, heard.y
    out = slots_in(heard.x, phrases).fields()
    if re.search(r"\b(?:cheaper|less expensive|more affordable)\b", y):
        return [Action(name="swap", **out | {"order": "cheapest"})]
    if re.search(r"\b(?:better|dearer|more expensive)\b", y):
        return [Action(name="swap", **out | {"order": "dearest"})]
    if not y:
        return [Action(name="swap", **out | {"order": ""})]
    slots = slots_in(y, phrases)
    if heard.seen.desk.found and (slots.numbers or (slots.order and not slots.text)):
        taken = Action(name="remove", **out)
        return [*([taken] if heard.seen.desk.cart else []), Action(name="add", **slots.fields())]
    return [Action(name="remove", **out), *searching(y, heard.seen)]


def _counted(heard: SaidPhrase) -> list[Action]:
    said = heard.n or next((word for word in heard.said.split() if word.isdigit()), "2")
    if not heard.n and re.search(r"\b(?:and|or)\b", heard.said):
        return []
    pointed = not heard.x or _POINTED.fullmatch(heard.x) or set(heard.x.split()) <= ALL | {"of", "the", "that"}
    desk = heard.seen.desk
    if not desk.cart or (heard.phrase.text.startswith("i want N") and not heard.x and desk.found):
        return []
    slots = slots_in(heard.x, heard.seen.meaning.phrases)
    if not pointed and not slots.numbers and not called(slots.text, desk.cart):
        return []
    count = min(number_of(said), MOST_PIECES)
    return [Action(name="quantity", count=count, numbers=slots.numbers, text="" if pointed else slots.text)]


def _told(heard: SaidPhrase) -> list[Action]:
    return [Action(name="answer", text=heard.phrase.told)]


BUILT: Mapping[Spoken, Callable[[SaidPhrase], list[Action]]] = {
    **dict.fromkeys(("add", "remove", "exclude", "include"), _on_products),
    **dict.fromkeys(("cheaper", "dearer"), _cheaper),
    "take": _taken,
    "search": _searched,
    "complete": _completed,
    "explain": _explained,
    "sort": _sorted,
    "compare": _compared,
    "details": _detailed,
    "swap": _swapped,
    "quantity": _counted,
    "answer": _told,
}
