"""How a student uses knowledge: in its prompt (ICL), in its weights (SFT), in both, or not at all."""

from typing import Literal, get_args

from bundlewise.errors import UsageError

Utilisation = Literal["plain", "icl", "sft", "icl+sft"]
UTILISATIONS: tuple[Utilisation, ...] = get_args(Utilisation)

_NAMES: dict[tuple[bool, bool], Utilisation] = {
    (False, False): "plain",
    (True, False): "icl",
    (False, True): "sft",
    (True, True): "icl+sft",
}


def utilisation_of(*, knowledge: bool, tuned: bool) -> Utilisation:
    """Return the mode that follows from what a student is given."""
    return _NAMES[knowledge, tuned]


def require_utilisation(wanted: str | None, *, knowledge: bool, tuned: bool) -> Utilisation:
    """Return the mode that a knowledge base and an adapter make, which must be the wanted one if any is.

    Raises:
        UsageError: the wanted mode needs, or excludes, what was given; the message names the option.
    """
    found = utilisation_of(knowledge=knowledge, tuned=tuned)
    if wanted in (None, found):
        return found
    needs_knowledge, needs_adapter = "icl" in str(wanted), "sft" in str(wanted)
    remedies = []
    if needs_knowledge != knowledge:
        remedies.append("add --kb" if needs_knowledge else "leave out --kb")
    if needs_adapter != tuned:
        remedies.append("add --adapter" if needs_adapter else "leave out --adapter")
    raise UsageError(f"mode {wanted} does not fit what was given, which makes {found}: {' and '.join(remedies)}")
