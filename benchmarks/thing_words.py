"""Make `agents/teacher/things.txt`, the English words for physical things, from the files of WordNet 3.0.

On Debian: `apt-get download wordnet-base && dpkg -x wordnet-base_*.deb wn`, then
`python benchmarks/thing_words.py wn/usr/share/wordnet agents/teacher/things.txt`.

A noun is taken if the texts that WordNet counted use it at least as often for an artifact, an animal, food, a plant
or a substance as for anything else; if they do not use it, one of its first two senses has to be such a thing.
Left out are names, words of more than two parts, words that are equally often adjectives, words that are far more
often verbs, and buildings, roads and similar things, which nobody puts into a cart.
"""

import sys
from collections import Counter
from pathlib import Path

THINGS = {"05": "animal", "06": "artifact", "13": "food", "20": "plant", "27": "substance"}
"""The numbers of WordNet's lexicographer files that hold things."""
PAIRED = {"06", "13"}
"""Files of which words of two parts count as well."""
FIXED = frozenset(("building", "building_complex", "facility", "way", "area", "excavation", "representation"))
"""Artifacts that nobody sells as a product, with everything that WordNet has below them."""
VERBS_TO_A_NOUN = 20
NOTICE_LINES = 29
"""Numbered lines of the licence at the beginning of every file of WordNet."""


def licence(path: Path) -> list[str]:
    """Return the licence at the beginning of a file of WordNet."""
    lines = path.read_text("latin-1").splitlines()[:NOTICE_LINES]
    return [line.split(maxsplit=1)[1].strip() if len(line.split()) > 1 else "" for line in lines]


def uses(folder: Path) -> dict[str, Counter[str]]:
    """Return how often the counted texts use each word for a thing, as another noun, as a verb, or otherwise."""
    found = {use: Counter[str]() for use in ("thing", "noun", "verb", "adjective")}
    for line in (folder / "cntlist.rev").read_text("latin-1").splitlines():
        key, _, count = line.split()
        lemma, sense = key.split("%")
        kind, file = sense.split(":")[:2]
        noun = "thing" if file in THINGS else "noun"
        found[{"1": noun, "2": "verb"}.get(kind, "adjective")][lemma] += int(count)
    return found


def senses(folder: Path) -> dict[str, tuple[str, frozenset[str], list[str]]]:
    """Return for every sense of a noun its lexicographer file, its words, and the senses above it."""
    found = {}
    for line in (folder / "data.noun").read_text("latin-1").splitlines():
        if not line.startswith(" "):
            offset, file, _, count, *rest = line.split(" ")
            above = [rest[place + 1] for place, sign in enumerate(rest) if sign in ("@", "@i")]
            found[offset] = (file, frozenset(rest[: 2 * int(count, 16) : 2]), above)
    return found


def fixed(known: dict[str, tuple[str, frozenset[str], list[str]]]) -> frozenset[str]:
    """Return the senses of things that cannot be moved, such as buildings."""
    below: dict[str, list[str]] = {}
    for offset, (_, _, above) in known.items():
        for each in above:
            below.setdefault(each, []).append(offset)
    waiting = [offset for offset, (file, words, _) in known.items() if file == "06" and words & FIXED]
    found = set()
    while waiting:
        if (offset := waiting.pop()) not in found:
            found.add(offset)
            waiting += below.get(offset, [])
    return frozenset(found)


def entries(folder: Path, part: str) -> dict[str, list[str]]:
    """Return the words of one part of speech with their senses in order."""
    rows = (line.split() for line in (folder / f"index.{part}").read_text("latin-1").splitlines() if line[0] != " ")
    return {lemma: rest[-int(count) :] for lemma, _, count, *rest in rows}


def things(folder: Path) -> list[str]:
    """Return the words in order."""
    known, count, adjectives = senses(folder), uses(folder), entries(folder, "adj")
    built = fixed(known)
    found = []
    for lemma, offsets in entries(folder, "noun").items():
        parts = lemma.split("_")
        files = THINGS if len(parts) == 1 else PAIRED
        # Two senses are read, since the sense of a product is often the second, as for toaster.
        first = [(offset, *known[offset][:2]) for offset in offsets[:2] if offset not in built]
        used = count["thing"][lemma]
        is_thing = any(file in files and lemma in words for _, file, words in first) and count["noun"][lemma] <= used
        is_other = (lemma in adjectives and count["adjective"][lemma] >= used) or (
            count["verb"][lemma] > VERBS_TO_A_NOUN * max(1, used)
        )
        is_word = lemma.replace("_", "").replace("-", "").isalpha() and len(parts) < 3
        if is_word and is_thing and not is_other:
            found.append(" ".join(parts))
    return sorted(found)


def main() -> None:
    """Write the file."""
    folder, target = Path(sys.argv[1]), Path(sys.argv[2])
    notice = [
        "English words for physical things, derived from WordNet 3.0 by benchmarks/thing_words.py: nouns that",
        "name an artifact, an animal, food, a plant or a substance. They come under WordNet's licence:",
        "",
        *licence(folder / "data.noun"),
    ]
    words = things(folder)
    target.write_text("".join(f"# {line}".rstrip() + "\n" for line in notice) + "\n".join(words) + "\n", "utf-8")
    print(f"{len(words):,} words, {target.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
