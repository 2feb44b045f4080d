"""The dialect of a server: the parameters and the form of schema that it accepts, learnt from its refusals.

The dialect is learnt once and used for all calls of a run. A question has the same key in the ledger in every dialect,
so a run that continues learns the dialect again from refusals, which are free, and pays for no answer twice.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Literal

Mode = Literal["json_schema", "json_object", "plain"]
MODES: tuple[Mode, ...] = ("json_schema", "json_object", "plain")
"""The forms of a schema, the strictest first."""
LENGTHS = ("max_tokens", "max_completion_tokens")
"""The two names for the maximum length of an answer; a model accepts one or both of them."""
FORMAT = "response_format"
OPTIONAL = ("temperature", "reasoning_effort")
WORDS = ("temperature",)
"""Parameters whose names are common words: a refusal may use such a word for a product."""
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
"""Words of a refusal that is about the content of the question."""
SYSTEM = re.compile(
    r"\bsystem\b.{0,20}\b(?:role|message|prompt|instruction)|\broles?\b.{0,40}\bsystem\b|developer instruction"
    r"|roles? must alternate|\buser\b.{0,12}\bassistant\b.{0,12}\broles?\b"
    r"|\broles?\b.{0,30}\buser\b.{0,12}\bassistant\b",
    re.IGNORECASE,
)
"""Words of a refusal that is about the system message."""
DOUBTS = 2
"""The number of calls answered only in a less strict form, and none in the stricter form, until the form is learnt."""
OTHER = re.compile(r"content|context|too (?:long|large|many)|length|quota", re.IGNORECASE)


@dataclass
class Dialect:
    """The known dialect of a server; `note` is called once for each learnt fact.

    `is_bounded` says that an answer must have a maximum length, because a cap depends on it.
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
        """Return the wanted form, or the strictest form that the server accepts."""
        return MODES[max(self._form, MODES.index(wanted))]

    def spoken(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters under the names that the model accepts, without the refused ones."""
        named = {self._name(name): value for name, value in parameters.items()}
        return {name: value for name, value in named.items() if name}

    def learn(self, sent: Mapping[str, Any], said: str, about: str = "", *, exact: bool = False) -> bool:
        """Learn from a refusal; say whether the same call can now be sent in another way.

        Args:
            sent: the body of the refused call.
            said: the server's message.
            about: the wrong parameter, if the server names it in a separate field.
            exact: keep the form of the schema.
        """
        with self._lock:
            if any(self._drop(name, sent) for name in _named(sent, said, about)) or self._fold(sent, said):
                return True
            return not exact and _is_of_shape(f"{said} {about}") and self._lower(sent)

    def blames(self, sent: Mapping[str, Any], said: str, *, exact: bool = False) -> bool:
        """Learn from a server error about the form or the roles of a body, which some servers send as a refusal."""
        with self._lock:
            return self._fold(sent, said) or (not exact and FORM.search(said) is not None and self._lower(sent))

    def messages(self, messages: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
        """Return the messages in roles that the model accepts; if needed, the system text precedes the user text."""
        if not self._folds or not _has_system(messages):
            return list(messages)
        system, first, *rest = messages
        return [{**first, "content": f"{system['content']}\n\n{first['content']}"}, *rest]

    def lower(self, sent: Mapping[str, Any], said: str) -> Mode | None:
        """Return the next form to try for a refused call, if the server's message gives no other reason."""
        form = _form_of(sent)
        is_other = POLICY.search(said) or OTHER.search(said)
        return None if is_other or form + 1 >= len(MODES) else MODES[form + 1]

    def suspected(self, wanted: Mode, failures: int) -> Mode:
        """Return the form to try after this many failures without a message: each less strict form once."""
        first = MODES.index(self.mode(wanted))
        lower = first + failures - 1
        return MODES[lower] if first < lower < len(MODES) else wanted

    def answered(self, mode: Mode) -> None:
        """Note that a call was answered in a form."""
        self._taken.add(MODES.index(self.mode(mode)))

    def took(self, mode: Mode, wanted: Mode, refused: str) -> None:
        """Note that a call was answered in a form after a refusal or a failure in a stricter form.

        A server that is down for a moment also gives no answer. So failures count as a refusal only if the stricter
        form was never answered and the less strict form was answered more than once.
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
        if name in self._refused:  # Another thread learnt it after this body was sent.
            return True
        if name in LENGTHS and self.is_bounded and self._refused & set(LENGTHS):
            return False
        self._refused.add(name)
        instead = self._name(name)
        what = f"this run sends {instead} instead" if instead else "this run leaves it out"
        self.note(f"the model does not accept {name}; {what}")
        return True

    def _fold(self, sent: Mapping[str, Any], said: str) -> bool:
        if not _has_system(sent.get("messages", ())) or not SYSTEM.search(said) or POLICY.search(said):
            return False
        if not self._folds:
            self._folds = True
            self.note("the model accepts no system message; this run puts its text before the user's text")
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
            self.note(f"the server does not accept {MODES[form - 1]}{because}; this run asks for {MODES[form]}")


def _form_of(sent: Mapping[str, Any]) -> int:
    return MODES.index(sent[FORMAT]["type"]) if FORMAT in sent else len(MODES) - 1


def _is_of_shape(said: str) -> bool:
    return SHAPE.search(said) is not None and POLICY.search(said) is None


def _named(sent: Mapping[str, Any], said: str, about: str) -> list[str]:
    """Return the parameters of the body that the refusal names."""
    found = [name for name in OPTIONAL if name in sent and (name == about or _is_untaken(name, said))]
    for name in LENGTHS:
        if name in sent and not TOO_LONG.search(said):
            found += [name] * (name == about or any(_says(each, said) for each in LENGTHS))
    return found


def _says(name: str, said: str) -> bool:
    return re.search(rf"\b{name}\b", said) is not None


def _is_untaken(name: str, said: str) -> bool:
    """Say whether a refusal is about a parameter; a common word counts only beside words about valid values."""
    if POLICY.search(said) or not _says(name, said):
        return False
    return name not in WORDS or UNTAKEN.search(said) is not None


def _has_system(messages: Sequence[Mapping[str, str]]) -> bool:
    return len(messages) > 1 and messages[0]["role"] == "system" and messages[1]["role"] == "user"
