"""The dials of retrieval: which knowledge reaches a prompt, and how much of it."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from bundlewise.dials import DialSet
from bundlewise.domain import KnowledgeKind
from bundlewise.errors import UsageError
from bundlewise.prompts.field_wording import Wording

WRITING: dict[str, Any] = {
    **{"patterns": 2, "rules": 3, "thoughts": 2, "demonstrations": 3},
    **{"min_score": 0.3, "budget": 1000},
}
"""The knowledge in the prompt of a student that writes whole answers.

The least score was chosen on validation with the embedder MiniLM: at least 98 % of the records from a session's own
domain reach it, and 5 % of the patterns, 18 % of the rules and 42 % of the thoughts from another domain (docs/log.md).
"""
Search = Literal["dense", "lexical", "hybrid"]


class Policy(DialSet):
    """The knowledge that a prompt may hold.

    `hints` is the number of observed pairs, from thoughts, behind each question's hint word. The default is the
    best policy on validation with the smallest student (docs/log.md): texts of records lengthen every prompt
    by a third, and this student does not use them.
    """

    allowed: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("patterns", "rules", "thoughts", "demonstrations", "hints"), "at least 0"),
        "min_score": "between -1 and 1",
        "budget": "at least 0",
        "search": "dense, lexical or hybrid",
        "domain": "any, own or the name of a domain",
        "diversity": "between 0 and 1",
        "rerank": "between 0 and 1",
        "wording": "told or fields",
    }

    patterns: int = Field(default=0, ge=0, description="patterns in a prompt")
    rules: int = Field(default=0, ge=0, description="rules in a prompt")
    thoughts: int = Field(default=0, ge=0, description="thoughts in a prompt")
    demonstrations: int = Field(default=0, ge=0, description="solved training sessions in a prompt")
    hints: int = Field(default=30, ge=0, description="observed pairs a hint word is read from")
    min_score: float = Field(default=0.0, ge=-1, le=1, description="smallest cosine of a record")
    budget: int | None = Field(default=None, ge=0, description="tokens of knowledge in a prompt; no limit by default")
    search: Search = Field(default="dense", description="vectors, words, or both by reciprocal rank fusion")
    domain: str = Field(default="any", min_length=1, description="of the records: any, own (the session's), or a name")
    diversity: float = Field(default=0.0, ge=0, le=1, description="0 takes the best, 1 the least alike (MMR)")
    rerank: float = Field(default=0.0, ge=0, le=1, description="weight of held-out gain and support")

    wording: Wording = Field(default="told", description="thoughts as told by the teacher, or from their fields alone")

    @classmethod
    def for_form(cls, form: str, dials: dict[str, Any], *, counts: bool = True) -> "Policy":
        """Build a policy for a form of answers; a student that writes reads texts.

        `counts` says that the tokens of a text can be counted, so that a default budget can be kept.

        Raises:
            UsageError: a dial has a value that is not allowed, or the form does not show demonstrations.
        """
        if form == "write":
            own = WRITING if counts else {**WRITING, "budget": None}
            return cls.of(**own | {key: value for key, value in dials.items() if value is not None})
        if dials.get("demonstrations"):
            raise UsageError("demonstrations are shown to a student that writes; add --form write, or leave them out")
        return cls.of(**dials)

    @classmethod
    def none(cls) -> "Policy":
        """Return the policy of the plain student, which retrieves nothing."""
        return cls(patterns=0, rules=0, thoughts=0, demonstrations=0, hints=0)

    @property
    def is_plain(self) -> bool:
        """Say whether the policy retrieves nothing."""
        return not (self.patterns or self.rules or self.thoughts or self.demonstrations or self.hints)

    def quota(self, kind: KnowledgeKind) -> int:
        """Return how many records of a kind may stand in a prompt."""
        return {"pattern": self.patterns, "rule": self.rules, "thought": self.thoughts}[kind]

    def domain_of(self, session_domain: str) -> str | None:
        """Return the domain that a session's knowledge may come from; None is any domain."""
        if self.domain == "any":
            return None
        return (session_domain or None) if self.domain == "own" else self.domain
