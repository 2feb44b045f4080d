"""`bundlewise kb tune`: the embedder learns the teacher's kinds, in two halves, and can forget them."""

import shutil
from pathlib import Path

import pytest
from embedder_samples import random_bert_in
from kb_samples import Call, caller, fill, use_words
from samples import session, thought

from bundlewise.domain import KnownSession
from bundlewise.errors import AdapterError
from bundlewise.files import only_process
from bundlewise.finetune import kind_tuning
from bundlewise.knowledge_base.database import Change
from bundlewise.knowledge_base.embedding import Embedder
from bundlewise.knowledge_base.kind_reader import WEIGHTS, KindReader
from bundlewise.knowledge_base.policy import Policy
from bundlewise.knowledge_base.retrieval import Retriever
from bundlewise.knowledge_base.store import KnowledgeStore

KINDS = ["usb cable", "phone charger", "wool rug", "oat milk"]
SESSIONS = [
    session(f"s{n}", [f"{word} {n}" for word in ("zorb", "quent", "vrill", "plimp")], ((0, 1),)) for n in range(8)
]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, minilm: Path) -> Call:
    monkeypatch.chdir(tmp_path)
    store = KnowledgeStore.create("kb", Embedder.named(str(minilm)))
    known = [KnownSession.of(each) for each in SESSIONS]
    store.change(Change("distil", [thought(each, KINDS) for each in SESSIONS], sessions=known))
    return caller(capsys)


def tuned(folder: str = "kb") -> list[Path]:
    return sorted(Path(folder).rglob("half-*"))


def test_tuning_reads_unseen_titles_as_the_teacher_and_changes_what_the_evidence_rests_on(call: Call) -> None:
    asked = session("new", ["zorb 77", "quent 77", "vrill 77"], split="test")
    before = Retriever(KnowledgeStore.open("kb"), Policy())
    about, (old,) = before.about, before.retrieve([asked])
    code, out, _ = call("tune", "kb", "--epochs", "12")
    assert code == 0 and out.startswith("kb: tuned; ")
    now, untuned = (int(word.rstrip("%")) for word in out.replace(",", "").split() if "%" in word)
    assert now > untuned
    assert [path.name for path in tuned()] == ["half-0", "half-1"]
    after = Retriever(KnowledgeStore.open("kb"), Policy())
    assert after.about["teacher"] != about["teacher"]
    (new,) = after.retrieve([asked])
    assert old.affinity != new.affinity


def test_what_was_tuned_is_used_where_knowledge_of_one_domain_is_asked_for(call: Call) -> None:
    asked = session("new", ["zorb 77", "quent 77", "vrill 77"], split="test")
    own = Policy(domain="electronics")
    store = KnowledgeStore.open("kb")
    elsewhere = session("far", ["grob 1", "blick 1", "snarf 1"], ((0, 1),))
    far = thought(elsewhere, KINDS[:3]).model_copy(update={"domain": "elsewhere"})
    store.change(Change("add", [far], sessions=[KnownSession.of(elsewhere)]))
    (old,) = Retriever(store, own).retrieve([asked])
    call("tune", "kb", "--epochs", "1")
    (new,) = Retriever(KnowledgeStore.open("kb"), own).retrieve([asked])
    assert old.affinity != new.affinity


