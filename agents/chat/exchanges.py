"""The outcome of one exchange: an answer, a passing fault, a refusal of this call, or a refusal of all calls."""

import json
import re
from dataclasses import dataclass

from bundlewise.agents.chat.completions import QuestionSize, complaint, read_completion
from bundlewise.agents.chat.line import LARGEST, Heard, Silence
from bundlewise.agents.chat.pace import asked_pause
from bundlewise.agents.ledger.calls import Reply
from bundlewise.models import endpoints
from bundlewise.models.endpoints import in_short

REMEDIES = {
    **endpoints.REMEDIES,
    402: "check your balance there",
    404: "check the model's name and the address, which mostly ends in /v1, without /chat/completions",
    405: "check the address, which mostly ends in /v1, without /chat/completions",
    407: "give the proxy's name and password in HTTPS_PROXY",
    410: "choose another model, because the server has removed this one",
}
LONGEST_READ = 65_536
"""The number of bytes of a refusal to search for its kind."""
PASSES = {408, 409, 425, 429}
UNPAID = re.compile(
    r"insufficient[_ ](?:quota|balance|credits?|funds?|user[_ ]quota)|billing[_ ](?:hard[_ ]limit|not[_ ]active)"
    r"|(?:balance|credits?|funds?|account|spending (?:limit|cap))\b.{0,40}\b(?:too low|insufficient|exhausted|depleted"
    r"|used up|ran out|run out|negative|arrears|overdue|suspended|reached)"
    r"|(?:out of|not enough|no (?:more|remaining)|ran out of) (?:credits?|balance|funds)|payment required"
    r"|(?:exceeded|reached|exhausted).{0,20}\bquota\b.{0,40}\bbilling",
    re.IGNORECASE | re.DOTALL,
)
"""Words of a server that asks for money, with any status; the word in `DECISIVE` is enough by itself."""
DECISIVE = re.compile(r"insufficient_quota", re.IGNORECASE)
RATE = re.compile(r"per.?(?:second|minute|hour|day)|retry|try again|rate.?limit|\b[rt]p[md]\b", re.IGNORECASE)
"""Words of a limit that passes with time; some servers also mention quota and billing then."""


@dataclass(frozen=True)
class PassingFault:
    """A fault that may pass: the call is tried again, after the pause that the server asks for."""

    reason: str
    retry_after: float = 0.0
    away: bool = False
    status: int = 0

    def __str__(self) -> str:
        """Return the reason, and the pause that the server asks for."""
        asks = f"; it asks to wait {self.retry_after:,.0f} s" if self.retry_after >= 1 else ""
        return f"{self.reason}{asks}"


@dataclass(frozen=True)
class EndpointRefusal:
    """A refusal of this call alone; `about` is the parameter that the server names, if any."""

    status: int
    said: str
    about: str = ""

    def __str__(self) -> str:
        """Return the status and the server's words."""
        return f"refused ({self.status}): {self.said}"


@dataclass(frozen=True)
class Barred(EndpointRefusal):
    """A refusal that every other call would also get; `remedy` tells the user what to do."""

    remedy: str = ""


Outcome = Reply | PassingFault | EndpointRefusal


def outcome(heard: Heard | Silence, seconds: float, asked: QuestionSize) -> Outcome:
    """Return the outcome of an exchange; an error in the body of a success counts by the status inside the body."""
    if isinstance(heard, Silence):
        if heard.lost:
            return Barred(0, heard.reason, remedy="correct the address: give the one at which the model answers")
        return PassingFault(heard.reason, away=heard.away)
    if not 200 <= heard.status < 300:
        return _refusal(heard.status, *_words(heard.content), heard)
    found = read_completion(heard.content, seconds, asked)
    if isinstance(found, Reply):
        return found
    if found.status:
        return _refusal(found.status, found.reason, found.about, heard)
    return PassingFault(found.reason if heard.is_whole else f"its answer has more than {LARGEST:,} bytes")


def _refusal(status: int, said: str, about: str, heard: Heard) -> Outcome:
    if status < 500 and _is_unpaid(heard):
        return Barred(status, said, about, REMEDIES[402])
    if status in REMEDIES:
        return Barred(status, said, about, REMEDIES[status])
    if status in PASSES or status >= 500:
        return PassingFault(f"{status}: {said}", asked_pause(heard.retry_after), status=status)
    return EndpointRefusal(status, said, about)


def _is_unpaid(heard: Heard) -> bool:
    """Say whether a server asks for money rather than time."""
    said = heard.content[:LONGEST_READ].decode(errors="replace")
    if DECISIVE.search(said):
        return True
    return UNPAID.search(said) is not None and not RATE.search(said) and not asked_pause(heard.retry_after)


def _words(content: bytes) -> tuple[str, str]:
    """Return the message of a refusal, and the parameter that it names in a separate field."""
    text = content.decode(errors="replace")
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        return in_short(text), ""
    if isinstance(body, list) and body:  # Some servers wrap an error in a list.
        body = body[0]
    return complaint(body) if isinstance(body, dict) else (in_short(text), "")
