"""The actions of a clause: by the phrase that it is word by word, by the products that it names, or by meaning."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bundlewise.agents.assistant.conversation import MOST_PIECES, Act, Action
from bundlewise.agents.assistant.mentions import ALL, AND, bundles_in, called, called_each, called_wholly, is_amount, numbers_in
from bundlewise.agents.assistant.normalise import WISHED, Seen
from bundlewise.agents.assistant.pasted import QUESTIONS
from bundlewise.agents.assistant.phrases import THESE, Phrase, Spoken, expanded
from bundlewise.agents.assistant.slots import MEASURES, number_of, slots_in
from bundlewise.agents.assistant.wishes import cheaper, dearer
from bundlewise.text import STOP_WORDS, UNITS, tokens, words

SURE: Mapping[Spoken, float] = {"answer": 0.6, "clear": 0.85, "remove": 0.75, "exclude": 0.8, "undo": 0.78}
"""The least cosine with a phrase at which its act is meant; acts that take something away need more."""
LIKELY = 0.68
CERTAIN = 0.86
"""The least cosine for an act that names no product in a sentence that names one."""
NEEDED = 0.55
"""The least cosine with a description of a need."""
MOST_NAMED = 8
"""The most words of a sentence that is only the name of a product."""
ORDERS = ("find", "search", "look", "show", "browse", "see", "list")
"""The first words of a search for whatever follows."""
WHOLE = frozenset({"help", "greet", "thanks", "undo", "dismiss", "clear", "show", "free", "checkout", "more"})
"""The acts that name no product."""
_POINTED = re.compile(rf"{THESE}(?: one| ones| bundles?)?")
_IN_CART = re.compile(r"\bin (?:my|the) (?:cart|basket|bag)$")
_DESCENDING = re.compile(r"high(?:est)?\b.*\blow|^(?:most expensive|highest)|descending|from (?:most|high|expensive)")


@dataclass(frozen=True)
class Heard:
    """A phrase that was said: what stands in its places, the sentence, and what the router sees."""

    phrase: Phrase
    said: str
    seen: Seen
    x: str = ""
    y: str = ""
    n: str = ""
    bundle: str = ""


def numbered(said: str, seen: Seen) -> list[Action]:
    """Return the action of a clause whose numbers are no prices: `the difference between 1 and 2`, `make it 3`."""
    for phrase, groups in seen.meaning.phrases.matching(expanded(said)):
        if phrase.act in ("compare", "swap", "quantity") and re.search(r"[0-9]", said):
            if found := BUILT[phrase.act](Heard(phrase, expanded(said), seen, **groups)):
                return found
    return []


def command(said: str, seen: Seen, exact: bool = False) -> list[Action]:
    """Return the actions of a clause without limits and prices; none if it is not clear.

    Args:
        said: the clause in its normal form.
        seen: the desk, the catalogue and the phrases.
        exact: whether meaning is left out of account.
    """
    said = expanded(said)
    searched: list[Action] = []
    for phrase, groups in seen.meaning.phrases.matching(said):
        found = BUILT.get(phrase.act, _whole)(Heard(phrase, said, seen, **groups))
        if found and (found[0].name != "search" or found[0].order or names_something(found[0].text, seen)):
            return found
        searched = searched or found
    if seen.desk.found and (found := _listed(said, seen)):
        return found
    if _is_a_name(said, seen):
        return _searching(said, seen)
    if searched and said.split(" ")[0] in ORDERS and not QUESTIONS.intersection(said.split()):
        return searched
    return [] if exact else _meant(said, seen)


def _meant(said: str, seen: Seen) -> list[Action]:
    """Return the actions of a clause by its meaning: a need that it describes, or the nearest phrase."""
    if find := _needed(said, seen):
        return [Action(name="search", text=find)]
    names = names_something(said, seen)
    bare = unnamed(said, seen)
    for phrase, score in seen.meaning.nearest(bare)[:2] if bare != "product" else ():
        least = CERTAIN if names and phrase.act in WHOLE else SURE.get(phrase.act, LIKELY)
        if score < least + seen.meaning.caution:
            continue
        found = BUILT.get(phrase.act, _whole)(Heard(phrase, said, seen, _between(said, phrase.act, seen)))
        if found and (found[0].name != "search" or not found[0].text or names_something(found[0].text, seen)):
            return found
    return _searching(_between(said, "search", seen), seen) if names and len(said.split()) <= MOST_NAMED else []


def _needed(said: str, seen: Seen) -> str:
    """Return the words that find what a sentence describes without naming it; none if it describes no known need."""
    find, score = seen.meaning.need(said) if len(said.split()) > 3 else ("", 0.0)
    return find if score >= NEEDED + seen.meaning.caution and all(map(seen.knows, words(find)[-1:])) else ""


def unnamed(said: str, seen: Seen) -> str:
    """Return a sentence with `product` in place of the words that no phrase has, as the phrases are compared."""
    lexicon = seen.meaning.phrases.lexicon
    found: list[str] = []
    for word in said.split():
        bare = word.strip(".,!?;:\"'()")
        kept = bare if bare in lexicon or bare.isdigit() else "product"
        found += [kept] if found[-1:] != ["product"] or kept != "product" else []
    return " ".join(found)


def _between(said: str, act: Spoken, seen: Seen) -> str:
    """Return a sentence without the words of an act's phrases, and words that say nothing, at both its ends."""
    frame = seen.meaning.phrases.frames.get(act, frozenset()) | seen.meaning.phrases.filler
    parts = said.split()
    while parts and parts[0].strip(".,!?") in frame and not _is_pointing(parts):
        parts = parts[1:]
    while parts and parts[-1].strip(".,!?") in frame and not _is_pointing(parts[-1:]):
        parts = parts[:-1]
    return " ".join(parts).strip(" ,.!?")


