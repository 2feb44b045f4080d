"""Each benchmark is named in the README beside it, and runs on little data."""

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from samples import BagOfWords

from bundlewise.data.sessions import load

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
COUNT = 300


@pytest.mark.parametrize("path", sorted(BENCHMARKS.glob("*.py")), ids=lambda path: path.name)
def test_the_readme_names_each_script(path: Path) -> None:
    assert f"`{path.name}`" in (BENCHMARKS / "README.md").read_text("utf-8")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return what the scale benchmark prints, run in this process and with an embedder that needs no model."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        module: Any = import_module("knowledge_base_scale")
        lines: list[str] = []
        patch.setattr(module.Embedder, "named", lambda *_: BagOfWords())
        patch.setattr(module, "alone", lambda step, *arguments: step(*arguments))
        patch.setattr(module, "print", lines.append, raising=False)
        folder = tmp_path_factory.mktemp("scale")
        options = ["--records", str(COUNT), "--queries", "5", "--texts", "9", "--folder", str(folder)]
        patch.setattr(sys, "argv", ["knowledge_base_scale.py", *options])
        module.main()
    (line,) = lines
    return dict(json.loads(line))


def test_it_prints_every_number_for_ours_and_for_the_plain_client(found: dict[str, Any]) -> None:
    assert set(found) == {"vectors", "cpus", "embedding", "runs"}
    assert set(found["embedding"]) == {"texts_per_second", "p50_ms", "p95_ms", "queries"}
    (run,) = found["runs"]
    assert set(run) == {"records", "build", "reopen", "evidence", "times", "ratios", "recall"}
    assert run["records"] == COUNT
    assert set(run["build"]) == set(run["reopen"]) == {"ours", "filtered", "per_kind"}
    built = {"before_mb", "after_mb", "peak_mb", "seconds", "records_per_second", "disk_mb"}
    assert all(built <= set(row) for row in run["build"].values())
    assert {"sessions_seconds", "one_more_seconds"} <= set(run["build"]["ours"])
    assert all({"seconds", "after_mb", "peak_mb"} == set(row) for row in run["reopen"].values())
    assert {"thoughts", "thoughts_seconds", "load_seconds", "after_mb", "p50_ms", "p95_ms"} <= set(run["evidence"])


def test_every_contender_is_asked_every_question(found: dict[str, Any]) -> None:
    (run,) = found["runs"]
    ours = {"ours", "ours_own_domain", "ours_hybrid"}
    assert set(run["times"]) == ours | {"same_collections", "same_own_domain", "per_kind", "filtered"}
    assert all(row["queries"] == 5 and 0 < row["p50_ms"] <= row["p95_ms"] for row in run["times"].values())
    assert set(run["ratios"]) == {"same_collections", "per_kind", "filtered", "same_own_domain"}
    assert all(row["p50"] > 0 and row["p95"] > 0 for row in run["ratios"].values())


def test_with_so_few_records_dense_search_finds_what_exact_search_finds(found: dict[str, Any]) -> None:
    assert found["runs"][0]["recall"] == {"pattern": 1.0, "rule": 1.0, "thought": 1.0}


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return import_module


@pytest.mark.parametrize(
    ("text", "bundles"),
    [
        ('Sure: {"bundles": [{"items": [1, 3], "intent": "x"}, {"items": [2]}]}', ((0, 2),)),
        ('{"bundles": [{"items": [1, 9, 2, 2]}]}', ((0, 1),)),
        ('{"bundles": [{"items": ["a", 2]}]}', ()),
        ('{"bundles": 3}', ()),
        ("no JSON", ()),
        ('{"bundles": [', ()),
    ],
)
def test_the_json_loop_reads_what_can_be_read(benchmark: Any, text: str, bundles: object) -> None:
    assert benchmark("generation_speed").parsed(text, 3) == bundles


def test_the_price_of_1000_sessions_follows_its_formula(
    benchmark: Any, tiny_student: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = benchmark("generation_speed")
    monkeypatch.setattr(module, "token_counter", lambda _: lambda text: 10)
    sessions = load("electronics", "validation")[:1]
    count = len(sessions[0].items)
    rows = module.prices(sessions, str(tiny_student), per_second=2.0)
    assert rows["student, 2 cores"]["dollars"] == pytest.approx(1000 / 2 / 3600 * 0.0765, abs=1e-4)
    read = 1600 + 14 * count + 60
    assert rows["GPT-4.1"]["dollars"] == pytest.approx((read * 2 + 10 * 8) / 1000, abs=1e-4)
    assert rows["70B open"]["saved"] == pytest.approx(1 - 0.0106 / ((read * 0.59 + 10 * 0.79) / 1000), abs=1e-3)


def test_training_speed_trains_for_as_many_steps_with_either_layer_and_states_its_share_of_the_peak(
    benchmark: Any, tiny_student: Path
) -> None:
    module = benchmark("training_speed")
    fused, plain = (module.ours(str(tiny_student), "electronics", 3, 2000, 1e12, which) for which in (True, False))
    assert {"tokens", "seconds", "tokens/s", "loss before", "loss after", "share of peak"} <= set(fused)
    assert fused["tokens"] == plain["tokens"] > 1000 and fused["loss before"] > 0
    assert fused["loss after"] == pytest.approx(plain["loss after"], abs=1e-3)


def test_product_search_times_both_ways_of_finding(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setenv("BUNDLEWISE_CACHE", str(tmp_path))
    module: Any = import_module("product_search")
    monkeypatch.setattr(module.Embedder, "named", lambda *_: BagOfWords())
    monkeypatch.setattr(sys, "argv", ["product_search.py", "--products", "5000", "--queries", "20"])
    module.main()
    out = capsys.readouterr().out
    assert "5,000 products" in out and "by words: median" in out and "by words and meaning: median" in out
