"""The actions of a clause: by the phrase that it is word by word, by the products that it names, or by meaning."""

import re
from collections.abc import Mapping

from bundlewise.agents.assistant.acts import BUILT, SaidPhrase, entries, whole
from bundlewise.agents.assistant.choosing import in_cart
from bundlewise.agents.assistant.conversation import Action
from bundlewise.agents.assistant.naming import (
    MOST_NAMED,
    between,
    is_a_name,
    names_something,
    needed,
    searching,
    unnamed,
)
from bundlewise.agents.assistant.normalise import Seen
from bundlewise.agents.assistant.pasted import QUESTIONS
from bundlewise.agents.assistant.phrases import Spoken, expanded
from bundlewise.agents.assistant.slots import slots_in

SURE: Mapping[Spoken, float] = {"answer": 0.66, "complete": 0.75, "clear": 0.85, "remove": 0.75, "exclude": 0.8}
"""The least cosine with a phrase at which its act is meant; acts that take something away need more."""
LIKELY = 0.68
ON_CART = frozenset({"remove", "exclude", "swap", "quantity"})
"""The acts that are meant only if they are about a product of the cart."""
MOST_SAID = 60
"""The most words of a clause whose meaning is looked at."""
ON_TABLE = frozenset({"compare", "details", "sort", "more", "cheaper", "dearer"})
"""The acts that are meant only if there is a list or a cart."""
CERTAIN = 0.86
"""The least cosine for an act that names no product in a sentence that names one."""
ORDERS = ("find", "search", "look", "show", "browse", "see", "list")
"""The first words of a search for whatever follows."""
WHOLE = frozenset({"help", "greet", "thanks", "undo", "dismiss", "clear", "show", "free", "checkout", "more"})
"""The acts that name no product."""


def numbered(said: str, seen: Seen) -> list[Action]:
    """Return the action of a clause whose numbers are no prices: `the difference between 1 and 2`, `make it 3`."""
    for phrase, groups in seen.meaning.phrases.matching(expanded(said)):
        if phrase.act not in ("compare", "swap", "quantity") or not re.search(r"[0-9]", said):
            continue
        if found := BUILT[phrase.act](SaidPhrase(phrase, expanded(said), seen, **groups)):
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
        found = BUILT.get(phrase.act, whole)(SaidPhrase(phrase, said, seen, **groups))
        if found and (found[0].name != "search" or found[0].order or names_something(found[0].text, seen)):
            return found
        searched = searched or found
    if seen.desk.found and (found := _listed(said, seen)):
        return found
    if is_a_name(said, seen):
        return searching(said, seen)
    asks = QUESTIONS.intersection(said.split()) - {"do", "you", "i", "me", "my", "who", "how", "is", "are"}
    searched = [] if asks else searched
    if exact:
        return searched if said.split(" ")[0] in ORDERS else []
    return _meant(said, seen) or searched


def _meant(said: str, seen: Seen) -> list[Action]:
    """Return the actions of a clause by its meaning: a need that it describes, or the nearest phrase."""
    if len(said.split()) > MOST_SAID:
        return []
    if find := needed(said, seen):
        return [Action(name="search", text=find)]
    names = names_something(said, seen)
    bare = unnamed(said, seen)
    for phrase, score in seen.meaning.nearest(bare)[:2] if bare != "product" else ():
        if phrase.act in ON_TABLE and not (seen.desk.found or seen.desk.cart):
            continue
        least = CERTAIN if names and phrase.act in WHOLE else SURE.get(phrase.act, LIKELY)
        if score < least + seen.meaning.caution:
            continue
        found = BUILT.get(phrase.act, whole)(SaidPhrase(phrase, said, seen, between(said, phrase.act, seen)))
        if phrase.act in ON_CART and not in_cart(seen.desk, found[0] if found else Action(name="show")).items:
            continue
        if found and (found[0].name != "search" or not found[0].text or names_something(found[0].text, seen)):
            return found
    is_short = len(said.split()) <= MOST_NAMED or re.match(r"(?:an?|some|the|any) ", said)
    return searching(between(said, "search", seen), seen) if names and is_short else []


def _listed(said: str, seen: Seen) -> list[Action]:
    """Return the action of a sentence that only names entries of the last list, such as `2nd one`."""
    slots = slots_in(re.sub(r"^(?:and|that|this) (?=\w+ one$)", "", said), seen.meaning.phrases)
    if each := entries(said, seen):
        return each
    if re.fullmatch(r"(?:all|both)(?: of (?:them|these|those))?", said):
        return [Action(name="add", text=said)]
    if slots.numbers:
        text = slots.text if slots.count else ""
        return [Action(name="add", numbers=slots.numbers, count=slots.count, text=text)]
    if slots.order and not slots.text and not said.endswith("first"):
        return [Action(name="details", order=slots.order, top=slots.top)]
    return []