def _is_pointing(parts: list[str]) -> bool:
    return bool(numbers_in(parts[0])) or " ".join(parts) in ALL or parts[0] in ("it", "them", "both")


def names_something(what: str, seen: Seen) -> bool:
    """Say whether a text has a word of the catalogue that may name a product."""
    skip = seen.meaning.phrases.nameless | STOP_WORDS
    return any(seen.knows(word) for word in words(what) if word not in skip and not word.isdigit())


def _is_a_name(said: str, seen: Seen) -> bool:
    """Say whether a sentence is only words of the catalogue."""
    parts = words(slots_in(said, seen.meaning.phrases).text)
    skip = UNITS | MEASURES | WISHED | seen.meaning.phrases.filler
    named = [word for word in parts if not word.isdigit() and word not in skip]
    asks = QUESTIONS.intersection(tokens(said)) or set(named) <= seen.meaning.phrases.nameless
    return len(parts) <= MOST_NAMED and bool(named) and not asks and all(seen.knows(word) or seen.spelt(word) for word in named)


def _listed(said: str, seen: Seen) -> list[Action]:
    """Return the action of a sentence that only names entries of the last list, such as `2nd one`."""
    slots = slots_in(re.sub(r"^(?:and|that|this) (?=\w+ one$)", "", said), seen.meaning.phrases)
    if slots.numbers:
        text = slots.text if slots.count else ""
        return [Action(name="add", numbers=slots.numbers, count=slots.count, text=text)]
    if slots.order and not slots.text and not said.endswith("first"):
        return [Action(name="details", order=slots.order, top=slots.top)]
    return []


def _whole(heard: Heard) -> list[Action]:
    name: Act | None = None if heard.phrase.act == "agree" else heard.phrase.act  # type: ignore[assignment]
    return [Action(name=name)] if name else []


def _on_products(heard: Heard) -> list[Action]:
    """Return the action of an act on the products that the sentence names."""
    name: Act = heard.phrase.act  # type: ignore[assignment]
    if not heard.x or {"instructions", "prompt"} & set(heard.x.split()) or heard.x.startswith("to "):
        return []
    if name == "remove" and re.search(r"\bbundles?$", heard.x) and heard.phrase.text.startswith("i do not"):
        return []
    desk = heard.seen.desk
    if name == "remove" and not desk.cart and (desk.found or heard.phrase.text.startswith("i ")):
        return []
    parts = [part for part in AND.split(heard.x) if part.strip()]
    if name == "add" and len(parts) > 1 and not numbers_in(heard.x) and not called_each(heard.x, desk.found):
        if all(names_something(part, heard.seen) for part in parts):
            return [Action(name="add", **slots_in(part, heard.seen.meaning.phrases).fields()) for part in parts]
    fields = slots_in(heard.x, heard.seen.meaning.phrases).fields()
    if name == "add" and "another" in heard.phrase.text.split():
        fields["count"] = 1
    if name == "include" and heard.phrase.text.startswith("with ") and not heard.said.endswith("again"):
        return []
    if name == "include":
        fields["text"] = "" if _POINTED.fullmatch(heard.x) else heard.x
    return [Action(name=name, **fields)]


