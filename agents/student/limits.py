"""A shopper's limits: the size and price of a bundle, and the number of bundles.

The decoder skips every grouping that breaks a limit; the student's scores stay as they are.
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
"""The largest count in a limit: a checkpoint stores integers of at most 64 bits."""
CENT = 1e-6
"""Tolerance for sums of prices as floats, so that 49.99 + 0.01 is within 50."""


class Limits(Record):
    """Limits of a session's bundles; None allows anything."""

    least: int = Field(default=2, ge=2, le=MOST, description="products that a bundle has at least")
    most: int | None = Field(default=None, ge=2, le=MOST, description="products that a bundle has at most")
    total: float | None = Field(default=None, gt=0, description="price of a bundle at most")
    bundles: int | None = Field(default=None, ge=1, le=MOST, description="bundles at most")

    @property
    def is_none(self) -> bool:
        """Say whether no limit is set."""
        return self == Limits()

    def on(self, items: Sequence[Item]) -> "Bounds":
        """Return the limits with the prices of a session's products; a product without a price exceeds every limit.

        Only the limits use prices; the student reads titles alone.
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
        """Return flags for the placements of the next product that break a limit for good.

        Args:
            member: the earlier products' membership in groups, shape (groupings, products, groups).
            product: the position of the next product.

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
        """Return the grouping without the bundles that are too small."""
        return tuple(group for group in grouping if len(group) >= self.limits.least)

    def admits(self, grouping: Grouping) -> bool:
        """Say whether a grouping keeps to every limit."""
        limits = self.limits
        sizes = all(limits.least <= len(group) <= (limits.most or len(group)) for group in grouping)
        total = limits.total
        cheap = total is None or all(self.prices[list(group)].sum() <= total + CENT for group in grouping)
        return sizes and cheap and len(grouping) <= (limits.bundles or len(grouping))
