"""Fetch the official datasets of Sun et al. (SIGIR 2024), unpickle them safely, and write them as JSON lines.

The public repository `BundleRec/bundle_generation` (MIT licence) keeps each domain as NumPy-pickled
dicts. A pickle can run any code. So we read these with an unpickler that only knows stand-ins for the three
names that NumPy's arrays refer to.
"""

import hashlib
import http.client
import pickle
import urllib.request
from pathlib import Path
from typing import IO, Any, TypeVar

import click
from pydantic import ConfigDict, TypeAdapter, ValidationError

from bundlewise import settings
from bundlewise.data.session_faults import problems
from bundlewise.data.sessions import write_sessions
from bundlewise.domain import Bundle, Item, Session, Split
from bundlewise.errors import DataError, UsageError
from bundlewise.files import sha256_file, write_bytes
from bundlewise.progress import progress

T = TypeVar("T")
COMMIT = "604d9c6d774dd057bee1ece3b68e8c406ac97e9d"
BASE_URL = f"https://raw.githubusercontent.com/BundleRec/bundle_generation/{COMMIT}/data"
DOMAINS = ("electronic", "clothing", "food")
FILES = (
    "training_set.npy",
    "test_set.npy",
    "session_items.npy",
    "session_bundles_deduplication.npy",
    "item_titles.npy",
)
SHA256 = {
    "electronic/training_set.npy": "9aae609bea0d7d8857966b3cf894d105d15a78acfa623d896c325d9856086963",
    "electronic/test_set.npy": "9f0d1452a955474739ddd795dce7ef245d9ffcce24f770af0c3b2428dbfd3730",
    "electronic/session_items.npy": "7650cd6b21bfb8f91a0d2c98e68ed65d76af304cf8bfe0a431b8d447da129b73",
    "electronic/session_bundles_deduplication.npy": (
        "af30851a677a133011d3a06029afe5a2bde09f7952e3c05cea3dcb2b970136e5"
    ),
    "electronic/item_titles.npy": "3cde279a117b41b32900d3a96906aeb5da99b9db30a71a50a76cc6b34bdfd528",
}
"""The known checksums; those of clothing and food are unknown, so fetching these prints theirs with a note."""
SIZE_LIMIT = 20_000_000
"""The most bytes of a file; the largest known file has half a million."""
TIMEOUT = 30.0
"""Seconds without data after which a download fails."""
REMEDY = "run the same command again, complete files are kept; or give a folder with --from"
OTHER = "get it again from the official repository"
ADMITTED = {"numpy.core.multiarray._reconstruct", "numpy.ndarray", "numpy.dtype"}
"""The names that a pickled array of plain Python values refers to."""


def fetch(domain: str, destination: Path, source: Path | None = None, base_url: str = BASE_URL) -> list[Session]:
    """Write a domain with its three splits as JSON lines, from a folder or from the network; return its sessions.

    Raises:
        UsageError: the domain is unknown.
        DataError: a file is missing, incomplete, changed or invalid; nothing is written.
    """
    if domain not in DOMAINS:
        raise UsageError(f"no official domain {domain!r}; choose from {', '.join(DOMAINS)}")
    folder = source or download(domain, base_url)
    verify(folder, domain)
    sessions = convert(folder, domain)
    write_sessions(destination, sessions)
    return sessions


def download(domain: str, base_url: str = BASE_URL) -> Path:
    """Download the files that the cache lacks, and return their folder."""
    folder = settings.cache_folder() / "official" / domain
    with progress(f"fetch {domain}", len(FILES)) as advance:
        for name in FILES:
            expected = SHA256.get(f"{domain}/{name}")
            target = folder / name
            if not target.exists() or expected not in (None, sha256_file(target)):
                url = f"{base_url}/{domain}/{name}"
                content = _get(url)
                _compare(hashlib.sha256(content).hexdigest(), expected, url)
                write_bytes(target, content)
            advance()
    return folder


def verify(folder: Path, domain: str) -> None:
    """Compare every file with its known checksum; note on stderr the files without a known one."""
    for name in FILES:
        path = folder / name
        if not path.is_file():
            raise DataError(f"{path} is missing; the folder must hold {', '.join(FILES)}")
        digest = sha256_file(path)
        expected = SHA256.get(f"{domain}/{name}")
        if expected is None:
            click.echo(f"not verified, no checksum is known: {domain}/{name} has SHA-256 {digest}", err=True)
        _compare(digest, expected, str(path))


