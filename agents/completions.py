"""Reading what a server answered: the text of a completion, what it was billed, and a verdict on what it is."""

import json
import math
from dataclasses import dataclass
from typing import Any

from bundlewise.agents.calls import Reply, Verdict
from bundlewise.endpoints import in_short, without_key
from bundlewise.prompts.render import Messages

CHARACTERS = (3.0, 5.0)
"""Characters a token, at least and at most: between them lies what tokenizers make of English."""
FINISHES = ("stop", "length", "content_filter", "tool_calls", "function_call")
TIMES, BEYOND = 4, 10_000
"""A count of tokens is absurd above so many times the bytes that were sent or wanted, and some that servers add."""
DIGITS = 15
"""Digits of the longest integer that is read as one."""

UNUSABLE: tuple[Verdict, ...] = ("empty", "refused", "tools", "unreadable")
"""Verdicts on answers that hold no text to go on with."""


@dataclass(frozen=True)
class Asked:
    """The size of a question: its tokens at most, its bytes, and the tokens its answer may have."""

    tokens: int
    size: int
    most: int


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


def read_completion(content: bytes, seconds: float, asked: Asked) -> Reply | NoCompletion:
    """Read a whole answer; one that was billed is a reply with a verdict, whatever it holds."""
    try:
        text, is_broken = _decoded(content)
        body = json.loads(text, parse_int=_integer)
    except (ValueError, RecursionError, LookupError) as error:
        said = content[:200].decode(errors="replace")
        return NoCompletion(f"what came is no JSON ({type(error).__name__}): {in_short(said)}")
    if not isinstance(body, dict):
        return NoCompletion(f"what came is no chat completion: {in_short(text)}")
    choices, usage = body.get("choices"), body.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    if not (isinstance(choices, list) and choices) and not _is_billed(usage):
        said, about = complaint(body)
        return NoCompletion(f"what came is no chat completion: {said}", _status(body), about)
    text, finish, verdict = _said(choices)
    if verdict == "unreadable" and not text:
        text = complaint(body)[0]
    read, written, is_estimated = _counted(usage, text, finish, asked)
    verdict = "unreadable" if is_broken else verdict
    return Reply(without_key(text), finish, read, written, round(seconds, 3), verdict, is_estimated)


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
    return (f"it says {in_short(json.dumps(body)[:1000])}" if body else "no reason given"), about


def _status(body: dict[str, Any]) -> int:
    """Return the status that the error in a body gives itself; 0 where it gives none."""
    error = body.get("error")
    for holder in (error if isinstance(error, dict) else {}, body):
        for name in ("code", "status", "status_code"):
            if type(holder.get(name)) is int and 400 <= holder[name] < 600:
                return int(holder[name])
    return 0


def _is_billed(usage: dict[str, Any]) -> bool:
    return any(_count(usage.get(name), 10**9) for name in ("prompt_tokens", "completion_tokens", "total_tokens"))


def _counted(usage: dict[str, Any], text: str, finish: str, asked: Asked) -> tuple[int, int, bool]:
    """Return the tokens read and written, estimated where the server's own counts are absurd or missing."""
    size = len(text.encode(errors="replace"))
    read = _count(usage.get("prompt_tokens"), TIMES * asked.size + BEYOND) or None
    written = _count(usage.get("completion_tokens"), TIMES * max(asked.most, size) + BEYOND)
    total = _count(usage.get("total_tokens"), 10**9)
    if written is None and read is not None and total is not None and 0 <= total - read <= asked.most:
        written = total - read
    if written == 0 and text.strip():
        written = None
    is_estimated = read is None or written is None
    guess = asked.most if finish == "length" else math.ceil(size / CHARACTERS[0])
    return asked.tokens if read is None else read, guess if written is None else written, is_estimated


def _count(value: Any, most: int) -> int | None:
    """Return a count of tokens, or None where it is none that can be."""
    if type(value) is float and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 <= value <= most else None


def why_unusable(reply: Reply) -> str:
    """Return why an answer cannot be used, in the model's words where it has any."""
    why = {
        "empty": "the answer was empty",
        "refused": "the model refused to answer",
        "tools": "the model called a tool instead of answering",
        "unreadable": "the answer could not be read",
    }[reply.verdict]
    return f"{why}: {in_short(reply.text)}" if reply.text.strip() else why
