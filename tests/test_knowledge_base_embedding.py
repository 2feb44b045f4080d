"""Embedders turn texts into unit vectors, each text once, whatever the batch; a changed model is noticed."""

import json
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from embedder_samples import random_bert_in, write
from samples import BagOfWords

from bundlewise.errors import KnowledgeError, ModelError, UsageError
from bundlewise.knowledge_base import embedding
from bundlewise.knowledge_base.embedding import Embedder, LocalEmbedder, RemoteEmbedder, Vectors
from bundlewise.knowledge_base.languages import language_note

TITLES = ["Wireless mouse with USB receiver", "Mechanical keyboard, black", "Laptop sleeve, 15 in", "A B - C", "x"]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *sorted(set(" ".join(TITLES).lower().split())), "find"]


class Watched(BagOfWords):
    """Keep the batches that reach the model."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[list[str]] = []

    def _forward(self, texts: list[str]) -> Vectors:
        self.batches.append(texts)
        return super()._forward(texts)


@pytest.fixture(scope="module")
def random_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a sentence-transformers folder: a random BERT of two layers whose first token is the vector."""
    return random_bert_in(tmp_path_factory.mktemp("random-bert"), [*WORDS[4:]])


@pytest.fixture
def bert(random_bert: Path, tmp_path: Path) -> Path:
    """Return a copy of the random BERT that a test may change."""
    return Path(shutil.copytree(random_bert, tmp_path / "bert"))


def update(path: Path, **changes: Any) -> None:
    write(path, json.loads(path.read_text(encoding="utf-8")) | changes)


