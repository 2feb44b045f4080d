"""Find what a sentence names: words of the catalogue, the text between the words of a phrase, and needs."""

import re

from bundlewise.agents.assistant.conversation import Action
from bundlewise.agents.assistant.mentions import ALL, numbers_in
from bundlewise.agents.assistant.normalise import WISHED, Seen
from bundlewise.agents.assistant.pasted import QUESTIONS
from bundlewise.agents.assistant.phrases import Spoken
from bundlewise.agents.assistant.slots import MEASURES, slots_in
from bundlewise.text import STOP_WORDS, UNITS, kind, tokens, words
from bundlewise.titles import LONGEST

FEWEST = 3
"""The fewest words of a description that are all in the catalogue; fewer words name a product."""
NEEDED = 0.5
"""The least cosine with a description of a need."""
NEEDED_AT_ALL = 0.7
"""The least cosine in a sentence that is about nobody, or that begins with the name of a product."""
_PEOPLE = frozenset({"i", "my", "me", "we", "our", "he", "she", "his", "her", "him", "they", "their"})
_ONES = re.compile(
    r"(?:only |just )?(?:the |a |an |some )?(?P<what>.+?) ones?"
    r"|(?:it|this|that|them|these|any) in (?P<in>.+)|in (?P<on>.+)"
)
"""A narrower form of the last search: `the wireless ones`."""
MOST_PLAIN = 4
"""The most words of a search text that is taken as it was said."""
MOST_NAMED = 8
"""The most words of a sentence that is only the name of a product."""


def needed(said: str, seen: Seen) -> str:
    """Return the words that find what a sentence describes without naming it; none if it describes no known need."""
    phrases = seen.meaning.phrases
    named = re.match(r"(?:an? |some |the )?(?P<name>[\w-]+)(?P<for> (?:for|with|that|which|to|in)\b)?", said)
    is_named = named is not None and named["name"] not in phrases.nameless and seen.knows(named["name"])
    if len(said.split()) <= 3 or (named and named["for"] and is_named):
        return ""
    ranked = {word for text in phrases.superlatives for word in text.split()}
    content = [word for word in tokens(said) if word not in phrases.filler | ranked]
    if len(content) < FEWEST and all(map(seen.knows, content)):
        return ""
    least = (NEEDED if _PEOPLE & set(tokens(said)) and not is_named else NEEDED_AT_ALL) + seen.meaning.caution
    find, score = seen.meaning.need(said)
    return find if score >= least and all(map(seen.knows, words(find))) else ""


def unnamed(said: str, seen: Seen) -> str:
    """Return a sentence with `product` in place of the words that no phrase has, as the phrases are compared."""
    lexicon = seen.meaning.phrases.lexicon
    found: list[str] = []
    for word in said.split():
        bare = word.strip(".,!?;:\"'()")
        kept = bare if bare in lexicon or bare.isdigit() else "product"
        found += [kept] if found[-1:] != ["product"] or kept != "product" else []
    return " ".join(found)


def between(said: str, act: Spoken, seen: Seen) -> str:
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


def is_a_name(said: str, seen: Seen) -> bool:
    """Say whether a sentence is only words of the catalogue."""
    parts = words(slots_in(said, seen.meaning.phrases).text)
    skip = UNITS | MEASURES | (WISHED - seen.meaning.phrases.commands) | seen.meaning.phrases.filler
    named = [word for word in parts if not word.isdigit() and word not in skip]
    asks = bool((QUESTIONS | {"which", "what", "why"}).intersection(tokens(said)))
    asks = asks or set(named) <= seen.meaning.phrases.nameless
    return (
        len(parts) <= MOST_NAMED
        and bool(named)
        and not asks
        and all(seen.knows(word) or seen.spelt(word) for word in named)
    )


def searching(what: str, seen: Seen) -> list[Action]:
    """Return the search for what a shopper names, without its superlative and its number of pieces."""
    if set(tokens(what)) <= seen.meaning.phrases.filler:
        return []
    slots = slots_in(what, seen.meaning.phrases)
    text = re.sub(r"^(?:some|any|all|an?|the|your|all the) ", "", slots.text)
    text = (between(text, "need", seen) or text) if len(text.split()) > MOST_PLAIN else text
    text = needed(what, seen) or text
    last = seen.desk.query or (kind(seen.desk.cart[-1].title) if seen.desk.cart else "")
    if last and (narrower := _ONES.fullmatch(text)):
        about = narrower["what"] or narrower["in"] or narrower["on"]
        text = f"{about} {last}" if names_something(about, seen) else text
    return [Action(name="search", text=text[:LONGEST], order=slots.order, count=slots.count)] if text else []
