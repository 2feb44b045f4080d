"""What the shipped templates render over the starter sessions, and their fingerprints, stay as adapters know them."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from itertools import combinations

from samples import record, thought

from bundlewise.agents.student.compose import demonstration, judge_prompt, name_prompt, write_prompt
from bundlewise.data.sessions import load
from bundlewise.domain import Retrieved, Session
from bundlewise.prompts.render import fingerprint, render
from bundlewise.text import kind

HINTS = ("never", "seldom", "sometimes", "often", "usually", "")
FINGERPRINTS = {
    "judge": "f4d36cef727c",
    "pair": "76d80869bed8",
    "name": "97cc1371a54e",
    "write": "fabc55ee46ab",
    "write_system": "ca8fe027090e",
    "notes": "7529c847cc39",
    "demonstrations": "48204c5fd4c8",
    "knowledge": "2d7930c7586e",
    "products": "bd3a40941f0d",
    "pattern": "29c38b3db7e9",
    "rule": "c005a414678e",
    "thought": "3542d0e0d121",
    "teacher": "cbd3eb628d3d",
    "teacher_repair": "e388cfd96620",
    "teacher_kinds": "92da0049ae90",
    "teacher_propose": "2c68f1d77558",
    "teacher_reflect": "1774b8135a81",
    "teacher_rules": "ea041721ce4b",
    "teacher_think": "0b508c38ca4f",
    "reasoning": "a3759ba59a65",
}
RENDERED = {
    "judge": "2fbacf085af39aca",
    "pair": "905394c32b788933",
    "name": "75b738b3431b1f39",
    "write": "c97a711c58c7100c",
    "write_system": "b4693f3d9c2a1e1c",
    "notes": "e938319b362bed70",
    "demonstrations": "dafb9258340bd9af",
    "knowledge": "a75562e25a44c9a6",
    "products": "e3e609a8fee1a8c6",
    "pattern": "e58a9a6fb54c1f0b",
    "rule": "8152a3e10cdeedf6",
    "thought": "60f49f45c69c9b6e",
    "teacher": "3e065b77dbf7ca8b",
    "teacher_repair": "5611bd7475fa9cc3",
    "teacher_kinds": "3d8329d53ce2c9b3",
    "teacher_propose": "80a048f77f8c4adc",
    "teacher_reflect": "55a1be5f8ff7a652",
    "teacher_rules": "44963cae1ee3ec7d",
    "teacher_think": "344b6b721b97b5e5",
    "reasoning": "ab59c00146bd0d09",
}


def retrieved_for(session: Session) -> Retrieved:
    """Return made-up knowledge for a session, the same every time."""
    pairs = list(combinations(range(len(session.items)), 2))
    texts = [f"Put a {kind(title)} first" for title in session.titles[:3]]
    records = tuple((record("rule", text), 0.5) for text in texts)
    solved = ((thought(session, list(map(kind, session.titles))), 0.5),)
    hints = {pair: HINTS[n % 6] for n, pair in enumerate(pairs)}
    return Retrieved(records=records, demonstrations=solved, hints=hints)


def texts_of(session: Session) -> Iterator[tuple[str, str]]:
    """Yield what each template renders for an annotated session."""
    known, kinds = retrieved_for(session), [kind(title) for title in session.titles]
    words = [found.text for found, _ in known.records]
    for given in (known, Retrieved()):
        prompt = judge_prompt(session, given)
        yield "judge", prompt.head
        yield from (("pair", question) for question in prompt.questions)
        told = bool(given.records)
        asked = write_prompt(session, given, reasoning=told, feedback="no intent" if told else "")
        yield "write", asked.user
        yield "write_system", asked.system
        yield "notes", render("notes", records=[found for found, _ in given.records])
        solved = [demonstration(found) for found, _ in given.demonstrations]
        yield "demonstrations", render("demonstrations", demonstrations=solved)
        yield "knowledge", render("knowledge", records=[found for found, _ in given.records])
    annotated = [
        {"numbers": [place + 1 for place in group], "intent": bundle.intent}
        for group, bundle in zip(session.groups, session.bundles, strict=True)
    ]
    for group, bundle in zip(session.groups, session.bundles, strict=True):
        yield "name", name_prompt(session, group)
        own = [kinds[place] for place in group]
        yield "pattern", render("pattern", kinds=own, support=2, present=7)
        said = {"intent": bundle.intent, "kinds": own, "reason": "they share a word"}
        yield "thought", render("thought", kinds=kinds, bundles=[said], left_out=kinds[:1], out_reason="it is alone")
    for joins in (True, False):
        yield "rule", render("rule", joins=joins, condition=" and ".join(kinds[:2]), together=3, pairs=9)
    titles = session.titles
    yield "products", render("products", titles=titles)
    yield "teacher", render("teacher", schema='{"type": "object"}')
    yield "teacher_repair", render("teacher_repair", faults=["no JSON", f"no product {len(titles) + 1}"])
    yield "teacher_kinds", render("teacher_kinds", titles=titles)
    lessons = [{"together": True, "cause": "one brand", "lesson": word} for word in words]
    for shown in (words, []):
        yield "teacher_propose", render("teacher_propose", titles=titles, patterns=shown)
        yield "teacher_rules", render("teacher_rules", patterns=shown, lessons=lessons)
        left = [1] if shown else []
        yield "teacher_think", render("teacher_think", titles=titles, annotated=annotated, left_out=left, rules=shown)
        proposed = [[1, 2]] if shown else []
        told = {"titles": titles, "proposed": proposed, "annotated": annotated, "differences": ["1 and 2 belong"]}
        yield "teacher_reflect", render("teacher_reflect", **told)
    yield "reasoning", render("reasoning", products=titles[0], together="They fit.", left_out="", lesson=titles[-1])


def digests() -> dict[str, str]:
    """Return a hash of all that each template renders over annotated sessions of the three starter domains."""
    found = defaultdict(hashlib.sha256)
    for domain in ("electronics", "clothing", "grocery"):
        for session in [session for session in load(domain) if session.bundles][:60]:
            for name, text in texts_of(session):
                found[name].update(text.encode() + b"\0")
    return {name: digest.hexdigest()[:16] for name, digest in found.items()}


def test_every_template_renders_what_it_rendered_when_adapters_were_first_tuned() -> None:
    assert digests() == RENDERED


def test_fingerprints_are_those_that_adapters_and_records_hold() -> None:
    assert {name: fingerprint(name) for name in FINGERPRINTS} == FINGERPRINTS
    assert fingerprint("judge", "pair", "name") != fingerprint("judge")
