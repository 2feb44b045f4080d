"""Measure the share of thoughts that the check of words refuses: real thoughts, and some with a planted sentence.

`python benchmarks/grounding_shares.py --sessions DATA.jsonl --thoughts PACK.jsonl`, with both options once per domain.
A planted sentence is about a product that is not in the session. The sentences of TUNED were used while the check was
written, those of HELD_OUT were not, and those of SECOND were written before the check worked sentence by sentence.
"""

import argparse
import json
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

from bundlewise.agents.teacher.foreign_products import Vocabulary, foreign, strangers
from bundlewise.agents.teacher.sentences import sentences, trimmed
from bundlewise.agents.teacher.things import things
from bundlewise.data.sessions import load
from bundlewise.text import kind as kind_of

TUNED = (
    "The {x} belongs with the {own}.",
    "The {own} and the {x} go together.",
    "The shopper wants the {own} and the {x}.",
    "The {x} stays out.",
    "The shopper takes a {x} along with the {own}.",
    "A {x} would round off the {own}.",
    "The {own} was bought for use with a {x}.",
    "Both the {x} and the {own} are meant for one occasion.",
    "The {x} is left out because it serves another purpose.",
    "Next to the {own} there is a {x}.",
    "The {own} pairs naturally with the {x}.",
    "This {x} makes a good match for the {own}.",
    "The {x}, the {own} and the rest form one bundle.",
    "The list ends with a {x}, which nothing else matches.",
    "Buyers of the {own} often pick a {x} too.",
    "{x} and {own} make sense together.",
    "The first bundle holds the {own} and a {x}.",
)
HELD_OUT = (
    "Since the {own} is there, the {x} can join it.",
    "A {x} enhances the {own}.",
    "What unites the {x} and the {own} is their purpose.",
    "The {own} works best beside the {x}.",
    "Only the {x} has no partner.",
    "The annotation puts the {own} with the {x}.",
    "With the {own} comes a {x}.",
    "The {x} was set aside.",
    "Someone who owns the {own} also buys the {x}.",
    "One bundle is the {own} plus the {x}.",
    "The {x} and the {own} share one use.",
    "A {x} and a {own} were chosen.",
)
SECOND = (
    "The {own} finds its counterpart in the {x}.",
    "I would group the {x} with the {own}.",
    "Because the {x} suits the {own}, the two are bundled.",
    "Although the {x} looks similar, it is not part of the bundle.",
    "Together, the {own} and {x} cover one need.",
    "The {own} sits next to the {x} in the cart.",
    "Here the {x} supports the {own}.",
    "Anyone buying the {x} will need the {own}.",
    "The {own} comes first, then the {x}.",
    "No other product matches the {x}.",
    "The {x} adds to what the {own} offers.",
    "A shopper with the {own} may look for a {x} next.",
    "The remaining {x} fits nothing.",
    "For the {own}, the obvious partner is the {x}.",
)
COMPOUNDS = ("unicorn saddle", "dragon bridle", "moon ladder", "pirate anvil", "ghost kettle", "wizard canoe")


def rows(sessions: list[Path], packs: list[Path]) -> list[list[tuple[dict[str, Any], Any]]]:
    """Return the thoughts of every domain with their sessions."""
    found = []
    for data, pack in zip(sessions, packs, strict=True):
        known = {session.session_id: session for session in load(str(data))}
        read = [json.loads(line) for line in pack.read_text("utf-8").splitlines()]
        found.append([(row, known[row["source_session"]]) for row in read if row["kind"] == "thought"])
    return found


def main() -> None:
    """Print the shares."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=Path, action="append", required=True)
    parser.add_argument("--thoughts", type=Path, action="append", required=True)
    args = parser.parse_args()
    dice = random.Random(7)
    domains = rows(args.sessions, args.thoughts)
    single = sorted(word for word in things() if " " not in word and 4 < len(word) < 11)
    for number, domain in enumerate(domains):
        titled = [pair for row, session in domain for pair in zip(row["item_kinds"], session.titles, strict=True)]
        known = Vocabulary.of((kind for kind, _ in titled), titled)
        others = sorted(
            {k for d in domains[:number] + domains[number + 1 :] for row, _ in d for k in row["item_kinds"]}
        )
        planted = {"kinds of other domains": others, "things of the list": single, "compounds": COMPOUNDS}
        shares: dict[str, float] = Counter()
        told = [len(sentences(f"{row['text']} {row['lesson']}")) for row, _ in domain]
        start = time.process_time()
        for row, session in domain:
            text = f"{row['text']} {row['lesson']}"
            shares["real refused"] += bool(foreign(text, session, row["item_kinds"], known))
            shares["real told"] += bool(strangers(text, session, row["item_kinds"], known))
            left = trimmed(text, lambda each, s=session, k=row["item_kinds"], v=known: strangers(each, s, k, v))[1]
            shares["real sentences left out"] += len(left) * len(domain) / sum(told)
        spent = time.process_time() - start
        for row, session in domain:
            own = kind_of(dice.choice(session.titles))
            for name, words in planted.items():
                for held, shapes in (("tuned", TUNED), ("held out", HELD_OUT), ("second", SECOND)):
                    said = dice.choice(shapes).format(x=dice.choice(words), own=own)
                    text = f"{row['text']} {said}"
                    refused = bool(foreign(text, session, row["item_kinds"], known))
                    shares[f"{name}, {held}: refused"] += refused
                    shares[f"{name}, {held}: told, sentence left out"] += (
                        bool(strangers(said, session, row["item_kinds"], known)) or refused
                    )
        print(args.thoughts[number].stem, f"{len(domain)} thoughts, checked in {spent:.2f} s of CPU")
        for name, count in shares.items():
            print(f"  {name:60} {count / len(domain):.1%}")


if __name__ == "__main__":
    main()
