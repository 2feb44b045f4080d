"""Each benchmark is named in the README beside it, and runs on little data."""

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from samples import BagOfWords

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
