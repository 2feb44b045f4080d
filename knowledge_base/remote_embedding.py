"""A client of OpenAI-compatible embedding endpoints, which sends texts in batches that the server accepts."""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bundlewise.errors import ModelError
from bundlewise.extras import require
from bundlewise.models import endpoints
from bundlewise.models.endpoints import Endpoint, reason_of, said_by

if TYPE_CHECKING:
    import openai

BATCH = 256
RETRIES = 3
TIMEOUT = 120.0
OTHER = "this server cannot be used; choose another one"
TOO_MUCH = {400, 413, 422}
"""Statuses that servers answer to a batch that is too large; limits range from 10 to 2048 texts."""
REMEDIES = {
    **endpoints.REMEDIES,
    404: "check the model's name, and that the address ends where /embeddings follows, mostly in /v1",
    429: "wait, or check your plan there",
}
LOOK = "look into the server's log, and run again"


class EmbeddingEndpoint:
    """One embedding model of one server."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._batch = BATCH
        self._dimension: int | None = None

    def vectors(self, texts: Sequence[str]) -> npt.NDArray[np.float64]:
        """Return one row per text in the order of the texts, shape (len(texts), dimension).

        Raises:
            ModelError: the server cannot be reached, refuses, or gives an invalid answer.
        """
        require("teacher", self.endpoint.spec)
        import openai

        rows: list[list[float]] = []
        while len(rows) < len(texts):
            batch = texts[len(rows) : len(rows) + self._batch]
            try:
                rows += self._ask(batch)
            except openai.APIStatusError as error:
                if error.status_code not in TOO_MUCH or len(batch) == 1:
                    raise ModelError(self._refusal(error)) from error
                self._batch = len(batch) // 2
            except openai.APIConnectionError as error:
                found = f"cannot reach {self._place}: {reason_of(error)}"
                raise ModelError(f"{found}; check the address, and start it") from error
        return np.array(rows, np.float64)

    def _ask(self, texts: Sequence[str]) -> list[list[float]]:
        # Servers refuse an empty text, and some of them know only the format `float`.
        given = [text or " " for text in texts]
        try:
            reply = self._client.embeddings.create(model=self.endpoint.model, input=given, encoding_format="float")
            found = {item.index: [float(value) for value in item.embedding] for item in reply.data}
        except (AttributeError, TypeError, ValueError) as error:
            raise ModelError(f"{self._place} answered no embeddings; check the address") from error
        if len(reply.data) != len(texts) or found.keys() != set(range(len(texts))):
            raise ModelError(f"{self._place} answered {len(reply.data)} vectors for {len(texts)} texts; {OTHER}")
        self._check({len(row) for row in found.values()})
        return [found[index] for index in range(len(texts))]

    def _check(self, dimensions: set[int]) -> None:
        self._dimension = self._dimension or min(dimensions)
        if other := dimensions - {self._dimension}:
            found = f"vectors of {self._dimension} and of {min(other)} dimensions"
            raise ModelError(f"{self._place} answered {found}; {OTHER}")

    def _refusal(self, error: "openai.APIStatusError") -> str:
        status = error.status_code
        return f"{self._place} refused ({status}): {said_by(error)}; {REMEDIES.get(status, LOOK)}"

    @property
    def _place(self) -> str:
        return self.endpoint.place

    @cached_property
    def _client(self) -> "openai.OpenAI":
        return self.endpoint.client(max_retries=RETRIES, timeout=TIMEOUT)
