"""Tuning a kind reader: it learns what it is told, repeatably, and leaves the embedder as it was."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bundlewise.errors import AdapterError, UsageError
from bundlewise.finetune.kind_tuning import KindConfig, _epochs, tune_kind_reader
from bundlewise.knowledge_base.embedding import Embedder, LocalEmbedder
from bundlewise.knowledge_base.kind_reader import KindReader, title_model

# Words whose meanings say nothing of these kinds, as brands and models do not.
TOLD = {"zorb": "oat milk", "quent": "usb cable", "vrill": "wool rug"}
PAIRS = [(f"{word} {number}", kind) for word, kind in TOLD.items() for number in range(8)]
CONFIG = KindConfig(epochs=8, batch=8)


@pytest.fixture(scope="module")
def embedder(minilm: Path) -> LocalEmbedder:
    found = Embedder.named(str(minilm))
    assert isinstance(found, LocalEmbedder)
    return found


@pytest.fixture(scope="module")
def vectors(embedder: LocalEmbedder) -> dict[str, Any]:
    names = sorted(TOLD.values())
    return dict(zip(names, embedder.embed(names), strict=True))


@pytest.fixture(scope="module")
def tuned(embedder: LocalEmbedder, vectors: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kinds") / "half-0"
    tune_kind_reader(title_model(embedder), PAIRS, vectors, CONFIG, folder)
    return folder


def test_titles_it_has_not_seen_are_read_as_the_kind_they_were_told(
    embedder: LocalEmbedder, vectors: dict[str, Any], tuned: Path
) -> None:
    names, titles = sorted(vectors), [f"{word} 99" for word in TOLD]
    goal = np.stack([vectors[name] for name in names])
    read = KindReader(embedder, tuned).embed(titles)
    assert [names[i] for i in np.argmax(read @ goal.T, axis=1)] == list(TOLD.values())
    assert np.linalg.norm(read, axis=1) == pytest.approx(1)


def test_the_embedder_itself_stays_as_it_was(minilm: Path, embedder: LocalEmbedder, tuned: Path) -> None:
    KindReader(embedder, tuned).embed(["zorb 1"])
    title = ["zorb one two three"]
    assert (embedder.embed(title) == Embedder.named(str(minilm)).embed(title)).all()


def test_the_weights_below_are_in_memory_once(embedder: LocalEmbedder, tuned: Path) -> None:
    own = {weight.data_ptr() for weight in embedder._model.parameters()}
    added = [w.numel() for w in KindReader(embedder, tuned)._model.parameters() if w.data_ptr() not in own]
    assert sum(added) < 1_000_000


def test_the_same_seed_gives_the_same_weights_and_another_does_not(
    embedder: LocalEmbedder, vectors: dict[str, Any], tmp_path: Path
) -> None:
    config = KindConfig(epochs=1, batch=8)
    found = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        tune_kind_reader(
            title_model(embedder), PAIRS, vectors, config.model_copy(update={"seed": seed}), tmp_path / name
        )
        found.append((tmp_path / name / "adapter_model.safetensors").read_bytes())
    assert found[0] == found[1] != found[2]


def test_the_loss_falls_and_is_told_and_kept(
    embedder: LocalEmbedder, vectors: dict[str, Any], tuned: Path, tmp_path: Path
) -> None:
    told: list[tuple[int, str]] = []
    config = KindConfig(epochs=2, batch=8)
    means = tune_kind_reader(
        title_model(embedder), PAIRS, vectors, config, tmp_path / "a", lambda steps, note: told.append((steps, note))
    )
    assert len(told) == config.steps(len(PAIRS)) == 6
    assert all(steps == 1 and note.startswith("loss ") for steps, note in told)
    assert means[1] < means[0]
    about = json.loads((tuned / "tuned.json").read_text())
    assert about["epochs"] == 8 and len(about["losses"]) == 8


def test_every_title_is_seen_once_an_epoch_beside_titles_of_like_length() -> None:
    titles = ["x" * (7 * n % 90 + 1) for n in range(300)]
    for batches in _epochs(titles, KindConfig(epochs=2, batch=16)):
        assert sorted(place for batch in batches for place in batch) == list(range(300))
        assert all(len(batch) <= 16 for batch in batches)
        spreads = [max(len(titles[i]) for i in batch) - min(len(titles[i]) for i in batch) for batch in batches]
        assert np.mean(spreads) < 30


def test_one_kind_is_nothing_to_learn_from(embedder: LocalEmbedder, vectors: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing to learn from: the thoughts have fewer than two kinds"):
        tune_kind_reader(
            title_model(embedder), [("zorb 1", "oat milk"), ("zorb 2", "oat milk")], vectors, CONFIG, tmp_path
        )


def test_a_loss_that_is_no_number_leaves_nothing_behind(embedder: LocalEmbedder, tmp_path: Path) -> None:
    broken = {kind: np.full(384, np.nan, np.float32) for kind in TOLD.values()}
    with pytest.raises(AdapterError, match="the loss is not a number at step 1"):
        tune_kind_reader(title_model(embedder), PAIRS, broken, CONFIG, tmp_path / "half-0")
    assert list(tmp_path.iterdir()) == []
