"""The large teacher: a language model behind an endpoint that proposes, reflects, and writes rules and thoughts."""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from bundlewise.agents.teacher.ask import Asks
from bundlewise.agents.teacher.conditions import Condition
from bundlewise.agents.teacher.contracts import (
    Kinds,
    Lesson,
    Lessons,
    Proposal,
    ProposedBundle,
    Reasoning,
    RuleDraft,
    Rules,
    proposal_faults,
)
from bundlewise.agents.teacher.foreign_products import Vocabulary
from bundlewise.agents.teacher.grounded import GroundedTeacher
from bundlewise.agents.teacher.kind_fit import AlikeTitles, KindsCheck
from bundlewise.agents.teacher.knowledge_checks import RulesCheck, ThoughtCheck, worded_thought
from bundlewise.agents.teacher.protocol import Pattern, Reflection, Rule, Seen, Thought
from bundlewise.domain import Grouping, KnowledgeKind, Session
from bundlewise.files import fingerprint
from bundlewise.prompts.render import render

PATTERNS_SHOWN = 8
RULES_SHOWN = 8
LESSONS_A_CALL = 40
DIFFERENCES_SHOWN = 12
USUAL_LESSONS = 3
FEW_WORDS = "so much is known of them and of what a shopper would do with them, in a sentence or two"


class LargeTeacher:
    """A teacher that asks a language model one question per session and stage, through an `Asks`."""

    worded_by: Mapping[KnowledgeKind, str] = {"rule": "teacher_rules", "thought": "teacher_think"}
    repeats_itself = True

    def __init__(self, asker: Asks) -> None:
        self._asker = asker
        self._grounded = GroundedTeacher()
        self._titles = AlikeTitles()
        self._named: dict[str, list[tuple[str, str]]] = {}
        self._vocabulary: Vocabulary | None = None
        self.name = f"openai:{asker.name}"

    def begin(self, sessions: Sequence[Session]) -> None:
        """Read the titles of all sessions, for finding similar titles."""
        self._titles = AlikeTitles(sessions)
        self._named, self._vocabulary = {}, None

    def kinds(self, session: Session) -> tuple[str, ...] | None:
        """Return the kind of every product, or None if the model gave none; see `KindsCheck`."""
        check = KindsCheck(session, self._titles)
        found = self._asker.ask(
            "describe",
            session.session_id,
            "teacher_kinds",
            Kinds,
            lambda reply: check.faults(reply.kinds),
            lambda: Kinds(kinds=[*(self._grounded.kinds(session))]),
            titles=session.titles,
        )
        if found is None:
            return None
        kinds = check.settled(found.kinds)
        self._named[session.session_id] = [*zip(kinds, session.titles, strict=True)]
        self._vocabulary = None
        return kinds

    def propose(self, session: Session, patterns: Sequence[Pattern]) -> Grouping | None:
        """Return the bundles that the model makes before it sees the annotation."""
        found = self._asker.ask(
            "propose",
            session.session_id,
            "teacher_propose",
            Proposal,
            lambda reply: proposal_faults(reply, session),
            lambda: _usual_proposal(session),
            titles=session.titles,
            patterns=_worded(patterns, PATTERNS_SHOWN),
        )
        if found is None:
            return None
        return tuple(tuple(sorted({number - 1 for number in bundle.items})) for bundle in found.bundles)

    def reflect(self, reflection: Reflection) -> tuple[Lesson, ...]:
        """Return the lessons of a proposal's differences; none if there are no differences."""
        if not reflection.missed and not reflection.wrong:
            return ()
        session = reflection.session
        found = self._asker.ask(
            "reflect",
            session.session_id,
            "teacher_reflect",
            Lessons,
            lambda reply: [],
            lambda: Lessons(lessons=[Lesson(together=True, cause=FEW_WORDS, lesson=FEW_WORDS)] * 2),
            titles=session.titles,
            proposed=[[place + 1 for place in group] for group in reflection.proposal],
            annotated=_annotated(session),
            differences=_differences(reflection),
        )
        return tuple(found.lessons) if found else ()

    def formalise(
        self, reflections: Sequence[Reflection], patterns: Sequence[Pattern], seen: Seen | None = None
    ) -> list[Rule]:
        """Return rules from the lessons, with `LESSONS_A_CALL` per call; their sources are the lessons' sessions."""
        taught = [(lesson, r.session.session_id) for r in reflections for lesson in r.lessons]
        rules: list[Rule] = []
        for start in range(0, len(taught), LESSONS_A_CALL):
            part = taught[start : start + LESSONS_A_CALL]
            rules += self._draw(part, patterns)
            if seen:
                for _, name in part:
                    seen(name)
        return rules

    def _draw(self, taught: Sequence[tuple[Lesson, str]], patterns: Sequence[Pattern]) -> list[Rule]:
        names = [name for _, name in taught]
        found = self._asker.ask(
            "formalise",
            f"{len(taught)} lessons {fingerprint(names)}",
            "teacher_rules",
            Rules,
            RulesCheck(len(taught)).faults,
            lambda: Rules(rules=[_usual_rule(len(taught))] * 6),
            patterns=_worded(patterns, PATTERNS_SHOWN),
            lessons=[lesson for lesson, _ in taught],
        )
        return [_rule(draft, names) for draft in found.rules] if found else []

    def think(
        self, session: Session, kinds: tuple[str, ...], patterns: Sequence[Pattern], rules: Sequence[Rule]
    ) -> Thought | None:
        """Return the model's chain of thought about one session."""
        inside = {place for group in session.groups for place in group}
        check, said = KindsCheck(session, self._titles), ThoughtCheck(session, self._known())
        # A rule adds nothing to a session that it came from; a harmful or untested rule does not help.
        shown = [r.text for r in rules if session.session_id not in r.sources and r.gain is not None and r.gain >= 0]
        found = self._asker.ask(
            "think",
            session.session_id,
            "teacher_think",
            Reasoning,
            lambda reply: [*check.faults(reply.kinds), *said.faults(reply)],
            lambda: Reasoning(kinds=[*kinds], products=FEW_WORDS, together=FEW_WORDS, left_out="", lesson=FEW_WORDS),
            titles=session.titles,
            annotated=_annotated(session),
            left_out=[place + 1 for place in range(len(session.items)) if place not in inside],
            rules=shown[:RULES_SHOWN],
        )
        if found is None:
            return None
        return Thought(worded_thought(found), check.settled(found.kinds), found.lesson.strip())

    def _known(self) -> Vocabulary:
        """Return the product words of the kinds so far, and of their titles."""
        if self._vocabulary is None:
            titled = [pair for pairs in self._named.values() for pair in pairs]
            self._vocabulary = Vocabulary.of((kind for kind, _ in titled), titled)
        return self._vocabulary


