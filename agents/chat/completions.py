"""Reading what a server answered: the text of a completion, what it was billed, and a verdict on what it is."""

import json
import math
import re
from dataclasses import dataclass
from typing import Any

from bundlewise.agents.ledger.calls import Reply, Verdict
from bundlewise.masking import without_key
from bundlewise.models.endpoints import in_short
from bundlewise.prompts.render import Messages

CHARACTERS = (3.0, 5.0)
"""Characters a token, at least and at most: between them lies what tokenizers make of English."""
FINISHES = ("stop", "length", "content_filter", "tool_calls", "function_call")
MOST = 2_000_000
"""A count of tokens is absurd above what the largest model reads; below it is believed, since it is what is billed."""
COUNTS = (("prompt_tokens", "input_tokens"), ("completion_tokens", "output_tokens"), ("total_tokens",))
"""The names of the tokens read, written, and both: servers of other makes have names of their own."""
WRITTEN = re.compile(
    r'"choices"\s*:\s*\[\s*\{|"usage"\s*:\s*\{\s*"|"object"\s*:\s*"chat\.completion|"id"\s*:\s*"chatcmpl', re.IGNORECASE
)
"""Signs in a broken body that a model has written an answer, which is billed."""
WITHIN = re.compile(r'\\"choices\\"\s*:\s*\[\s*\{')
"""Signs of an answer within a text of a body: a gateway that is set up wrongly passes it on as such."""
MOST_USAGES = 3
"""Counts of tokens that are looked at in a broken body, from its end."""
DIGITS = 15
"""Digits of the longest integer that is read as one."""

UNUSABLE: tuple[Verdict, ...] = ("empty", "refused", "tools", "unreadable")
"""Verdicts on answers that hold no text to go on with."""


@dataclass(frozen=True)
class QuestionSize:
    """The size of a question, in tokens at most, and the tokens its answer may have.

    `is_capped` says that a cap rests on what the answer is said to have cost, so that no estimate may be too low.
    """

    tokens: int
    most: int
    is_capped: bool = False


@dataclass(frozen=True)
class NoCompletion:
    """A body that is no completion and was not billed: why, and the status that it gives itself, if any."""

    reason: str
    status: int = 0
    about: str = ""


def tokens_of(messages: Messages) -> tuple[int, int]:
    """Estimate the tokens of messages, low and high; never too low for text that is not English."""
    size = sum(len(message["content"].encode()) + 16 for message in messages)
    return round(size / CHARACTERS[1]), round(size / CHARACTERS[0])


def read_completion(content: bytes, seconds: float, asked: QuestionSize) -> Reply | NoCompletion:
    """Read a whole answer; one that was billed is a reply with a verdict, whatever it holds."""
    try:
        text, is_broken = _decoded(content)
        body = json.loads(text, parse_int=_integer)
    except (ValueError, RecursionError, LookupError) as error:
        text = content.decode(errors="replace")
        return _broken(text, f"no JSON ({type(error).__name__})", seconds, asked)
    if not isinstance(body, dict) or ("choices" not in body and WITHIN.search(text)):
        return _broken(text, "no chat completion", seconds, asked)
    choices, usage = body.get("choices"), _object(body.get("usage"))
    if not (isinstance(choices, list) and choices) and not _is_billed(usage):
        said, about = complaint(body)
        return NoCompletion(f"what came is no chat completion: {said}", _status(body), about)
    text, finish, verdict = _said(choices)
    if verdict == "unreadable" and not text:
        text = complaint(body)[0]
    read, written, is_estimated = _counted(usage, text, finish, asked)
    verdict = "unreadable" if is_broken else verdict
    return Reply(without_key(text), finish, read, written, round(seconds, 3), verdict, is_estimated)


def _broken(text: str, what: str, seconds: float, asked: QuestionSize) -> Reply | NoCompletion:
    """Return what a body comes to that is no completion as a whole: one that a model has written is billed."""
    if not WRITTEN.search(text) and not WITHIN.search(text):
        return NoCompletion(f"what came is {what}: {in_short(text)}")
    # Much of it may be no text of the model.
    likely = text[: math.floor(asked.most * CHARACTERS[0])]
    read, written, is_estimated = _counted(
        _usage_in(text) or _usage_in(text.replace('\\"', '"')), likely, "stop", asked
    )
    return Reply(in_short(text), "stop", read, written, round(seconds, 3), "unreadable", is_estimated)


def _usage_in(text: str) -> dict[str, Any]:
    """Return the last counts of tokens in a broken body, if it holds them whole."""
    for found in reversed([*re.finditer(r'"usage"\s*:\s*(?=\{)', text)][-MOST_USAGES:]):
        try:
            return _object(json.JSONDecoder(parse_int=_integer).raw_decode(text, found.end())[0])
        except (ValueError, RecursionError):
            continue
    return {}


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _decoded(content: bytes) -> tuple[str, bool]:
    """Return the text of a body, and whether bytes in it are no text."""
    encoding = json.detect_encoding(content)
    try:
        return content.decode(encoding), False
    except UnicodeDecodeError:
        return content.decode(encoding, "replace"), True


