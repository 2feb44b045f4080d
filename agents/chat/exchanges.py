"""The outcome of one exchange: an answer, a fault that may pass, a refusal of this call, or of whoever asks."""

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
    404: "check the model's name, and that the address ends where /chat/completions follows, mostly in /v1",
    405: "check that the address ends where /chat/completions follows, mostly in /v1",
    407: "give the proxy's name and password in HTTPS_PROXY",
    410: "choose another model: this one is gone",
}
LONGEST_READ = 65_536
"""Bytes of a refusal in which its kind is looked for."""
PASSES = {408, 409, 425, 429}
UNPAID = re.compile(
    r"insufficient[_ ](?:quota|balance|credits?|funds?|user[_ ]quota)|billing[_ ](?:hard[_ ]limit|not[_ ]active)"
    r"|(?:balance|credits?|funds?|account|spending (?:limit|cap))\b.{0,40}\b(?:too low|insufficient|exhausted|depleted"
    r"|used up|ran out|run out|negative|arrears|overdue|suspended|reached)"
    r"|(?:out of|not enough|no (?:more|remaining)|ran out of) (?:credits?|balance|funds)|payment required"
    r"|(?:exceeded|reached|exhausted).{0,20}\bquota\b.{0,40}\bbilling",
    re.IGNORECASE | re.DOTALL,
)
"""Words of a server that waits for money, whatever status it gives; its own word for that is decisive."""
DECISIVE = re.compile(r"insufficient_quota", re.IGNORECASE)
RATE = re.compile(r"per.?(?:second|minute|hour|day)|retry|try again|rate.?limit|\b[rt]p[md]\b", re.IGNORECASE)
"""Words of a limit that passes with time: some servers speak of quota and billing then, too."""


@dataclass(frozen=True)
class PassingFault:
    """A fault that may pass: the call is tried again, after what the server asked for."""

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
    """A call that the server takes for wrong by itself; `about` is the parameter that it names, if it names one."""

    status: int
    said: str
    about: str = ""

    def __str__(self) -> str:
        """Return the status and the server's words."""
        return f"refused ({self.status}): {self.said}"


@dataclass(frozen=True)
class Barred(EndpointRefusal):
    """A refusal of whoever asks: every other call would be refused too; `remedy` is what the user can do."""

    remedy: str = ""


Outcome = Reply | PassingFault | EndpointRefusal


def outcome(heard: Heard | Silence, seconds: float, asked: QuestionSize) -> Outcome:
    """Return what an exchange comes to; an error in the body of a success counts as what it says of itself."""
    if isinstance(heard, Silence):
        if heard.lost:
            return Barred(0, heard.reason, remedy="correct the address: give the one where the model itself answers")
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
    """Say whether a server asks for money, and not only for time."""
    said = heard.content[:LONGEST_READ].decode(errors="replace")
    if DECISIVE.search(said):
        return True
    return UNPAID.search(said) is not None and not RATE.search(said) and not asked_pause(heard.retry_after)


def _words(content: bytes) -> tuple[str, str]:
    """Return what a refusal says, and the parameter it names apart from that."""
    text = content.decode(errors="replace")
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        return in_short(text), ""
    if isinstance(body, list) and body:  # Some servers wrap an error in a list.
        body = body[0]
    return complaint(body) if isinstance(body, dict) else (in_short(text), "")
