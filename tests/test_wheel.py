"""The wheel and the sdist: each holds what the tree holds, and the wheel works from an empty folder."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from kb_samples import fill
from test_commands_generate import TITLES
from test_layout import ROOT, SETUPTOOLS, tracked

FOLDERS = {ROOT / folder: name.replace(".", "/") for name, folder in SETUPTOOLS["package-dir"].items()}
BUILD = "import sys; from setuptools import build_meta as b; print(getattr(b, sys.argv[1])(sys.argv[2]))"

PAGE = "import bundlewise.server as s; print(open(s.__path__[0] + '/web/index.html').read())"


def home(path: Path) -> str:
    """Return where a tracked file of a package lies in the wheel."""
    top = next(folder for folder in FOLDERS if folder in path.parents)
    return f"{FOLDERS[top]}/{path.relative_to(top).as_posix()}"


def shipped() -> dict[str, Path]:
    """Return the tracked files of all packages by where they lie in the wheel."""
    inside = [path for path in tracked() if not path.is_symlink() and FOLDERS.keys() & set(path.parents)]
    return {home(path): path for path in inside}


def test_every_file_of_data_is_listed_and_every_pattern_finds_one() -> None:
    """A file that `package-data` of pyproject.toml does not list is missing from the wheel."""
    data = {name for name, path in shipped().items() if path.suffix != ".py"}
    places = {home(folder / "x").removesuffix("/x"): folder for folder in {path.parent for path in shipped().values()}}
    listed = set()
    for package, patterns in SETUPTOOLS["package-data"].items():
        for pattern in patterns:
            found = {home(path) for path in places[package.replace(".", "/")].glob(pattern)} & data
            assert found, f"{package} has no file that is called {pattern}"
            listed |= found
    assert listed == data


def build(what: str, source: Path, target: Path) -> Path:
    """Build with the setuptools that is installed here, without a network."""
    target.mkdir(exist_ok=True)
    done = subprocess.run([sys.executable, "-c", BUILD, what, target], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "deprecat" not in done.stderr.lower()
    return target / done.stdout.splitlines()[-1]


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the tracked files, links as links."""
    folder = tmp_path_factory.mktemp("source")
    for path in tracked():
        copy = folder / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy, follow_symlinks=False)
    return folder


@pytest.fixture(scope="module")
def wheel(source: Path) -> Path:
    return build("build_wheel", source, source / "dist")


@pytest.mark.slow
def test_the_wheel_holds_the_packages_and_nothing_else(wheel: Path) -> None:
    found = {name: content for name, content in contents(wheel).items() if ".dist-info/" not in name}
    expected = {name: path.read_bytes() for name, path in shipped().items()}
    assert found.keys() == expected.keys()
    assert found == expected


@pytest.mark.slow
def test_the_sdist_makes_the_same_wheel_and_holds_no_link_and_no_test(
    source: Path, wheel: Path, tmp_path: Path
) -> None:
    with tarfile.open(build("build_sdist", source, tmp_path / "sdist")) as archive:
        assert {member.type for member in archive} == {tarfile.REGTYPE, tarfile.DIRTYPE}
        assert not [name for name in archive.getnames() if "/tests" in name]
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.glob("bundlewise-*")
    again = build("build_wheel", unpacked, tmp_path / "again")
    assert contents(again) == contents(wheel)


@pytest.mark.slow
def test_the_wheel_works_from_an_empty_folder(wheel: Path, tiny_student: Path, tmp_path: Path) -> None:
    site, empty, kb = tmp_path / "site", tmp_path / "empty", fill(tmp_path / "kb")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    empty.mkdir()

    def run(*arguments: object) -> str:
        command = [sys.executable, *map(str, arguments)]
        environment = {**os.environ, "PYTHONPATH": str(site)}
        done = subprocess.run(command, cwd=empty, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def bundlewise(*arguments: object) -> str:
        return run("-m", "bundlewise", *arguments)

    assert Path(run("-c", "import bundlewise; print(bundlewise.__file__)").strip()) == site / "bundlewise/__init__.py"
    assert "Find and name the bundles of sessions." in bundlewise("--help")
    assert "electronics-001" in bundlewise("data", "show", "electronics")
    assert "3 products" in bundlewise("generate", "--student", tiny_student, "--items", *TITLES)
    assert "Put a mouse and a keyboard together." in bundlewise("kb", "list", kb)
    assert "teacher_propose" in bundlewise("prompts", "list")
    assert "retention" in bundlewise("experiment", "list")
    assert "<!doctype html>" in run("-c", PAGE).lower()