def _usual_proposal(session: Session) -> Proposal:
    return Proposal(bundles=[ProposedBundle(items=[*range(1, len(session.items) + 1)], intent=FEW_WORDS[:40])])


def _usual_rule(lessons: int) -> RuleDraft:
    condition = Condition(first=("case",), second=("tablet",), relation="any", least=2, most=99)
    numbers = [*range(1, min(USUAL_LESSONS, lessons) + 1)]
    return RuleDraft(text=FEW_WORDS, together=True, condition=condition, lessons=numbers)


def _worded(patterns: Sequence[Pattern], count: int) -> list[str]:
    return [
        render("pattern", kinds=pattern.kinds, support=pattern.support, present=len(pattern.holders))
        for pattern in islice(patterns, count)
    ]


def _annotated(session: Session) -> list[dict[str, Any]]:
    return [
        {"numbers": [place + 1 for place in group], "intent": bundle.intent}
        for group, bundle in zip(session.groups, session.bundles, strict=True)
    ]


def _differences(reflection: Reflection) -> list[str]:
    missed = [f"{a + 1} and {b + 1} belong together, the proposal parts them" for a, b in sorted(reflection.missed)]
    wrong = [
        f"{a + 1} and {b + 1} do not belong together, the proposal joins them" for a, b in sorted(reflection.wrong)
    ]
    # Each kind of mistake keeps at least half of the places if it needs them.
    half = DIFFERENCES_SHOWN // 2
    return [*missed[: max(half, DIFFERENCES_SHOWN - len(wrong))], *wrong[: max(half, DIFFERENCES_SHOWN - len(missed))]]


def _rule(draft: RuleDraft, names: Sequence[str]) -> Rule:
    sources = tuple(dict.fromkeys(names[number - 1] for number in draft.lessons))
    return Rule(draft.text, sources, support=len(sources), joins=draft.together, condition=draft.condition)
