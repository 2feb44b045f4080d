"""The payment of a run: the cost of its large teachers, and the rest that the caps leave for the next one."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from bundlewise.agents.teacher.caps import CapError
from bundlewise.agents.teacher.tally import Tally
from bundlewise.experiment.file import Experiment
from bundlewise.models.endpoints import model_of
from bundlewise.models.prices import Price, in_dollars, price_of
from bundlewise.pipeline.distil import Payment


@dataclass
class Bill:
    """The cost of all answers of one teacher, whether paid now or taken from the ledger."""

    tally: Tally = field(default_factory=Tally)
    tokens_in: int = 0
    tokens_out: int = 0

    def __post_init__(self) -> None:
        self.tally.listeners.append(self._hear)

    @property
    def dollars(self) -> float | None:
        """The cost of the answers; None where the price of a token is unknown."""
        if not self.tokens_in + self.tokens_out:
            return 0.0
        return None if self.tally.price is None else self.tally.price.cost(self.tokens_in, self.tokens_out)

    @property
    def failed(self) -> int:
        """The number of questions without a usable answer."""
        return sum(stage.failed for stage in self.tally.stages.values())

    def _hear(self, event: dict[str, Any]) -> None:
        if event["event"] in ("call", "cached") and event["stage"] != "probe":
            read, written = event.get("held") or (event["tokens_in"], event["tokens_out"])
            self.tokens_in, self.tokens_out = self.tokens_in + read, self.tokens_out + written


class RunPayment:
    """Pays the large teachers of a run; the caps hold for all of them together."""

    def __init__(self, experiment: Experiment, ledger: Path) -> None:
        self.given = TypeAdapter(Payment).validate_python({"ledger": ledger, **experiment.payment})
        self._tallies: list[Tally] = []

    @contextmanager
    def paying(self) -> Iterator[tuple[Payment, Bill]]:
        """Give a teacher the rest under the caps, and note its cost on its bill.

        Raises:
            CapError: the next call could pass a cap; the run has to stop, and answers that were paid for are kept.
        """
        payment, bill = self._left(), Bill()
        self._tallies.append(bill.tally)
        try:
            yield payment, bill
        except CapError as error:
            raise CapError(
                f"stopped before the run could pass a cap of payment ({self._caps()}), which holds for all cells and "
                f"teachers together; in this run: {self._told()}; the same command with a higher cap continues"
            ) from error

    def price_of(self, model: str) -> Price | None:
        """Return the price of a model, or of an endpoint's model `openai:MODEL[@URL]`; None where it is unknown."""
        return price_of(model_of(model), self.given.prices)

    def _left(self) -> Payment:
        """Return the payment, with its caps reduced by what this run has paid."""
        given, (cost, tokens, calls) = self.given, self._spent()
        return replace(
            given,
            max_cost=None if given.max_cost is None else max(0.0, given.max_cost - cost),
            max_tokens=None if given.max_tokens is None else max(0, given.max_tokens - tokens),
            max_calls=None if given.max_calls is None else max(0, given.max_calls - calls),
        )

    def _spent(self) -> tuple[float, int, int]:
        """Return the dollars (of teachers whose price is known), tokens and calls of this run."""
        tallies = self._tallies
        return sum(t.cost() or 0.0 for t in tallies), sum(t.tokens for t in tallies), sum(t.calls for t in tallies)

    def _caps(self) -> str:
        caps = {name: getattr(self.given, name) for name in ("max_cost", "max_tokens", "max_calls")}
        return ", ".join(f"{name} {cap:g}" for name, cap in caps.items() if cap is not None)

    def _told(self) -> str:
        cost, tokens, calls = self._spent()
        unknown = any(tally.cost() is None for tally in self._tallies)
        return f"{calls:,} calls, {tokens:,} tokens, cost {in_dollars(None if unknown else cost)}"
