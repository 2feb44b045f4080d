"""The reader of completions: finds the text of an answer, its billed tokens and a verdict on it."""

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
"""The fewest and the most bytes per token that tokenizers produce for English."""
FINISHES = ("stop", "length", "content_filter", "tool_calls", "function_call")
MOST = 2_000_000
"""The largest plausible count of tokens, more than any model reads; smaller counts are trusted, as they are billed."""
COUNTS = (("prompt_tokens", "input_tokens"), ("completion_tokens", "output_tokens"), ("total_tokens",))
"""The names of the counts of tokens read, written and in total; they differ between servers."""
WRITTEN = re.compile(
    r'"choices"\s*:\s*\[\s*\{|"usage"\s*:\s*\{\s*"|"object"\s*:\s*"chat\.completion|"id"\s*:\s*"chatcmpl', re.IGNORECASE
)
"""Signs in a broken body that a model wrote an answer, which is billed."""
WITHIN = re.compile(r'\\"choices\\"\s*:\s*\[\s*\{')
"""Signs of an answer inside a text of the body, as a misconfigured gateway passes it on."""
MOST_USAGES = 3
"""The number of token counts to try in a broken body, from its end."""
DIGITS = 15
"""The most digits of a number that is read as an integer."""

UNUSABLE: tuple[Verdict, ...] = ("empty", "refused", "tools", "unreadable")
"""Verdicts on answers without usable text."""


@dataclass(frozen=True)
class QuestionSize:
    """The most tokens that a question may have, and the most tokens of its answer.

    `is_capped` says that a cap depends on the cost of the answer, so an estimate must never be too low.
    """

    tokens: int
    most: int
    is_capped: bool = False


@dataclass(frozen=True)
class NoCompletion:
    """A body that holds no completion and was not billed, with the reason and the status in the body, if any."""

    reason: str
    status: int = 0
    about: str = ""


def tokens_of(messages: Messages) -> tuple[int, int]:
    """Return a low and a high estimate of the tokens of messages; the high one also covers other languages."""
    size = sum(len(message["content"].encode()) + 16 for message in messages)
    return round(size / CHARACTERS[1]), round(size / CHARACTERS[0])


def read_completion(content: bytes, seconds: float, asked: QuestionSize) -> Reply | NoCompletion:
    """Read a whole answer; every billed answer becomes a reply with a verdict."""
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
        return NoCompletion(f"the answer is not a chat completion: {said}", _status(body), about)
    text, finish, verdict = _said(choices)
    if verdict == "unreadable" and not text:
        text = complaint(body)[0]
    read, written, is_estimated = _counted(usage, text, finish, asked)
    verdict = "unreadable" if is_broken else verdict
    return Reply(without_key(text), finish, read, written, round(seconds, 3), verdict, is_estimated)


def _broken(text: str, what: str, seconds: float, asked: QuestionSize) -> Reply | NoCompletion:
    """Return the outcome of a broken body: a billed reply if a model wrote it, else no completion."""
    if not WRITTEN.search(text) and not WITHIN.search(text):
        return NoCompletion(f"the answer is {what}: {in_short(text)}")
    # The model may have written only a part of the body.
    likely = text[: math.floor(asked.most * CHARACTERS[0])]
    read, written, is_estimated = _counted(
        _usage_in(text) or _usage_in(text.replace('\\"', '"')), likely, "stop", asked
    )
    return Reply(in_short(text), "stop", read, written, round(seconds, 3), "unreadable", is_estimated)


def _usage_in(text: str) -> dict[str, Any]:
    """Return the last complete counts of tokens in a broken body, if there are any."""
    for found in reversed([*re.finditer(r'"usage"\s*:\s*(?=\{)', text)][-MOST_USAGES:]):
        try:
            return _object(json.JSONDecoder(parse_int=_integer).raw_decode(text, found.end())[0])
        except (ValueError, RecursionError):
            continue
    return {}


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _decoded(content: bytes) -> tuple[str, bool]:
    """Return the text of a body, and whether some bytes could not be decoded."""
    encoding = json.detect_encoding(content)
    try:
        return content.decode(encoding), False
    except UnicodeDecodeError:
        return content.decode(encoding, "replace"), True


def _integer(digits: str) -> int | float:
    """Return an integer, or a float, maybe infinite, if there are too many digits for a count."""
    return int(digits) if len(digits) <= DIGITS else float(digits)


def _said(choices: Any) -> tuple[str, str, Verdict]:
    """Return the text, the finish reason and the verdict of the first choice."""
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
    """Return the text of a message, which some servers send in parts; None if there is no text."""
    if isinstance(content, list):
        parts = [part.get("text") if isinstance(part, dict) else part for part in content]
        return "".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else "" if content is None else None


def complaint(body: dict[str, Any]) -> tuple[str, str]:
    """Return the error message in a body without a completion, and the parameter that it names."""
    error = body.get("error")
    named = (error if isinstance(error, dict) else body).get("param")
    about = named if isinstance(named, str) else ""
    for found in (error, body.get("detail"), body.get("message")):
        if isinstance(found, dict):
            found = found.get("message") or found.get("type") or found
        said = found if isinstance(found, str) else json.dumps(found) if found else ""
        if said.strip():
            return in_short(said), about
    return (f"it contains {in_short(json.dumps(body))}" if body else "no reason given"), about


def _status(body: dict[str, Any]) -> int:
    """Return the status code inside the body of an error; 0 without one."""
    error = body.get("error")
    for holder in (error if isinstance(error, dict) else {}, body):
        for name in ("code", "status", "status_code"):
            if type(holder.get(name)) is int and 400 <= holder[name] < 600:
                return int(holder[name])
    return 0


def _is_billed(usage: dict[str, Any]) -> bool:
    return any(usage.get(name) for names in COUNTS for name in names)


def _counted(usage: dict[str, Any], text: str, finish: str, asked: QuestionSize) -> tuple[int, int, bool]:
    """Return the tokens read and written, and whether they are estimated because the counts are absurd or missing.

    Under a cap, the estimate is at least the maximum length of the answer.
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
    """Return the tokens written according to the server's counts, and whether the counts agree with each other."""
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
    """Return a plausible count of tokens, or None."""
    if type(value) is float and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 <= value <= MOST else None


def why_unusable(reply: Reply) -> str:
    """Return the reason why an answer cannot be used, with the model's words if there are any."""
    why = {
        "empty": "the answer was empty",
        "refused": "the model refused to answer",
        "tools": "the model called a tool instead of answering",
        "unreadable": "the answer could not be read",
    }[reply.verdict]
    return f"{why}: {in_short(reply.text)}" if reply.text.strip() else why
