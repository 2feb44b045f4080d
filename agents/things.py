"""Physical things that a sentence speaks of: nouns of WordNet, found with the words around them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from bundlewise.agents.plain_words import AT_LARGE, FREE, ORDINARY
from bundlewise.text import STOP_WORDS, UNITS, head_noun

ROOT = 5
"""Letters with which two words begin alike that are of one root."""
_TOKEN = re.compile(r"\d+(?:\.\d+)?|[^\W\d_][\w'\u2019-]*|\S")
_BRITISH = (("our", "or"), ("ellery", "elry"), ("tre", "ter"), ("fibre", "fiber"), ("ise", "ize"))
_JOINERS = frozenset(", & + / and or plus".split())
_WITH = frozenset("with alongside beside".split())
_DETERMINERS = frozenset("the a an this that these those both its their his her my your our one each every some".split())
_DOES = frozenset(
    """go goes going belong belongs belonging stay stays pair pairs complete completes complement complements serve
    serves fit fits match matches join joins suit suits form forms make makes combine combines share shares round
    rounds accompany accompanies sit sits fall falls stand stands remain remains""".split()
)
_IS = frozenset("is are was were".split())
_TAKES = frozenset(
    """want wants buy buys buying take takes taking add adds adding need needs get gets pick picks include includes
    including choose chooses purchase purchases order orders bundle bundles bring brings hold holds leave leaves leaving
    keep keeps keeping exclude excludes drop drops""".split()
)
_SHUT = STOP_WORDS | ORDINARY | _DETERMINERS | _DOES | _IS | _TAKES
_NOUN = "D?O{0,2}[ST]*[SX]"
"""A noun phrase in signs: a determiner, other words, words of the session, things that it does not hold."""


@lru_cache(1)
def things() -> frozenset[str]:
    """Return the nouns for things, one word or two; they are read when they are first asked for."""
    lines = (Path(__file__).parent / "things.txt").read_text("utf-8").splitlines()
    return frozenset(line for line in lines if not line.startswith("#")) - FREE - ORDINARY - AT_LARGE