def _taken(heard: Heard) -> list[Action]:
    """Return the action of a wish for products: add products of the last list, or else search for new ones."""
    what = re.sub(r"^(?:some|any|an?(?! (?:couple|pair)\b)) ", "", heard.x)
    if not what or what.startswith("to ") or QUESTIONS.intersection(what.split()) - {"me", "my"} or heard.n:
        return []
    shown, slots = heard.seen.desk.found, slots_in(what, heard.seen.meaning.phrases)
    pointed = is_amount(what) or set(what.split()) <= ALL | {"of", "the"} or called_wholly(slots.text, shown)
    if bundles_in(what) or (shown and (slots.numbers or pointed or (slots.order and (not slots.text or pointed)))):
        return [Action(name="add", **slots.fields())]
    if slots.order and shown and called(slots.text, shown):
        return [Action(name="add", **slots.fields())]
    return _searching(what, heard.seen)


def _searched(heard: Heard) -> list[Action]:
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
    return _searching(what, heard.seen)


def _searching(what: str, seen: Seen) -> list[Action]:
    """Return the search for what a shopper names, without its superlative and its number of pieces."""
    if set(tokens(what)) <= seen.meaning.phrases.filler:
        return []
    slots = slots_in(what, seen.meaning.phrases)
    text = re.sub(r"^(?:some|any|an?|the) ", "", slots.text)
    text = _needed(what, seen) or text
    return [Action(name="search", text=text, order=slots.order, count=slots.count)] if text else []


def _completed(heard: Heard) -> list[Action]:
    pointed = not heard.x or _POINTED.fullmatch(heard.x)
    numbers = numbers_in(heard.x)
    what = re.sub(r"^an? ", "", heard.x) if heard.phrase.text.startswith("i ") else heard.x
    return [Action(name="complete", numbers=numbers, text="" if pointed else what)]


def _explained(heard: Heard) -> list[Action]:
    what = heard.bundle or heard.x
    if what and not re.match(r"(?:is|are|do|did|does|this|that|these|the|bundle|number|would|have|it|[0-9])", what):
        return []
    return [Action(name="explain", numbers=numbers_in(what) or bundles_in(what), text=what)]


def _cheaper(heard: Heard) -> list[Action]:
    if heard.phrase.act == "dearer":
        return dearer(heard.seen.desk)
    return cheaper(heard.seen.desk)


def _sorted(heard: Heard) -> list[Action]:
    order = "dearest" if _DESCENDING.search(heard.said) else "cheapest"
    return [Action(name="sort", order=order, text="cart" if "cart" in heard.said.split() else "")]  # type: ignore[arg-type]


def _compared(heard: Heard) -> list[Action]:
    if heard.y:
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


def _detailed(heard: Heard) -> list[Action]:
    desk, what = heard.seen.desk, heard.x
    if bundles_in(what):
        return [Action(name="explain", numbers=bundles_in(what), text=what)]
    slots = slots_in(what, heard.seen.meaning.phrases)
    held = (*desk.found, *desk.cart)
    if not what or slots.numbers or slots.order or _POINTED.fullmatch(what) or called(slots.text, held):
        fields = slots.fields() | ({"text": "cart"} if slots.order and _IN_CART.search(what) else {})
        return [Action(name="details", **fields)] if held else []
    return [] if QUESTIONS.intersection(what.split()) else _searching(what, heard.seen)


def _swapped(heard: Heard) -> list[Action]:
    """Return the actions that put one product in the place of another."""
    phrases, y = heard.seen.meaning.phrases, heard.y
    if re.search(r"\b(?:cheaper|less expensive|more affordable)\b", y):
        return [Action(name="swap", text=heard.x, order="cheapest")]
    if re.search(r"\b(?:better|dearer|more expensive)\b", y):
        return [Action(name="swap", text=heard.x, order="dearest")]
    if not y:
        return [Action(name="swap", text=heard.x)]
    slots = slots_in(y, phrases)
    if heard.seen.desk.found and (slots.numbers or (slots.order and not slots.text)):
        out = [Action(name="remove", **slots_in(heard.x, phrases).fields())] if heard.x else []
        return [Action(name="add", **slots.fields()), *out]
    return [Action(name="remove", text=heard.x), *_searching(y, heard.seen)] if heard.x else []


def _counted(heard: Heard) -> list[Action]:
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


def _told(heard: Heard) -> list[Action]:
    return [Action(name="answer", text=heard.phrase.told)]


BUILT: Mapping[Spoken, Callable[[Heard], list[Action]]] = {
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
