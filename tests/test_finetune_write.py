"""Tuning on whole answers: the taught text is the served text, and a tiny random model learns 20 sessions by heart."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import samples
import torch

from bundlewise.agents.student.answer_text import answer_grammar, answer_text, read_answer
from bundlewise.agents.student.chat import chat_ids
from bundlewise.agents.student.dials import AnswerDials
from bundlewise.agents.student.engine import StudentEngine
from bundlewise.agents.student.load import load_causal_lm
from bundlewise.agents.student.tokens import fits, token_ids
from bundlewise.agents.student.whole_replies import whole_prompt
from bundlewise.domain import Bundle, Retrieved, Session
from bundlewise.errors import AdapterError, UsageError
from bundlewise.finetune.adapters import read_manifest
from bundlewise.finetune.config import TrainingConfig
from bundlewise.finetune.examples import Example, whole_examples, write_example
from bundlewise.finetune.lora import with_lora
from bundlewise.finetune.parity import compare, probe
from bundlewise.finetune.publish import publish
from bundlewise.finetune.training import Training
from bundlewise.pipeline.student import Student
from bundlewise.pipeline.tune import finetune
from bundlewise.prompts.library import current, using
from bundlewise.prompts.template import parse_template

WRITE = AnswerDials(form="write", samples=1)
WORDS = ("lamp", "rug", "mug", "pen", "hat", "map", "fan", "cup", "bag", "key")
NONE = Retrieved()


def intended(name: str, titles: list[str], groups: Any, intents: list[str]) -> Session:
    made = samples.session(name, titles, groups)
    bundles = tuple(Bundle(item_ids=b.item_ids, intent=i) for b, i in zip(made.bundles, intents, strict=True))
    return made.model_copy(update={"bundles": bundles, "split": "train"})


@pytest.fixture(scope="module")
def twenty() -> list[Session]:
    pairs = [(a, b) for n, a in enumerate(WORDS) for b in WORDS[n + 1 :]][:20]
    groupings = [((0, 1),), ((0, 2),), ((1, 2),), ((0, 1, 2),)]
    return [
        intended(f"s{n}", [a, f"{b} {n}", "red"], groupings[n % 4], [f"Use {a} {n}"]) for n, (a, b) in enumerate(pairs)
    ]


@pytest.fixture(scope="module")
def larger(tiny_student: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a random model with the tiny student's tokenizer that is large enough to remember 20 answers."""
    from shutil import copy

    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("larger")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        if (tiny_student / name).is_file():
            copy(tiny_student / name, folder)
    settings = LlamaConfig.from_pretrained(tiny_student).to_dict()
    settings |= {
        "initializer_range": 0.1,
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 3,
        "head_dim": 32,
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlamaForCausalLM(LlamaConfig(**settings)).save_pretrained(folder)
    return folder


@pytest.fixture
def brief() -> Iterator[None]:
    """Use prompts of a few letters, since the tiny tokenizer needs a token for nearly each."""
    texts = {"write_system": "Group.", "write": "{% for title in session.titles %}{{ title | line }} {% endfor %}"}
    parts = [parse_template(name, f"{name}.jinja", text.encode()) for name, text in texts.items()]
    with using(current().replacing(*parts)):
        yield


def test_a_random_model_learns_twenty_sessions_exactly(
    larger: Path, twenty: list[Session], brief: None, tmp_path: Path
) -> None:
    config = TrainingConfig(layers=0, rank=32, learning_rate=4e-3, evaluations=0)
    model, tokenizer = load_causal_lm(larger, exact=True)
    reads = partial(fits, tokenizer, model.config)
    examples = [write_example(tokenizer, session, NONE, WRITE, reads) for session in twenty]
    tuned = with_lora(model, config)
    before = {name: value.detach().clone() for name, value in tuned.named_parameters()}
    Training(tuned, [examples] * 100, config, tmp_path / "a").run()
    moved = {name for name, value in tuned.named_parameters() if not torch.equal(value, before[name])}
    assert moved == {name for name in before if "lora_" in name}
    engine = StudentEngine(tuned.merge_and_unload(), tokenizer)
    prompts = [whole_prompt(session.blind(), NONE, engine, WRITE)[0] for session in twenty]
    written = engine.write(prompts, [answer_grammar(3)] * 20)
    wanted = [answer_text(session.groups, [b.intent for b in session.bundles]) for session in twenty]
    assert [text.text for text in written] == wanted
    assert [read_answer(text.text, 3).groups for text in written] == [session.groups for session in twenty]


def test_the_taught_text_is_the_prompt_of_serving_and_the_annotated_answer(tiny_student: Path) -> None:
    engine = StudentEngine.load(tiny_student)
    session = intended("a", ["Red Lamp 5", "rug", "bulb"], ((0, 2),), ["Light the Desk 2"])
    example = write_example(engine.tokenizer, session, NONE, WRITE, engine.fits)
    prompt, _ = whole_prompt(session.blind(), NONE, engine, WRITE)
    asked = chat_ids(engine.tokenizer, prompt)
    answer = [*token_ids(engine.tokenizer, "1 3\nLight the Desk 2\n"), engine.tokenizer.eos_token_id]
    assert list(example.encoded.ids) == asked + answer[:-1] and list(example.targets) == answer
    assert list(example.encoded.places) == list(range(len(asked) - 1, len(asked) + len(answer) - 1))


def test_a_bundle_without_an_intent_teaches_the_bundles_alone(tiny_student: Path) -> None:
    engine = StudentEngine.load(tiny_student)
    session = intended("a", ["lamp", "rug", "bulb"], ((0, 2),), [""])
    example = write_example(engine.tokenizer, session, NONE, WRITE, engine.fits)
    assert list(example.targets) == token_ids(engine.tokenizer, "1 3\n")


def test_a_reasoning_names_the_kinds_of_each_bundle(tiny_student: Path) -> None:
    engine = StudentEngine.load(tiny_student)
    session = intended("a", ["desk lamp", "rug", "light bulb"], ((0, 2),), ["Light a desk"])
    dials = WRITE.model_copy(update={"reasoning": "brief"})
    example = write_example(engine.tokenizer, session, NONE, dials, engine.fits)
    text = engine.tokenizer.decode(example.targets[:-1])
    assert text == "Because: desk lamp + light bulb\n1 3\nLight a desk\n"
    assert read_answer(text, 3).groups == ((0, 2),)


def test_every_epoch_has_another_order_and_a_share_without_knowledge(tiny_student: Path, twenty: list[Session]) -> None:
    engine = StudentEngine.load(tiny_student)
    note = samples.record("rule", "Lamps go with lamps")
    known = [Retrieved(records=((note, 0.9),))] * len(twenty)

    def epoch(seed: int) -> list[Example]:
        return whole_examples(engine.tokenizer, twenty, known, WRITE, engine.fits, without=0.25, seed=seed)

    first, again, other = epoch(0), epoch(0), epoch(1)
    assert first == again and first != other
    for made in (first, other):
        texts = [engine.tokenizer.decode(example.encoded.ids) for example in made]
        assert sum("Lamps go with lamps" not in text for text in texts) == 5
    orders = {tuple(sorted((place, "red" in line) for place, line in enumerate(text.split("\n")))) for text in texts}
    assert len(orders) > 1


def test_the_adapter_remembers_its_form(tiny_student: Path, twenty: list[Session], tmp_path: Path) -> None:
    checked = twenty[0].model_copy(update={"session_id": "v", "split": "validation"})
    sessions, path = [*twenty, checked], tmp_path / "adapter"
    how = {"form": "write", "reasoning": "brief", "samples": 2}
    adapter = finetune(sessions, None, path, student=str(tiny_student), answering=how, layers=0, limit=2)
    assert adapter.manifest.answering == AnswerDials(form="write", reasoning="brief", samples=2)
    assert set(adapter.manifest.prompts) == {"write", "write_system", "text"}
    assert adapter.validation_gjs is not None
    student = Student.open(student=str(tiny_student), adapter=path)
    assert student.dials == adapter.manifest.answering
    (found,) = student.answer([checked])
    assert found.outcome != "failed" and found.raw.startswith("Because: ")
    more = Student.open(student=str(tiny_student), adapter=path, answering={"samples": 1, "repairs": 3})
    assert more.dials == student.dials.model_copy(update={"samples": 1, "repairs": 3})
    for other in ({"form": "pairs"}, {"reasoning": "none"}):
        with pytest.raises(AdapterError, match=r"with (form write|reasoning brief), not .*leave (form|reasoning) out"):
            Student.open(student=str(tiny_student), adapter=path, answering=other)
    with pytest.raises(UsageError, match="holds an adapter with another answering"):
        finetune(sessions, None, path, student=str(tiny_student), layers=0, limit=2)


def test_lora_settings_reach_peft(tiny_student: Path) -> None:
    model, _ = load_causal_lm(tiny_student)
    config = TrainingConfig.of(rank=4, alpha=20, dropout=0.25, targets="q_proj, v_proj", layers=0)
    found = with_lora(model, config).peft_config["default"]
    assert (found.r, found.lora_alpha, found.lora_dropout) == (4, 20, 0.25)
    assert found.target_modules == {"q_proj", "v_proj"}
    with pytest.raises(UsageError, match="targets"):
        TrainingConfig.of(targets="q_proj,other")


def test_dropout_is_repeated_by_a_training_that_continues(
    tiny_student: Path, twenty: list[Session], brief: None, tmp_path: Path
) -> None:
    config = TrainingConfig(layers=0, dropout=0.5, evaluations=0)

    def losses(folder: Path, stop: int = 0) -> tuple[float, ...]:
        model, tokenizer = load_causal_lm(tiny_student, exact=True)
        examples = [write_example(tokenizer, s, NONE, WRITE, partial(fits, tokenizer, model.config)) for s in twenty]

        def watch(step: int, *_: Any) -> None:
            if step == stop:
                raise KeyboardInterrupt

        return Training(with_lora(model, config), [examples[:4]] * 4, config, folder, watch=watch).run().losses

    whole = losses(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        losses(tmp_path / "stopped", stop=2)
    assert losses(tmp_path / "stopped") == whole


@pytest.mark.slow
def test_a_writer_is_published_after_whole_answers_agreed(
    tiny_student: Path, twenty: list[Session], tmp_path: Path
) -> None:
    path, output = tmp_path / "adapter", tmp_path / "published"
    finetune(twenty, None, path, student=str(tiny_student), answering={"form": "write"}, layers=0, limit=2)
    parity = publish(path, tiny_student, output)
    assert parity.probes == 24 and parity.largest_difference < 1e-3
    whole = Student.open(student=str(output))
    assert whole.dials == AnswerDials(form="write")
    probed = probe(whole.model.engine, read_manifest(path))
    assert [matrix.shape for matrix in probed.log_odds] == [(1,)] * 24 and any(probed.intents)
    other = replace(probed, intents=["another", *probed.intents[1:]], log_odds=[])
    assert compare(probed, other).fault("float32") == "intents of probes 1 differ"
    moved = replace(probed, bundles=[(), *probed.bundles[1:]])
    assert compare(probed, moved).fault("bfloat16") == "bundles of probes 1 differ"
