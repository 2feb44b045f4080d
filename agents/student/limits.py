"""What a shopper allows a bundle to be: its size, its price, how many there may be; kept while groupings are found.

The student's scores are not touched: the decoder only never builds a grouping that breaks a limit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
from pydantic import Field

from bundlewise.domain import Grouping, Item, Record

Flags = npt.NDArray[np.bool_]
MOST = 10**6
"""Counts are bounded, for a checkpoint cannot hold an integer of more than 64 bits."""
CENT = 1e-6
"""Prices are sums of floats: 49.99 + 0.01 is within 50."""


class Limits(Record):
    """Limits of a session's bundles; None allows anything."""

    least: int = Field(default=2, ge=2, le=MOST, description="products that a bundle has at least")
    most: int | None = Field(default=None, ge=2, le=MOST, description="products that a bundle has at most")
    total: float | None = Field(default=None, gt=0, description="price of a bundle at most")
    bundles: int | None = Field(default=None, ge=1, le=MOST, description="bundles at most")

    @property
    def is_none(self) -> bool:
        """Say whether anything is allowed."""
        return self == Limits()

    def on(self, items: Sequence[Item]) -> "Bounds":
        """Return the limits with the prices of a session's products; one without a price is beyond any price.

        The student itself sees no price.
        """
        prices = np.array([np.inf if item.price is None else item.price for item in items])
        return Bounds(self, prices)


NO_LIMITS: Mapping[str, Limits] = MappingProxyType({})


@dataclass(frozen=True, eq=False)
class Bounds:
    """Limits on the products of one session."""

    limits: Limits
    prices: npt.NDArray[np.float64]

    def refuses(self, member: Flags, product: int) -> Flags:
        """Say which placements of the next product break a limit that no later product can mend.

        Args:
            member: which of the products before it stand in which group, shape (groupings, products, groups).
            product: its position.

        Returns:
            Flags of shape (groupings, groups).
        """
        limits, count = self.limits, member.sum(1)
        refused: Flags = np.zeros(count.shape, bool)
        if limits.most is not None:
            refused |= count >= limits.most
        if limits.total is not None:
            price = np.where(member, self.prices[:product, None], 0.0).sum(1) + self.prices[product]
            refused |= (count > 0) & (price > limits.total + CENT)
        if limits.bundles is not None:
            refused |= (count == 1) & ((count > 1).sum(1, keepdims=True) >= limits.bundles)
        return refused

    def large_enough(self, grouping: Grouping) -> Grouping:
        """Return a grouping without the bundles that are too small."""
        return tuple(group for group in grouping if len(group) >= self.limits.least)

    def admits(self, grouping: Grouping) -> bool:
        """Say whether a grouping keeps to every limit."""
        limits = self.limits
        sizes = all(limits.least <= len(group) <= (limits.most or len(group)) for group in grouping)
        total = limits.total
        cheap = total is None or all(self.prices[list(group)].sum() <= total + CENT for group in grouping)
        return sizes and cheap and len(grouping) <= (limits.bundles or len(grouping))