def states(folder: Path, text: str) -> tuple[Vectors, int]:
    """Return the last hidden states of a text by itself, as transformers alone computes them."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokens = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
    with torch.inference_mode():
        found: Vectors = AutoModel.from_pretrained(folder, dtype=torch.float32)(**tokens).last_hidden_state[0].numpy()
    return found, len(found)


def normal(vectors: Sequence[Vectors]) -> Vectors:
    return np.stack([vector / np.linalg.norm(vector) for vector in vectors])


def test_minilm_is_the_mean_over_the_tokens_and_does_not_depend_on_the_batch(minilm: Path) -> None:
    texts = [*TITLES, "kit " * 100, "a long title of many words " * 8]
    together = Embedder.named(str(minilm)).embed(texts)
    assert together.dtype == np.float32 and together.shape == (7, 384)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(together, normal([states(minilm, text)[0].mean(0) for text in texts]), atol=1e-5)
    alone = Embedder.named(str(minilm))
    np.testing.assert_allclose(together, np.concatenate([alone.embed([text]) for text in texts]), atol=1e-6)


def test_minilm_puts_like_things_together(minilm: Path) -> None:
    mouse, trackball, milk = Embedder.named("minilm").embed(["computer mouse", "trackball", "oat milk"])
    assert mouse @ trackball > mouse @ milk + 0.2


def test_pooling_is_what_the_files_say(bert: Path) -> None:
    first = Embedder.named(str(bert)).embed(TITLES)
    np.testing.assert_allclose(first, normal([states(bert, text)[0][0] for text in TITLES]), atol=1e-6)
    write(bert / "1_Pooling" / "config.json", {"word_embedding_dimension": 16, "pooling_mode_max_tokens": True})
    highest = Embedder.named(str(bert)).embed(TITLES)
    np.testing.assert_allclose(highest, normal([states(bert, text)[0].max(0) for text in TITLES]), atol=1e-6)


def test_length_and_prompt_are_what_the_files_say(bert: Path) -> None:
    update(bert / "sentence_bert_config.json", max_seq_length=4)
    update(bert / "config_sentence_transformers.json", prompts={"q": "find "}, default_prompt_name="q")
    found = Embedder.named(str(bert)).embed(["wireless mouse with"])
    np.testing.assert_allclose(found, normal([states(bert, "find wireless")[0][0]]), atol=1e-6)


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("config.json", {"layer_norm_eps": 0.1}),
        ("1_Pooling/config.json", {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}),
        ("sentence_bert_config.json", {"max_seq_length": 4}),
        ("config_sentence_transformers.json", {"prompts": {"q": "find "}, "default_prompt_name": "q"}),
    ],
)
def test_the_fingerprint_changes_with_what_changes_vectors(bert: Path, file: str, changes: dict[str, Any]) -> None:
    before = Embedder.named(str(bert)).fingerprint
    update(bert / file, **changes)
    after = Embedder.named(str(bert)).fingerprint
    assert before != after and len(before) == len(after) == 12


def test_the_fingerprint_does_not_change_with_the_place_or_the_libraries(random_bert: Path, bert: Path) -> None:
    update(bert / "config_sentence_transformers.json", __version__={"sentence_transformers": "9.0.0"})
    update(bert / "config.json", transformers_version="9.0.0")
    (bert / "README.md").write_text("about")
    here, there = Embedder.named(str(random_bert)), Embedder.named(str(bert))
    assert here.fingerprint == there.fingerprint
    assert here.fits(there.fingerprint) and not here.fits("0" * 12)


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        ("minilm", LocalEmbedder),
        ("org/name", LocalEmbedder),
        ("openai:m", RemoteEmbedder),
        ("openai:a/b@c@http://127.0.0.1:1/v1", RemoteEmbedder),
    ],
)
def test_a_name_stays_what_it_was_resolved_by(
    spec: str, kind: type[Embedder], random_bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding, "resolve", lambda _: random_bert)
    assert Embedder.named(spec).name == spec and type(Embedder.named(spec)) is kind


def test_a_folder_is_named_from_the_root(random_bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(random_bert.parent)
    assert Embedder.named(random_bert.name).name == str(random_bert)


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("word2vec", "no embedder called 'word2vec'; choose minilm, "),
        ("", "no embedder called ''; choose minilm, "),
        ("openai:", "openai: names no model; write openai:MODEL or openai:MODEL@http"),
        ("smollm2-135m", "smollm2-135m is a student, not an embedder; choose minilm"),
        ("openai:m@http://", "http:// is not an address; give one like"),
        ("openai:m@http://h:port/v1", "http://h:port/v1 is not an address; give one like"),
        ("openai:m@http://sk-1@host/v1", "the address at host holds more than a path; put the key into OPENAI_API_KEY"),
        ("openai:m@https://host/v1?key=sk-1", "the address at host holds more than a path"),
    ],
)
def test_what_means_no_embedder_is_a_usage_error_with_the_choices(spec: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason) as caught:
        Embedder.named(spec)
    assert "sk-1" not in str(caught.value)


def test_a_model_that_does_not_say_how_it_pools_is_refused(bert: Path) -> None:
    (bert / "modules.json").unlink()
    with pytest.raises(
        UsageError, match=r"bert holds no modules\.json, so it is not a sentence-transformers model; choose"
    ):
        Embedder.named(str(bert))


def test_code_that_comes_with_a_model_is_not_run(bert: Path, tmp_path: Path) -> None:
    (bert / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Module: pass")
    modules = json.loads((bert / "modules.json").read_text(encoding="utf-8"))
    write(bert / "modules.json", [*modules, {"idx": 2, "name": "2", "path": "2_Own", "type": "own.Module"}])
    with pytest.raises(ModelError, match=r"cannot load the embedder .*bert: .*own\.Module"):
        Embedder.named(str(bert)).embed(["x"])
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("modules.json", b"{"),
        ("modules.json", b"[]"),
        ("1_Pooling/config.json", b"{}"),
        ("config.json", b"{}"),
        ("model.safetensors", b"cut"),
        ("tokenizer.json", b"{}"),
    ],
)
def test_a_damaged_model_is_an_error_with_a_remedy(bert: Path, file: str, content: bytes) -> None:
    (bert / file).write_bytes(content)
    with pytest.raises(ModelError, match=r"cannot load the embedder .*bert: .+; fetch it again, or choose"):
        Embedder.named(str(bert)).embed(["x"])


def test_weights_that_are_no_numbers_are_an_error(bert: Path) -> None:
    from safetensors.numpy import load_file, save_file

    weights = load_file(bert / "model.safetensors")
    weights["embeddings.LayerNorm.weight"][:] = np.nan
    save_file(weights, bert / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"bert answered a vector of zeros or not-a-number; choose another"):
        Embedder.named(str(bert)).embed(["x"])


def test_each_text_is_embedded_once_and_the_order_is_that_of_the_texts() -> None:
    embedder = Watched()
    first = embedder.embed(["b b", "a", "b b", "c c c"])
    assert embedder.batches == [["a", "b b", "c c c"]]
    assert embedder.embed(["c c c", "d"]).shape == (2, 256)
    assert embedder.batches[1:] == [["d"]]
    np.testing.assert_array_equal(embedder.embed(["b b", "a", "b b", "c c c"]), first)
    np.testing.assert_array_equal(first[0], first[2])


def test_texts_are_taken_in_batches_of_like_length() -> None:
    embedder = Watched()
    texts = [f"{n:03d}" + " word" * (n % 3) for n in range(130)]
    embedder.embed(texts)
    assert [len(batch) for batch in embedder.batches] == [64, 64, 2]
    assert [text for batch in embedder.batches for text in batch] == sorted(texts, key=lambda text: (len(text), text))


def test_nothing_has_the_shape_of_nothing() -> None:
    embedder = Watched()
    assert embedder.embed([]).shape == (0, 1) and embedder.embed([]).dtype == np.float32
    embedder.embed(["a"])
    assert embedder.embed([]).shape == (0, 256)


def test_progress_hears_of_every_text_batch_by_batch() -> None:
    embedder, heard = Watched(), []
    embedder.embed(["known"])
    texts = ["known", "twice", "twice", *(f"{n:03d}" for n in range(100))]
    embedder.embed(texts, heard.append)
    assert heard == [1, 64, 38] and sum(heard) == len(texts)


def test_only_so_many_texts_are_remembered_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "REMEMBERED", 3)
    embedder = Watched()
    assert embedder.embed(["a", "b", "c", "d", "e"]).shape == (5, 256)
    embedder.embed(["c", "d", "e"])
    assert len(embedder.batches) == 1
    embedder.embed(["a"])
    assert embedder.batches[1:] == [["a"]]


def test_kept_vectors_need_not_be_embedded_again(tmp_path: Path) -> None:
    writer, reader = Watched(), Watched()
    writer.save(tmp_path / "kept.npz", ["b", "a", "b"])
    reader.load(tmp_path / "kept.npz")
    np.testing.assert_array_equal(reader.embed(["a", "b"]), writer.embed(["a", "b"]))
    assert reader.batches == []


def test_vectors_of_another_model_and_damaged_ones_are_not_taken(tmp_path: Path) -> None:
    class Other(Watched):
        fingerprint = "other"

    Watched().save(kept := tmp_path / "kept.npz", ["a"])
    (tmp_path / "cut.npz").write_bytes(kept.read_bytes()[:100])
    with zipfile.ZipFile(tmp_path / "empty.npz", "w"):
        pass
    for reader, path in [(Other(), kept), *((Watched(), tmp_path / name) for name in ("cut.npz", "empty.npz", "no"))]:
        reader.load(path)
        reader.embed(["a"])
        assert reader.batches == [["a"]]


@pytest.mark.parametrize("spec", ["openai:m@https://out.there/v1", "openai:m@http://10.0.0.7:80/v1"])
def test_an_address_that_a_knowledge_base_names_is_not_followed_unasked(
    spec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BUNDLEWISE_EMBEDDER", raising=False)
    with pytest.raises(
        KnowledgeError, match=r"texts would be sent to .*; if you trust that address set BUNDLEWISE_EMB"
    ):
        Embedder.of_store(spec)
    monkeypatch.setenv("BUNDLEWISE_EMBEDDER", spec)
    assert Embedder.of_store(spec).name == spec


@pytest.mark.parametrize("spec", ["openai:m", "openai:m@http://127.0.0.1:9/v1", "openai:m@http://localhost/v1"])
def test_ones_own_machine_and_the_usual_endpoint_need_no_trust(spec: str) -> None:
    assert Embedder.of_store(spec).name == spec


@pytest.mark.parametrize(
    ("embedder", "titles", "told"),
    [
        ("minilm", ["Настольная лампа", "狗粮", "Desk Lamp"], "2 of 3 titles are not in Latin script"),
        ("minilm", ["Jäger Müsli", "Desk Lamp LED 灯"], ""),
        ("minilm", ["Настольная лампа", "Desk Lamp"], ""),
        ("minilm", [], ""),
        ("sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2", ["狗粮"], ""),
    ],
)
def test_an_embedder_of_english_says_so_where_most_titles_are_of_other_scripts(
    embedder: str, titles: list[str], told: str
) -> None:
    said = language_note(embedder, titles)
    assert said.startswith(told) if told else not said
    assert not told or "--embedder sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2" in said
