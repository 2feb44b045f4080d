"""The doctor says what works, what to do about the rest, and never shows a key."""

import json
import time
from pathlib import Path

import pytest

from bundlewise import cli
from bundlewise.commands import doctor
from bundlewise.commands.doctor import Check
from bundlewise.models.known import KNOWN, KnownModel

KEY = "sk-planted-0123456789abcdef"


@pytest.fixture(autouse=True)
def empty_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the doctor find an empty cache and no key."""
    monkeypatch.setenv("BUNDLEWISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as end:
        cli.main(["doctor", *arguments])
    captured = capsys.readouterr()
    assert captured.err == ""
    assert isinstance(end.value.code, int)
    return end.value.code, captured.out


def test_json_names_every_finding(capsys: pytest.CaptureFixture[str]) -> None:
    code, out = run(capsys, "--json")
    report = json.loads(out)
    checks = {check["name"]: check for check in report["checks"]}
    assert list(checks) == [
        *("Python", "torch", "bfloat16", "memory"),
        *("preset tiny", "preset small", "preset base", "preset large", "disk"),
        *("student smollm2-135m", "embedder minilm", "OPENAI_API_KEY", "Chroma", "extras"),
    ]
    assert checks["Chroma"]["status"] == checks["torch"]["status"] == "ok"
    assert report["ok"] is (code == 0)
    assert all(bool(check["remedy"]) is (check["status"] != "ok") for check in checks.values())


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_key_is_never_shown(
    options: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert doctor.check_key() == [Check("OPENAI_API_KEY", "ok", "set")]
    _, out = run(capsys, *options)
    assert "OPENAI_API_KEY" in out
    assert not any(KEY[start : start + 6] in out for start in range(len(KEY) - 5))


def test_a_failure_exits_with_1_and_prints_its_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    huge = KnownModel("huge", "student", "huge", "1", "0" * 64, "MIT", 10**18, "huge/")
    monkeypatch.setitem(KNOWN, "huge", huge)
    monkeypatch.setattr(doctor, "USUAL", (*doctor.USUAL, huge))
    code, out = run(capsys)
    assert code == 1
    found = f"free in {tmp_path / 'cache'}, 2000000000.7 GB needed"
    assert f"{found}\n      -> free space or set BUNDLEWISE_CACHE" in out


def test_a_model_to_fetch_is_a_warning_with_the_command() -> None:
    assert doctor.check_model(KNOWN["minilm"]) == Check(
        "embedder minilm", "warn", "not fetched yet", "run `bundlewise models fetch minilm`"
    )


@pytest.mark.parametrize(("available", "status"), [(8e9, "ok"), (3e9, "warn"), (1e9, "fail")])
def test_memory_is_judged_by_what_is_free(available: float, status: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import psutil

    memory = psutil.virtual_memory()._replace(available=int(available))
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    assert [check.status for check in doctor.check_memory()] == [status]


def test_the_comparison_of_number_formats_takes_under_a_second() -> None:
    start = time.perf_counter()
    assert doctor.check_bfloat16("cpu").found.startswith("matrix products run ")
    assert time.perf_counter() - start < 2  # twice the promise: test machines are busy


def test_extras_that_are_not_installed_are_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "missing_from", lambda extra: ["x"] if extra in ("ray", "mlflow") else [])
    (found,) = doctor.check_extras()
    assert found.status == "warn" and found.found.startswith("installed: train, experiment, teacher")
    assert found.remedy == 'for more, run `pip install "bundlewise[ray,mlflow]"`'
    monkeypatch.setattr(doctor, "missing_from", lambda extra: [])
    assert doctor.check_extras()[0].status == "ok"
