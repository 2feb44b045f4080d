"""Measure the share of recorded kinds that are replaced by their titles' own: real kinds, and planted wrong kinds.

`python benchmarks/kind_shares.py --sessions DATA.jsonl --thoughts PACK.jsonl`, with both options once per domain.
"""

import argparse
import random
import time
from collections import Counter
from pathlib import Path

from grounding_shares import rows

from bundlewise.agents.teacher.kind_fit import AlikeTitles, stems_of
from bundlewise.agents.teacher.kind_neighbours import KindsAround


def main() -> None:
    """Print the shares: by the kinds of similar titles, and in brackets by the words of similar titles."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=Path, action="append", required=True)
    parser.add_argument("--thoughts", type=Path, action="append", required=True)
    args = parser.parse_args()
    domains, dice = rows(args.sessions, args.thoughts), random.Random(7)
    for number, domain in enumerate(domains):
        kinds = {session.session_id: row["item_kinds"] for row, session in domain}
        titles = {session.session_id: session.titles for _, session in domain}
        others = [k for d in domains[:number] + domains[number + 1 :] for row, _ in d for k in row["item_kinds"]]
        known = [(k, title, key) for key in kinds for k, title in zip(kinds[key], titles[key], strict=True)]
        around, before = KindsAround(titles, kinds), AlikeTitles([session for _, session in domain])
        start, shares, had = time.process_time(), Counter[str](), Counter[str]()
        for kind, title, key in known:
            distant = kind
            while stems_of(distant) & stems_of(kind):
                distant = dice.choice(known)[0]
            planted = {"real refused": kind, "other domain passes": dice.choice(others), "same domain passes": distant}
            for name, each in planted.items():
                wanted = name != "real refused"
                shares[name] += around.fits(each, title, key) is wanted
                had[name] += before.fits(each, title) is wanted
        print(
            args.thoughts[number].stem, f"{len(known):,} kinds, three checks each, {time.process_time() - start:.1f} s"
        )
        for name, count in shares.items():
            print(f"  {name:24} {count / len(known):.1%} ({had[name] / len(known):.1%})")


if __name__ == "__main__":
    main()
