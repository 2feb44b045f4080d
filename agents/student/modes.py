"""The modes of using knowledge: in the student's prompt (ICL), in its weights (SFT), in both, or in neither."""

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
    """Return the mode of a student with or without knowledge and tuned weights."""
    return _NAMES[knowledge, tuned]


def require_utilisation(wanted: str | None, *, knowledge: bool, tuned: bool) -> Utilisation:
    """Return the mode that follows from the knowledge base and the adapter, and check it against the wanted mode.

    Raises:
        UsageError: the wanted mode is another one; the message names the options to add or leave out.
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
    remedy = " and ".join(remedies)
    raise UsageError(f"mode {wanted} does not match the given options, which make mode {found}: {remedy}")
