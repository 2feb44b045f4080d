"""The dialect of a server: which parameters and which form of schema it takes, learnt from its own refusals.

It is learnt once and holds for all calls of a run. A question keeps its key in the ledger whatever the dialect, so a
run that goes on learns it again, at the price of a refusal, which costs nothing, and pays nothing twice.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Literal

Mode = Literal["json_schema", "json_object", "plain"]
MODES: tuple[Mode, ...] = ("json_schema", "json_object", "plain")
"""The forms of a schema, from the strictest."""
LENGTHS = ("max_tokens", "max_completion_tokens")
"""The two names of the greatest length of an answer; models know one of them, or both."""
FORMAT = "response_format"
OPTIONAL = ("temperature", "reasoning_effort")
WORDS = ("temperature",)
"""Parameters whose names are usual words: a refusal that holds one may speak of a product."""
UNTAKEN = re.compile(
    r"unsupported|not (?:be )?(?:support|permit|allow|accept|recogni|expect|known|a valid|valid|implement)|unknown|only"
    r"|unrecogni|unexpected|extra|invalid|deprecat|must|does ?n.t|does not|can ?not|can.t|instead|\buse\b|reject|refus"
    r"|remove|omit|without|rename|replace|legacy|default|minimum|maximum|below|above|between|out of|range|should"
    r"|less than|greater than|at least|at most|exactly|required|has to|temperature\W{0,3}[:=]|[`'\"]temperature",
    re.IGNORECASE,
)
TOO_LONG = re.compile(
    r"too (?:large|long|many|big|small|low|high)|context|exceed|at (?:most|least)|(?:less|greater|more|fewer) than"
    r"|reduce|range|maximum|minimum|below|above",
    re.IGNORECASE,
)
SHAPE = re.compile(r"schema|response.?format|json|grammar|guided|structured|keyword|propert(?:y|ies)", re.IGNORECASE)
FORM = re.compile(r"json.?schema|response.?format|grammar", re.IGNORECASE)
POLICY = re.compile(r"polic|safety|content.?(?:filter|manag)|moderat", re.IGNORECASE)
"""Words of a refusal that is about what was asked, not about how."""
SYSTEM = re.compile(
    r"\bsystem\b.{0,20}\b(?:role|message|prompt|instruction)|\broles?\b.{0,40}\bsystem\b|developer instruction"
    r"|roles? must alternate|\buser\b.{0,12}\bassistant\b.{0,12}\broles?\b"
    r"|\broles?\b.{0,30}\buser\b.{0,12}\bassistant\b",
    re.IGNORECASE,
)
"""Words of a refusal that is about a message of the system."""
DOUBTS = 2
"""Calls that a server answers only in a lower form, before any in the stricter one, after which that is learnt."""
OTHER = re.compile(r"content|context|too (?:long|large|many)|length|quota", re.IGNORECASE)


@dataclass
class Dialect:
    """What is known of a server; `note` hears once of each thing that is learnt.

    `is_bounded` says that an answer must have a greatest length, because a cap rests on it.
    """

    note: Callable[[str], None] = lambda said: None
    is_bounded: bool = False
    _refused: set[str] = field(default_factory=set)
    _form: int = 0
    _folds: bool = False
    _taken: set[int] = field(default_factory=set)
    _doubts: int = 0
    _lock: Lock = field(default_factory=Lock)

    def mode(self, wanted: Mode) -> Mode:
        """Return the form to ask in: the wanted one, or the strictest that the server takes."""
        return MODES[max(self._form, MODES.index(wanted))]

    def spoken(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters under the names that the model takes, without those that it refuses."""
        named = {self._name(name): value for name, value in parameters.items()}
        return {name: value for name, value in named.items() if name}

    def learn(self, sent: Mapping[str, Any], said: str, about: str = "", *, exact: bool = False) -> bool:
        """Learn from the refusal of a body; say whether the same call can be sent in another way now.

        Args:
            sent: the body that was refused.
            said: the server's words.
            about: the parameter that the server names as the fault, where it does so apart from its words.
            exact: leave the form of the schema as it is.
        """
        with self._lock:
            if any(self._drop(name, sent) for name in _named(sent, said, about)) or self._fold(sent, said):
                return True
            return not exact and _is_of_shape(f"{said} {about}") and self._lower(sent)

    def blames(self, sent: Mapping[str, Any], said: str, *, exact: bool = False) -> bool:
        """Learn from a fault that a server blames on a body's form, or its roles, as some do instead of refusing it."""
        with self._lock:
            return self._fold(sent, said) or (not exact and FORM.search(said) is not None and self._lower(sent))

    def messages(self, messages: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
        """Return the messages in the roles that the model takes: the system's stands before the user's at need."""
        if not self._folds or not _has_system(messages):
            return list(messages)
        system, first, *rest = messages
        return [{**first, "content": f"{system['content']}\n\n{first['content']}"}, *rest]

    def lower(self, sent: Mapping[str, Any], said: str) -> Mode | None:
        """Return the next form that a refused call may be tried in where the server's words say nothing of its own."""
        form = _form_of(sent)
        is_other = POLICY.search(said) or OTHER.search(said)
        return None if is_other or form + 1 >= len(MODES) else MODES[form + 1]

    def suspected(self, wanted: Mode, failures: int) -> Mode:
        """Return the form to try a call in that fails for so many times without a word: each lower one once."""
        first = MODES.index(self.mode(wanted))
        lower = first + failures - 1
        return MODES[lower] if first < lower < len(MODES) else wanted

    def answered(self, mode: Mode) -> None:
        """Note that a call was answered in a form."""
        self._taken.add(MODES.index(self.mode(mode)))

    def took(self, mode: Mode, wanted: Mode, refused: str) -> None:
        """Note that a call was taken in a form after it was refused, or not answered, in a stricter one.

        A server that is down for a moment gives no answer either. So silence is only taken for a refusal where the
        stricter form never had an answer, and the lower one more than once.
        """
        with self._lock:
            if not refused:
                self._doubts += 1
                if self._doubts < DOUBTS or MODES.index(self.mode(wanted)) in self._taken:
                    return
            self._lower_to(MODES.index(mode), refused)

    def _name(self, name: str) -> str:
        if name in LENGTHS:
            return next((each for each in (name, *LENGTHS) if each not in self._refused), "")
        return "" if name in self._refused else name

    def _drop(self, name: str, sent: Mapping[str, Any]) -> bool:
        if name in self._refused:  # Another thread has learnt it, and this body was sent before.
            return True
        if name in LENGTHS and self.is_bounded and self._refused & set(LENGTHS):
            return False
        self._refused.add(name)
        instead = self._name(name)
        what = f"{instead} is sent instead" if instead else "it is left out"
        self.note(f"the model takes no {name}: {what} in this run")
        return True

    def _fold(self, sent: Mapping[str, Any], said: str) -> bool:
        if not _has_system(sent.get("messages", ())) or not SYSTEM.search(said) or POLICY.search(said):
            return False
        if not self._folds:
            self._folds = True
            self.note("the model takes no message of the system: its text stands before the user's in this run")
        return True

    def _lower(self, sent: Mapping[str, Any]) -> bool:
        form = _form_of(sent)
        if form + 1 >= len(MODES):
            return False
        self._lower_to(form + 1, "")
        return True

    def _lower_to(self, form: int, refused: str) -> None:
        if form > self._form:
            self._form = form
            because = f" ({refused})" if refused else ""
            self.note(f"the server takes no {MODES[form - 1]}{because}: {MODES[form]} is asked for in this run")


def _form_of(sent: Mapping[str, Any]) -> int:
    return MODES.index(sent[FORMAT]["type"]) if FORMAT in sent else len(MODES) - 1


def _is_of_shape(said: str) -> bool:
    return SHAPE.search(said) is not None and POLICY.search(said) is None


def _named(sent: Mapping[str, Any], said: str, about: str) -> list[str]:
    """Return the parameters of a body that a refusal is about."""
    found = [name for name in OPTIONAL if name in sent and (name == about or _is_untaken(name, said))]
    for name in LENGTHS:
        if name in sent and not TOO_LONG.search(said):
            found += [name] * (name == about or any(_says(each, said) for each in LENGTHS))
    return found


def _says(name: str, said: str) -> bool:
    return re.search(rf"\b{name}\b", said) is not None


def _is_untaken(name: str, said: str) -> bool:
    """Say whether a refusal is about a parameter; words of how it must be only count beside a usual word."""
    if POLICY.search(said) or not _says(name, said):
        return False
    return name not in WORDS or UNTAKEN.search(said) is not None


def _has_system(messages: Sequence[Mapping[str, str]]) -> bool:
    return len(messages) > 1 and messages[0]["role"] == "system" and messages[1]["role"] == "user"