def convert(folder: Path, domain: str) -> list[Session]:
    """Return the sessions of a folder of official files in their order.

    Sessions in neither the training nor the test set are the validation split. HTML entities and runs of blanks
    in titles and intents are cleaned, items of bundles are in session order, bundles of one product are dropped.
    """
    titles = _table(folder / "item_titles.npy", dict[str, str])
    bundles = _table(folder / "session_bundles_deduplication.npy", dict[int, list[tuple[str, str]]])
    training = _table(folder / "training_set.npy", dict[int, str])
    test = _table(folder / "test_set.npy", dict[int, str])
    items = _table(folder / "session_items.npy", dict[int, str])
    sessions = []
    for number, joined in items.items():
        split: Split = "test" if number in test else "train" if number in training else "validation"
        ids = joined.split(",")
        try:
            session = Session(
                session_id=f"{domain}-{number}",
                domain=domain,
                split=split,
                items=tuple(Item(id=item_id, title=titles[item_id]) for item_id in ids),
                bundles=_bundles(bundles[number], ids),
            )
        except KeyError as error:
            raise DataError(f"{folder}: session {number} needs {error}, which is missing") from error
        for problem in problems(session):
            raise DataError(f"{folder}: session {number}: {problem}")
        sessions.append(session)
    return sessions


def _bundles(annotated: list[tuple[str, str]], ids: list[str]) -> tuple[Bundle, ...]:
    """Return (intent, joined item ids) pairs as bundles in session order."""
    bundles = []
    for intent, joined in annotated:
        members = joined.split(",")
        bundles.append(Bundle(item_ids=tuple(i for i in ids if i in members), intent=intent))
    return tuple(bundle for bundle in bundles if len(bundle.item_ids) > 1)


class StandIn:
    """Keeps the pickled state of an array or dtype, so that even NumPy's code does not run on a foreign pickle."""

    def __init__(self, *_: object) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class ArrayUnpickler(pickle.Unpickler):
    """Rebuilds plain values and the state of arrays, and refuses every other class or function."""

    def find_class(self, module: str, name: str) -> type[StandIn]:
        """Return the stand-in for an admitted name; NumPy 2 writes `numpy._core` for `numpy.core`."""
        if f"{module.replace('numpy._core', 'numpy.core')}.{name}" not in ADMITTED:
            raise pickle.UnpicklingError(f"it refers to {module}.{name}, which no dataset needs")
        return StandIn


def _table(path: Path, kind: type[T]) -> T:
    """Read the one dict of an .npy file and check the types of its keys and values."""
    try:
        with path.open("rb") as stream:
            value = _unpickle(stream)
        return TypeAdapter(kind, config=ConfigDict(strict=True)).validate_python(value)
    except ValidationError as error:
        raise DataError(f"{path} is refused: it must hold {kind}; {OTHER}") from error
    except (pickle.UnpicklingError, ValueError, TypeError, EOFError, LookupError, AttributeError) as error:
        raise DataError(f"{path} is refused: {error}; {OTHER}") from error


def _unpickle(stream: IO[bytes]) -> Any:
    """Return the object of a 0-dimensional object array."""
    from numpy.lib import format as npy

    if npy.read_magic(stream) != (1, 0):
        raise ValueError("it is not in version 1.0 of NumPy's format")
    shape, _, dtype = npy.read_array_header_1_0(stream)
    if shape != () or not dtype.hasobject:
        raise ValueError(f"it holds an array of shape {shape} and type {dtype}, not one dict")
    *_, values = ArrayUnpickler(stream).load().state
    return values[0]


def _get(url: str) -> bytes:
    """Return the content of a URL.

    Raises:
        DataError: the content does not arrive completely, or is too large.
    """
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as response:
            content: bytes = response.read(SIZE_LIMIT + 1)
            announced = int(response.headers.get("Content-Length") or len(content))
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise DataError(f"cannot fetch {url}: {error}; {REMEDY}") from error
    if len(content) > SIZE_LIMIT:
        raise DataError(f"{url} is larger than {SIZE_LIMIT:,} bytes; it cannot be the official file")
    if len(content) < announced:
        raise DataError(f"{url} broke off after {len(content)} of {announced} bytes; {REMEDY}")
    return content


def _compare(digest: str, expected: str | None, origin: str) -> None:
    if expected not in (None, digest):
        raise DataError(f"{origin} has SHA-256 {digest}, expected {expected}; {OTHER}")
