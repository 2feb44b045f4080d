"""The grounded teacher: a program without a language model that derives rules and reasons from the sessions.

It needs no key and no network. Its proposals are word-overlap clusters. It compares them with the annotations,
writes the differences as rules with numbers, and tests each rule on training sessions that the rule does not
come from. Then the graph tests the rule on validation sessions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from bundlewise.agents.teacher.conditions import RELATIONS, Holds, Relation, noun, trial
from bundlewise.agents.teacher.contracts import Lesson
from bundlewise.agents.teacher.protocol import Pattern, Reflection, Rule, Seen, Thought, bundled_pairs
from bundlewise.agents.teacher.trials import THRESHOLD_SESSIONS
from bundlewise.domain import Grouping, KnowledgeKind, Session
from bundlewise.evaluation import baselines
from bundlewise.prompts.render import render
from bundlewise.text import shared_words, words

MIN_PAIRS = 6
MARGIN = 0.1


@dataclass(frozen=True)
class Idea:
    """A condition on two products that may be a reason for or against a bundle: a general one, or two kinds."""

    text: str
    kinds: tuple[str, ...] = ()

    def holds(self, session: Session, a: int, b: int) -> bool:
        """Say whether the condition holds for the products at two positions."""
        if self.kinds:
            return {_head(session, a), _head(session, b)} == set(self.kinds)
        return GENERAL[self.text](session, a, b)


class GroundedTeacher:
    """A deterministic teacher that reads only training sessions."""

    name = "grounded"
    worded_by: Mapping[KnowledgeKind, str] = {"rule": "rule", "thought": "thought"}
    repeats_itself = False

    def __init__(self) -> None:
        self._threshold = 0.0

    def kinds(self, session: Session) -> tuple[str, ...]:
        """Return the head noun of every title."""
        return tuple(noun(title) for title in session.titles)

    def begin(self, sessions: Sequence[Session]) -> None:
        """Choose the threshold of the clusters on the first `THRESHOLD_SESSIONS` of these sessions."""
        self._threshold = baselines.lexical_threshold(sessions[:THRESHOLD_SESSIONS])

    def propose(self, session: Session, patterns: Sequence[Pattern]) -> Grouping | None:
        """Return word-overlap clusters."""
        return baselines.clusters(baselines.overlap(session.titles), self._threshold)

    def reflect(self, reflection: Reflection) -> tuple[Lesson, ...]:
        """Return no lessons, because this teacher counts the differences."""
        return ()

    def formalise(
        self, reflections: Sequence[Reflection], patterns: Sequence[Pattern], seen: Seen | None = None
    ) -> list[Rule]:
        """Derive rules from each half of the sessions and test them on the other half.

        The sources of a rule are the matching sessions of its half, so that it is never shown to a session that it
        comes from.
        """
        halves = (reflections[0::2], reflections[1::2])
        rules = []
        for drawn, held_out in (halves, halves[::-1]):
            for idea in self._ideas(patterns):
                rule = self._induce(idea, drawn, held_out)
                if rule is not None:
                    rules.append(rule)
        return sorted(rules, key=lambda rule: (-(rule.gain or 0.0), rule.text))

    def _ideas(self, patterns: Sequence[Pattern]) -> list[Idea]:
        pairs = [pattern for pattern in patterns if len(pattern.kinds) == 2][:20]
        return [
            *map(Idea, GENERAL),
            *(Idea(f"a {pattern.kinds[0]} and a {pattern.kinds[1]}", pattern.kinds) for pattern in pairs),
        ]

    def _induce(self, idea: Idea, drawn: Sequence[Reflection], held_out: Sequence[Reflection]) -> Rule | None:
        pairs = together = every = bundled = causes = 0
        sources = []
        for reflection in drawn:
            session, truth = reflection.session, bundled_pairs(reflection.session.groups)
            matching = [p for p in combinations(range(len(session.items)), 2) if idea.holds(session, *p)]
            every += len(session.items) * (len(session.items) - 1) // 2
            bundled += len(truth)
            pairs += len(matching)
            together += sum(pair in truth for pair in matching)
            causes += sum(pair in reflection.missed or pair in reflection.wrong for pair in matching)
            sources += [session.session_id] if matching else []
        if pairs < MIN_PAIRS or not causes or abs(together / pairs - bundled / every) < MARGIN:
            return None
        joins = together / pairs > bundled / every
        text = render("rule", joins=joins, condition=idea.text, together=together, pairs=pairs)
        found = trial(idea.holds, joins, [reflection.session for reflection in held_out], self._threshold)
        confidence = round(together / pairs, 4)
        return Rule(text, tuple(sources), pairs, confidence, found.gain, found.harm, joins, idea)

    def think(
        self, session: Session, kinds: tuple[str, ...], patterns: Sequence[Pattern], rules: Sequence[Rule]
    ) -> Thought | None:
        """Return a thought about one session: the products that go together, the reasons, and the products left out."""
        known = {pattern.kinds for pattern in patterns}
        bundles = [
            {
                "intent": bundle.intent,
                "kinds": [kinds[place] for place in group],
                "reason": _reason(session, group, kinds, known),
            }
            for bundle, group in zip(session.bundles, session.groups, strict=True)
        ]
        inside = {place for group in session.groups for place in group}
        left_out = [kinds[place] for place in range(len(kinds)) if place not in inside]
        out_reason = "nothing here needs it" if len(left_out) == 1 else "nothing here needs them"
        text = render("thought", kinds=kinds, bundles=bundles, left_out=left_out, out_reason=out_reason)
        return Thought(text, kinds)


def _reason(session: Session, group: tuple[int, ...], kinds: tuple[str, ...], known: set[tuple[str, ...]]) -> str:
    titles = [session.items[place].title for place in group]
    common = [word for word in words(titles[0]) if all(word in words(title) for title in titles[1:])]
    if len({kinds[place] for place in group}) == 1:
        return f"they are all of one kind, {kinds[group[0]]}"
    if common:
        return f"their titles share {' and '.join(common[:2])}"
    pairs = [tuple(sorted((kinds[a], kinds[b]))) for a, b in combinations(group, 2)]
    if frequent := next((pair for pair in pairs if pair in known), None):
        return f"{frequent[0]} and {frequent[1]} are often bundled"
    return "they serve one purpose, though their titles do not say it"


def _head(session: Session, place: int) -> str:
    return noun(session.items[place].title)


def _overlap(session: Session, a: int, b: int) -> int:
    return len(shared_words(session.items[a].title, session.items[b].title, limit=9))


def _related(relation: Relation) -> Holds:
    return lambda session, a, b: RELATIONS[relation](session.items[a].title, session.items[b].title)


def _brand_mates(session: Session, a: int, b: int) -> bool:
    first, second = words(session.items[a].title)[:1], words(session.items[b].title)[:1]
    return first == second and _head(session, a) != _head(session, b)


GENERAL: dict[str, Holds] = {
    "products whose titles share a model name or number": _related("share a number"),
    "products whose titles share two words or more": lambda s, a, b: _overlap(s, a, b) >= 2,
    "products whose titles share no word": _related("share no word"),
    "products of one kind": _related("same kind"),
    "products of one brand but of different kinds": _brand_mates,
    "the products of a session of three or fewer": lambda s, a, b: len(s.items) <= 3,
    "products of a session of eight or more": lambda s, a, b: len(s.items) >= 8,
}
