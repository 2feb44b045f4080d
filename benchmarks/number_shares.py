"""Measure the share of thoughts that name products by number, as recorded and with kinds in place of numbers.

`python benchmarks/number_shares.py --sessions DATA.jsonl --thoughts PACK.jsonl`, with both options once per domain.
The detector here shares no code with the rewriter: it counts every small number that no title holds.
"""

import argparse
import json
import re
from pathlib import Path

from bundlewise.agents.teacher.plain_thoughts import plain
from bundlewise.agents.teacher.session_numbers import session_numbers
from bundlewise.data.sessions import load

_ALONE = re.compile(r"(?<![\w.])\d+(?!\w|[.,]\d|-[a-z])")


def small_numbers(text: str, titles: list[str]) -> list[str]:
    """Return the numbers of a text that may be a product's and stand in no title."""
    titled = {number for title in titles for number in re.findall(r"\d+", title)}
    return [found for found in _ALONE.findall(text) if 1 <= int(found) <= len(titles) and found not in titled]


def main() -> None:
    """Print for each domain the thoughts with numbers by both detectors, before and after."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=Path, action="append", required=True)
    parser.add_argument("--thoughts", type=Path, action="append", required=True)
    given = parser.parse_args()
    for data, pack in zip(given.sessions, given.thoughts, strict=True):
        known = {session.session_id: session for session in load(str(data))}
        rows = [json.loads(line) for line in pack.read_text("utf-8").splitlines()]
        thoughts = [row for row in rows if row["kind"] == "thought"]
        counts = [0] * 4
        for row in thoughts:
            titles, text = known[row["source_session"]].titles, row["text"]
            shown = plain(text, row["item_kinds"], titles).text
            found = (find(said, titles) for said in (text, shown) for find in (small_numbers, session_numbers))
            counts = [count + bool(each) for count, each in zip(counts, found, strict=True)]
        crude, strict, crude_after, strict_after = counts
        print(f"{pack.stem}: {len(thoughts)} thoughts; any small number {crude} -> {crude_after},")
        print(f"  by the teacher's check {strict} -> {strict_after} (these are worded from their fields)")


if __name__ == "__main__":
    main()
