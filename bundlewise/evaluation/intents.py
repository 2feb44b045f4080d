"""The similarity of predicted and annotated intents: the cosine of sentence embeddings over matched bundles."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bundlewise.domain import Prediction, Session

if TYPE_CHECKING:
    from bundlewise.knowledge_base.embedding import Embedder


def intent_similarity(predictions: Sequence[Prediction], sessions: Sequence[Session], embedder: "Embedder") -> float:
    """Return the mean cosine of intents over all annotated bundles; an unmatched bundle counts 0.

    Bundles are matched one to one, the highest Jaccard similarity first, as in GJS.
    """
    pairs = [
        (prediction.bundles[ours].intent, session.bundles[theirs].intent)
        for prediction, session in zip(predictions, sessions, strict=True)
        for ours, theirs in matched(prediction, session)
    ]
    annotated = sum(len(session.bundles) for session in sessions)
    if not pairs or not annotated:
        return 0.0
    said, meant = (embedder.embed(list(side)) for side in zip(*pairs, strict=True))
    return float((said * meant).sum() / annotated)


def matched(prediction: Prediction, session: Session) -> list[tuple[int, int]]:
    """Return the pairs (predicted bundle, annotated bundle) of a greedy one-to-one matching by Jaccard similarity."""
    overlaps = [
        (len(set(a) & set(b)) / len(set(a) | set(b)), i, j)
        for i, a in enumerate(prediction.groups)
        for j, b in enumerate(session.groups)
    ]
    taken: list[tuple[int, int]] = []
    for share, i, j in sorted(overlaps, key=lambda found: (-found[0], found[1], found[2])):
        if share > 0 and all(i != a and j != b for a, b in taken):
            taken.append((i, j))
    return taken
