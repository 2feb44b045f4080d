"""The actions on the cart that need no student; a refused action gives the reason and changes nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from bundlewise.agents.assistant.choosing import Chosen, in_cart
from bundlewise.agents.assistant.conversation import Action, ChipsEvent, Desk, Event
from bundlewise.agents.assistant.wording import count_of, in_words, titles_of
from bundlewise.agents.student.limits import Limits
from bundlewise.domain import Item

SHOWN = 8
ALIKE = 40
"""The most products among which the cheapest or a replacement is looked for."""
NEAR = 0.12
"""The most by which the score of a product may be below the best one's to be of the kind that was asked for."""


class Finder(Protocol):
    """The functions of a catalogue that actions need."""

    @property
    def currency(self) -> str:
        """Return the currency of all prices; empty if it is not known."""

    @property
    def by_id(self) -> Mapping[str, Item]:
        """Return all products by id."""

    def search(
        self, text: str, limit: int = SHOWN, least: float | None = None, most: float | None = None
    ) -> list[tuple[Item, float]]:
        """Return the products that match a text, best first."""

    def knows(self, word: str) -> bool:
        """Say whether a word is in the catalogue."""

    def spelt(self, term: str) -> list[str]:
        """Return the catalogue's words that differ from a term by one typing error."""

    def titled(self, title: str) -> Item | None:
        """Return the product with exactly this title."""


@dataclass(frozen=True)
class Deed:
    """The result of an action: the new desk, the reply's text, cards, and the actions that must follow."""

    desk: Desk
    said: str
    events: tuple[Event, ...] = ()
    refused: bool = False
    then: tuple[Action, ...] = ()


def pieces_of(desk: Desk, changed: Mapping[str, int]) -> dict[str, int]:
    """Return the numbers of pieces; one piece needs no entry."""
    return {key: number for key, number in {**desk.quantities, **changed}.items() if number > 1}


def quantity(desk: Desk, action: Action, finder: Finder) -> Deed:
    """Set how many pieces of a product of the cart are wanted; none takes it out."""
    named = action.ids or action.numbers or action.text
    last = Chosen(desk.cart[-1:]) if desk.cart and not named else None
    focused = tuple(item for item in desk.cart if item.id in desk.focus)
    choice = Chosen(focused) if focused and not named else last or in_cart(desk, action)
    if choice.fault:
        return refused(choice.asked(desk, action), choice.fault)
    count = 1 if action.count is None else action.count
    if count == 0:
        return remove(desk, Action(name="remove", ids=tuple(item.id for item in choice.items)), finder)
    after = desk.model_copy(
        update={
            "quantities": pieces_of(desk, {item.id: count for item in choice.items}),
            "focus": tuple(item.id for item in choice.items),
        }
    )
    return Deed(after, f"The cart has {count} of {titles_of(choice.items)} now. {count_of(after)}", (after.card(),))


def remove(desk: Desk, action: Action, _: Finder) -> Deed:
    """Take products out of the cart, or so many pieces of them."""
    choice = in_cart(desk, action)
    if choice.fault:
        return refused(choice.asked(desk, action), choice.fault)
    left = {item.id: desk.pieces(item) - action.count for item in choice.items} if action.count else {}
    if left and min(left.values()) > 0:
        after = desk.model_copy(update={"quantities": pieces_of(desk, left)})
        return Deed(after, f"Removed {action.count} of {titles_of(choice.items)}. {count_of(after)}", (after.card(),))
    gone = {item.id for item in choice.items}
    after = changed(
        desk,
        cart=tuple(item for item in desk.cart if item.id not in gone),
        excluded=tuple(key for key in desk.excluded if key not in gone),
        removed=choice.items,
        focus=(),
    )
    return Deed(after, f"Removed {titles_of(choice.items)}. {count_of(after)}", (after.card(),))


def exclude(desk: Desk, action: Action, _: Finder) -> Deed:
    """Leave products out of bundles; they stay in the cart."""
    choice = in_cart(desk, action)
    if choice.fault:
        return refused(choice.asked(desk, action), choice.fault)
    after = changed(desk, excluded=tuple(dict.fromkeys((*desk.excluded, *(item.id for item in choice.items)))))
    return Deed(after, f"Leaving out {titles_of(choice.items)}.", (after.card(),), then=again(after))


def clear(desk: Desk, _: Action, __: Finder) -> Deed:
    """Clear the cart, the limits and everything else on the desk."""
    after = Desk(removed=desk.cart, currency=desk.currency)
    return Deed(after, "The cart is empty now. Say undo to restore it.", (after.card(),))


def limit(desk: Desk, action: Action, _: Finder) -> Deed:
    """Set the limits that the action names, and keep the others."""
    wanted = action.limits or Limits()
    merged = desk.limits.model_dump() | _named(wanted)
    if wanted.most and wanted.least == 2:
        merged["least"] = min(merged["least"], wanted.most)
    if wanted.least > 2 and wanted.most is None and merged["most"] is not None:
        merged["most"] = max(merged["most"], wanted.least)
    after = changed(desk, limits=Limits(**merged))
    return Deed(
        after,
        f"The limits for bundles are now: {in_words(after.limits, after.currency)}.",
        (after.card(),),
        then=again(after),
    )


def _named(wanted: Limits) -> dict[str, object]:
    """Return the named limits; if every field is set, those that differ from the defaults."""
    told = wanted.model_dump(exclude_unset=True, exclude_none=True)
    filled = wanted.model_fields_set == Limits.model_fields.keys()
    return (wanted.model_dump(exclude_defaults=True) or told) if filled else told


def free(desk: Desk, _: Action, __: Finder) -> Deed:
    """Remove all limits, and let products that were left out into bundles again."""
    after = changed(desk, limits=Limits(), excluded=())
    return Deed(after, "There are no limits any more.", (after.card(),), then=again(after))


def show(desk: Desk, _: Action, __: Finder) -> Deed:
    """Show the cart."""
    return Deed(desk, count_of(desk), (desk.card(),))


def changed(desk: Desk, **changes: object) -> Desk:
    """Return the changed desk without its bundles, which belong to the old cart."""
    return desk.model_copy(update={"bundles": (), **changes})


def again(desk: Desk) -> tuple[Action, ...]:
    """Return the bundling that must follow a change of what bundles may hold."""
    return (Action(name="bundle"),) if len(desk.cart) > 1 else ()


def refused(desk: Desk, said: str, chips: tuple[str, ...] = ()) -> Deed:
    """Return a refusal with its reason, and what may be said next."""
    return Deed(desk, said, (ChipsEvent(chips=chips),) if chips else (), refused=True)