def _integer(digits: str) -> int | float:
    """Read an integer; one that is too long for any count as a float, which may be infinite."""
    return int(digits) if len(digits) <= DIGITS else float(digits)


def _said(choices: Any) -> tuple[str, str, Verdict]:
    """Return text, reason of its end and verdict of the first choice."""
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        return "", "stop", "unreadable"
    ended = choice.get("finish_reason")
    finish = ended if isinstance(ended, str) and ended in FINISHES else without_key(str(ended or "stop"))[:40]
    text, refusal = _text(message.get("content")), message.get("refusal")
    if text is None:
        return "", finish, "unreadable"
    if finish == "content_filter" or (isinstance(refusal, str) and refusal.strip()):
        return refusal if isinstance(refusal, str) and refusal.strip() else text, finish, "refused"
    if text.strip() or finish == "length":
        return text, finish, "good"
    if called := message.get("tool_calls") or message.get("function_call"):
        return json.dumps(called), finish, "tools"
    if finish == "error" or choice.get("error"):
        return complaint(choice)[0], finish, "unreadable"
    return text, finish, "empty"


def _text(content: Any) -> str | None:
    """Return the text of a message, which some servers write in parts; None where it is no text."""
    if isinstance(content, list):
        parts = [part.get("text") if isinstance(part, dict) else part for part in content]
        return "".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else "" if content is None else None


def complaint(body: dict[str, Any]) -> tuple[str, str]:
    """Return what a body that is no completion says of itself, in its own words, and the parameter it names."""
    error = body.get("error")
    named = (error if isinstance(error, dict) else body).get("param")
    about = named if isinstance(named, str) else ""
    for found in (error, body.get("detail"), body.get("message")):
        if isinstance(found, dict):
            found = found.get("message") or found.get("type") or found
        said = found if isinstance(found, str) else json.dumps(found) if found else ""
        if said.strip():
            return in_short(said), about
    return (f"it says {in_short(json.dumps(body))}" if body else "no reason given"), about


def _status(body: dict[str, Any]) -> int:
    """Return the status that the error in a body gives itself; 0 where it gives none."""
    error = body.get("error")
    for holder in (error if isinstance(error, dict) else {}, body):
        for name in ("code", "status", "status_code"):
            if type(holder.get(name)) is int and 400 <= holder[name] < 600:
                return int(holder[name])
    return 0


def _is_billed(usage: dict[str, Any]) -> bool:
    return any(usage.get(name) for names in COUNTS for name in names)


def _counted(usage: dict[str, Any], text: str, finish: str, asked: QuestionSize) -> tuple[int, int, bool]:
    """Return the tokens read and written, and whether they are estimated: the server's counts are absurd or missing.

    Under a cap an answer is taken for as long as it may be, unless it is longer.
    """
    size = math.ceil(len(text.encode(errors="replace")) / CHARACTERS[0])
    read, named, total = (_named_count(usage, names) for names in COUNTS)
    written, is_known = _written(named, _thoughts(usage), read, total)
    if is_known and (written or not text.strip()):
        return read or asked.tokens, written, not read
    likely = max(size, written if written > (named or 0) else min(written, asked.most))
    if finish == "length":
        likely = max(likely, asked.most)
    return read or asked.tokens, max(likely, written, asked.most) if asked.is_capped else likely, True


def _written(named: int | None, thoughts: int, read: int | None, total: int | None) -> tuple[int, bool]:
    """Return the tokens that a model has written by the server's counts, and whether these agree with each other."""
    rest = max(0, total - read) if total and read else None
    if named is None:
        return rest or 0, rest is not None
    counted = named + thoughts if thoughts > named else named  # Some servers count thoughts apart.
    if rest is None:
        return counted, True
    return max(counted, rest), counted == rest


def _named_count(usage: dict[str, Any], names: tuple[str, ...]) -> int | None:
    counts = [_count(usage.get(name)) for name in names]
    return next((count for count in counts if count is not None), None)


def _thoughts(usage: dict[str, Any]) -> int:
    details = _object(usage.get("completion_tokens_details") or usage.get("output_tokens_details"))
    return _count(details.get("reasoning_tokens")) or 0


def _count(value: Any) -> int | None:
    """Return a count of tokens, or None where it is none that can be."""
    if type(value) is float and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 <= value <= MOST else None


def why_unusable(reply: Reply) -> str:
    """Return why an answer cannot be used, in the model's words where it has any."""
    why = {
        "empty": "the answer was empty",
        "refused": "the model refused to answer",
        "tools": "the model called a tool instead of answering",
        "unreadable": "the answer could not be read",
    }[reply.verdict]
    return f"{why}: {in_short(reply.text)}" if reply.text.strip() else why
