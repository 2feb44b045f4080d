"""The whole answer as text: a line of bundles as product numbers, then a line with the intent of each bundle."""

import re
from collections.abc import Sequence

from bundlewise.agents.student.answers import Answer
from bundlewise.agents.student.intent_form import CLASSES
from bundlewise.domain import Grouping
from bundlewise.text import line
from bundlewise.titles import clean

LONGEST_INTENT = 60
"""Characters of an intent."""
LONGEST_THOUGHT = 240
"""Characters of a reasoning before the answer."""
THOUGHT = "Because: "
"""The beginning of the line with the reasoning."""
_INTENT = rf"([A-Za-z0-9]|{CLASSES['FIRST']})[^\n\r\t]{{1,{LONGEST_INTENT - 1}}}"
_THOUGHT = rf"[^\x20\n\r\t][^\n\r\t]{{1,{LONGEST_THOUGHT - 1}}}"
_GROUP = re.compile(r"[0-9]{1,3}(?:(?: *, *| +)[0-9]{1,3})*")
_HEADING = re.compile(r"\W*bundles?\W*:\W*", re.IGNORECASE)


def grouping_text(groups: Grouping) -> str:
    """Return the line of bundles, such as `1 3 4; 2 5`; the bundles are in the order of their first products."""
    return "; ".join(" ".join(str(place + 1) for place in sorted(group)) for group in sorted(groups)) + "\n"


def answer_text(groups: Grouping, intents: Sequence[str], thought: str = "") -> str:
    """Return the whole answer; `intents` are parallel to `groups`, or missing altogether."""
    rows = sorted(zip(groups, intents, strict=True)) if intents else []
    reasoning = f"{THOUGHT}{line(thought)[:LONGEST_THOUGHT]}\n" if thought else ""
    return reasoning + grouping_text(groups) + "".join(f"{intent_line(intent)}\n" for _, intent in rows)


def is_intent(text: str) -> bool:
    """Say whether a line can be an intent of an answer."""
    return len(text) > 1


def intent_line(text: str) -> str:
    """Return an intent as it is taught and shown: on one line, with its digits and capitals."""
    whole = line(clean(text))
    if not any(map(str.isalnum, whole)):
        return ""
    if len(whole) <= LONGEST_INTENT:
        return whole
    # A long intent ends after a whole word; without blanks it is cut.
    return whole[: LONGEST_INTENT + 1].rpartition(" ")[0] or whole[:LONGEST_INTENT]


def answer_grammar(products: int, reasoning: bool = False) -> str:
    """Return the Lark grammar of an answer: bundles of two or more products in ascending order, an intent for each.

    A model that lists bundle after bundle comes to an end: see `most_bundles`.
    """
    most = most_bundles(products)
    before = f'"{THOUGHT}" THOUGHT "\\n" ' if reasoning else ""
    rules = [f"start: {before}list1", 'intent: SAID "\\n"', f'list{most}: bundle "\\n" intent']
    rules += [f'list{n}: bundle "\\n" intent | bundle "; " list{n + 1} intent' for n in range(1, most)]
    rules += [*_bundles(products), f"SAID: /{_INTENT}/"]
    return "\n".join([*rules, *([f"THOUGHT: /{_THOUGHT}/"] if reasoning else [])]) + "\n"


def most_bundles(products: int) -> int:
    """Return the most bundles of a written answer: one for every two products, and one more that may overlap."""
    return products // 2 + 1


def intents_grammar(bundles: int) -> str:
    """Return the Lark grammar of the intents alone, for an answer whose line of bundles is given."""
    return f'start: {" ".join(["intent"] * bundles)}\nintent: SAID "\\n"\nSAID: /{_INTENT}/\n'


def _bundles(products: int) -> list[str]:
    """Return the rules of a bundle; each rule `after_k` continues it with products from number k on."""
    numbers = range(1, products + 1)
    heads = " | ".join(f'"{n} " after{n + 1}' for n in numbers[:-1])
    rules = [f"bundle: {heads}"]
    for least in numbers[1:]:
        ends = [f'"{n}"' for n in numbers if n >= least]
        more = [f'"{n} " after{n + 1}' for n in numbers[:-1] if n >= least]
        rules.append(f"after{least}: {' | '.join([*ends, *more])}")
    return rules


def read_answer(text: str, products: int) -> Answer:
    """Read an answer, and list everything that is wrong with it in `faults`; bundles may overlap."""
    rows = [row.strip() for row in text.split("\n") if row.strip()]
    if rows and rows[0].startswith(THOUGHT.strip()):
        rows = rows[1:]
    if rows and (heading := _HEADING.match(rows[0])):  # A student on a server without a grammar repeats it.
        rows = [*filter(None, [rows[0][heading.end() :]]), *rows[1:]]
    faults: list[str] = []
    groups = _groups(rows[0] if rows else "", products, faults)
    intents = [intent_line(row) for row in rows[1 : len(groups) + 1]]
    intents += [""] * (len(groups) - len(intents))
    if len(rows) > len(groups) + 1:
        faults.append(f"{len(rows) - 1} intents for {len(groups)} bundles")
    found = dict(reversed(list(zip(groups, intents, strict=True))))  # The first of two equal bundles counts.
    answer = Answer.of(found.items())
    return Answer(answer.groups, answer.intents, (*faults, *answer.faults))


def _groups(row: str, products: int, faults: list[str]) -> list[tuple[int, ...]]:
    groups = []
    for part in re.split(r"\s*[;|]\s*", row.strip().rstrip(";.")):
        numbers = [int(each) for each in re.findall("[0-9]+", part)] if _GROUP.fullmatch(part) else []
        if not numbers or any(not 1 <= number <= products for number in numbers):
            faults.append(f"{part[:40]!r} is no list of product numbers from 1 to {products}")
        elif len(set(numbers)) > 1:  # A product alone is in no bundle.
            groups.append(tuple(sorted({number - 1 for number in numbers})))
    return groups
