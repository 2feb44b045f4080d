"""A small experiment for tests: few short sessions, a pack about them, a tiny student."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from kb_samples import use_words

from bundlewise.data.sessions import load, starter_pack_path, write_sessions
from bundlewise.experiment.file import Experiment, read
from bundlewise.experiment.results import Results
from bundlewise.experiment.run import Run
from bundlewise.experiment.workers import locally

SPLITS = {"train": 6, "validation": 4, "test": 3}
TRAINING = {"layers": 1, "rank": 2, "evaluations": 0}


def write_data(folder: Path, domain: str) -> None:
    """Write a few sessions of a starter domain that differ in their answers, and the pack's records about them."""
    short = [session for session in load(domain) if 3 <= len(session.items) <= 4]
    chosen = [s for split, count in SPLITS.items() for s in [s for s in short if s.split == split][:count]]
    write_sessions(folder / f"{domain}.jsonl", chosen)
    known = {session.session_id for session in chosen if session.split == "train"}
    rows = [json.loads(line) for line in starter_pack_path(domain).read_text("utf-8").splitlines()]
    kept = [row for row in rows if row["kind"] == "rule"][:4] + [r for r in rows if r.get("source_session") in known]
    (folder / f"{domain}-pack.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")


def content(folder: Path, student: object, **changes: Any) -> dict[str, Any]:
    """Return an experiment's settings, its data written into the folder."""
    domains = changes.pop("domains", ["electronics"])
    for domain in domains:
        if not (folder / f"{domain}.jsonl").is_file():
            write_data(folder, domain)
    known: dict[str, Any] = {
        "name": "small",
        "question": "Does it run?",
        "data": {domain: str(folder / f"{domain}.jsonl") for domain in domains},
        "packs": {domain: str(folder / f"{domain}-pack.jsonl") for domain in domains},
        "settings": {"teacher": "recorded", "student": str(student), "training": TRAINING},
        "grid": [{"utilisation": ["icl"]}],
    }
    return known | changes


def write_file(folder: Path, student: object, **changes: Any) -> Path:
    """Write an experiment's file and its data."""
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(content(folder, student, **changes)), encoding="utf-8")
    return path


def small(folder: Path, student: object = "tiny", **changes: Any) -> Experiment:
    """Return an experiment, its data written into the folder."""
    return read(write_file(folder, student, **changes))


def run_here(monkeypatch: pytest.MonkeyPatch, folder: Path, experiment: Experiment, name: str = "run") -> Results:
    """Run an experiment in this process with an embedder that counts words."""
    use_words(monkeypatch)
    return Run(experiment, folder / name, folder / "cache", lambda text: None).run(locally)


def steady(results: Results) -> dict[str, Any]:
    """Return results without what differs from run to run: seconds and memory."""
    known = results.model_dump(mode="json", exclude={"command"})
    for row in known["rows"]:
        for name in ("seconds", "memory_gb", "tuning_seconds", "distil_seconds", "dollars"):
            row["cost"].pop(name)
        row.pop("cost_reduction")
    return known