def test_known_titles_are_read_once_for_every_later_process(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    call("tune", "kb", "--epochs", "1")
    whole = Retriever(KnowledgeStore.open("kb"), Policy()).retrieve(SESSIONS)

    def refused(*_: object) -> None:
        raise AssertionError("read again")

    with monkeypatch.context() as patch:
        patch.setattr(KindReader, "_forward", refused)
        assert Retriever(KnowledgeStore.open("kb"), Policy()).retrieve(SESSIONS) == whole
        with pytest.raises(AssertionError, match="read again"):
            Retriever(KnowledgeStore.open("kb"), Policy()).retrieve([session("new", ["zorb 77", "quent 77"])])
    for path in tuned():
        (path / "read.npz").unlink()
    call("tune", "kb", "--epochs", "1")
    assert [(path / "read.npz").is_file() for path in tuned()] == [True, True]


def test_tuning_twice_tunes_once_and_forgetting_gives_back_what_was(call: Call) -> None:
    about = Retriever(KnowledgeStore.open("kb"), Policy()).about
    call("tune", "kb", "--epochs", "1")
    kept = [(path / WEIGHTS).stat().st_mtime_ns for path in tuned()]
    assert call("tune", "kb", "--epochs", "1")[1].startswith("kb: was tuned before (--forget, to do it anew); ")
    assert [(path / WEIGHTS).stat().st_mtime_ns for path in tuned()] == kept
    assert call("tune", "kb", "--forget") == (0, "kb: the embedder alone reads titles\n", "")
    assert '"kinds": "untuned"' in call("stats", "kb", "--json")[1]
    assert tuned() == [] and Retriever(KnowledgeStore.open("kb"), Policy()).about == about
    code, _, err = call("tune", "kb", "--forget")
    assert code == 2 and "nothing is tuned in kb" in err


def test_a_stopped_tuning_goes_on_with_the_half_that_is_missing(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = kind_tuning.tune_kind_reader

    def stopped(model: object, pairs: object, vectors: object, config: object, folder: Path, *rest: object) -> object:
        if folder.name == "half-1":
            raise AdapterError("stopped")
        return whole(model, pairs, vectors, config, folder, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(kind_tuning, "tune_kind_reader", stopped)
    assert call("tune", "kb", "--epochs", "1")[0] == 1
    (first,) = tuned()
    before = (first / WEIGHTS).stat().st_mtime_ns
    assert "readers of titles: unfinished; tune them: bundlewise kb tune kb\n" in call("stats", "kb")[1]
    monkeypatch.setattr(kind_tuning, "tune_kind_reader", whole)
    assert call("tune", "kb", "--epochs", "1")[1].startswith("kb: tuned; ")
    assert (first / WEIGHTS).stat().st_mtime_ns == before and len(tuned()) == 2


def test_a_reader_that_lost_its_weights_is_tuned_again_and_the_other_kept(call: Call) -> None:
    call("tune", "kb", "--epochs", "1")
    lost, kept = tuned()
    (lost / WEIGHTS).unlink()
    before = (kept / WEIGHTS).stat().st_mtime_ns
    assert '"kinds": "unfinished"' in call("stats", "kb", "--json")[1]
    code, out, err = call("tune", "kb", "--epochs", "1")
    assert code == 0 and out.startswith("kb: tuned; "), err
    assert (lost / WEIGHTS).is_file() and (kept / WEIGHTS).stat().st_mtime_ns == before
    assert '"kinds": "tuned"' in call("stats", "kb", "--json")[1]
    for half in (lost, kept):
        (half / WEIGHTS).unlink()
    assert '"kinds": "unfinished"' in call("stats", "kb", "--json")[1]


def test_thoughts_of_sessions_larger_than_the_student_reads_teach_their_titles_as_they_do_in_serving(
    call: Call,
) -> None:
    large = session("large", [f"{word} {n}" for n in range(100, 115) for word in ("zorb", "quent", "vrill", "plimp")])
    store = KnowledgeStore.open("kb")
    store.change(Change("add", [thought(large, KINDS * 15)], sessions=[KnownSession.of(large)]))
    code, out, err = call("tune", "kb", "--epochs", "1")
    assert code == 0 and out.startswith("kb: tuned; "), err
    (found,) = Retriever(KnowledgeStore.open("kb"), Policy()).retrieve([session("new", list(large.titles[:2]))])
    assert found.affinity


def test_a_second_process_is_told_to_wait(call: Call) -> None:
    within = KnowledgeStore.open("kb").vectors_folder
    with only_process(within / "kinds"):
        code, _, err = call("tune", "kb")
    said = " ".join(err.split())
    assert code == 1 and "another process is writing" in said and said.endswith("; wait for it")


def test_weights_that_cannot_be_read_are_an_error_whose_remedy_helps(call: Call) -> None:
    call("tune", "kb", "--epochs", "1")
    (tuned()[0] / WEIGHTS).write_bytes(b"nothing of the kind")
    code, _, err = call("tune", "kb", "--epochs", "1")
    assert code == 1 and "run `bundlewise kb tune` with --forget, then tune again" in " ".join(err.split())
    assert call("tune", "kb", "--forget")[0] == 0
    assert call("tune", "kb", "--epochs", "1")[0] == 0


def test_after_the_knowledge_changed_what_was_tuned_is_not_used(call: Call) -> None:
    call("tune", "kb", "--epochs", "1")
    store = KnowledgeStore.open("kb")
    key = store.thoughts()[0].id
    assert "readers of titles: tuned\n" in call("stats", "kb")[1]
    assert call("retire", "kb", key, "--reason", "bad")[0] == 0
    assert "readers of titles: outdated; tune them: bundlewise kb tune kb\n" in call("stats", "kb")[1]
    about = Retriever(KnowledgeStore.open("kb"), Policy()).about
    for path in {half.parent for half in tuned()}:
        shutil.rmtree(path)
    assert Retriever(KnowledgeStore.open("kb"), Policy()).about == about


def test_each_half_learns_from_the_other_alone(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    from bundlewise.knowledge_base.kind_reader import halves

    learnt: dict[str, set[str]] = {}
    whole = kind_tuning.tune_kind_reader

    def noted(
        model: object, pairs: list[tuple[str, str]], vectors: object, config: object, folder: Path, *rest: object
    ):
        learnt[folder.name] = {title for title, _ in pairs}
        return whole(model, pairs, vectors, config, folder, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(kind_tuning, "tune_kind_reader", noted)
    call("tune", "kb", "--epochs", "1")
    thoughts = KnowledgeStore.open("kb").thoughts()
    for each, half in zip(thoughts, halves(thoughts).tolist(), strict=True):
        assert learnt[f"half-{half}"].isdisjoint(each.titles)
        assert learnt[f"half-{1 - half}"].issuperset(each.titles)


def test_an_embedder_on_a_server_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_words(monkeypatch)
    monkeypatch.chdir(tmp_path)
    fill(tmp_path / "kb")
    code, _, err = caller(capsys)("tune", "kb")
    assert code == 2
    assert "cannot be tuned; use a local one: bundlewise kb reindex kb --embedder minilm" in " ".join(err.split())


def test_no_thoughts_and_no_knowledge_base_are_errors(call: Call, minilm: Path) -> None:
    KnowledgeStore.create("empty", Embedder.named(str(minilm)))
    code, _, err = call("tune", "empty")
    assert code == 2 and "nothing to learn from" in err
    assert call("tune", "nowhere")[0] == 2


def test_reindexing_with_the_same_first_embedder_keeps_the_readers_and_another_one_says_that_they_are_gone(
    call: Call, minilm: Path, tmp_path: Path
) -> None:
    other = random_bert_in(tmp_path / "bert", ["zorb", "quent", "vrill"])
    call("tune", "kb", "--epochs", "1")
    (weights,) = {path.read_bytes() for path in Path("kb").rglob("half-0/*.safetensors")}
    code, out, err = call("reindex", "kb", "--embedder", f"{minilm}+{other}")
    assert (code, "tuned readers" in out) == (0, False), err
    assert "readers of titles: tuned" in call("stats", "kb")[1]
    now = KnowledgeStore.open("kb").vectors_folder
    assert [path.read_bytes() for path in now.rglob("half-0/*.safetensors")] == [weights]
    code, out, _ = call("reindex", "kb", "--embedder", str(other))
    gone = "the tuned readers of titles belong to the earlier vectors and are not used any more"
    assert code == 0 and f"kb: {gone}; tune new ones: bundlewise kb tune kb\n" in out
    assert "readers of titles: tuned" not in call("stats", "kb")[1]
    assert call("reindex", "kb", "--roll-back")[0] == 0
    assert "readers of titles: tuned" in call("stats", "kb")[1]
