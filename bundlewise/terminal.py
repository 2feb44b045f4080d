"""Output to the user: make text from outside printable in any encoding, on streams that may be closed or full."""

import json
import os
import sys
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TextIO

from bundlewise.errors import BundlewiseError

if TYPE_CHECKING:
    from rich.console import Console

KEPT = frozenset("\n\t")
HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories that control a terminal or are invisible: controls, formats, surrogates, line separators."""


class OutputError(BundlewiseError):
    """Stdout cannot be written, because the disk is full for example."""


def printable(text: str) -> str:
    """Return text with controls, bidi overrides and zero-width characters written as the escapes of JSON.

    Line feeds and tabs stay. JSON stays the same JSON, since only its strings can hold such characters.
    """
    if text.isprintable():
        return text
    return "".join(c if c in KEPT or unicodedata.category(c) not in HIDDEN else _escaped(c) for c in text)


def note(said: str) -> None:
    """Say on stderr what is worth saying: stdout is for data."""
    import click

    click.echo(said, err=True)


def one_line(text: str) -> str:
    """Return printable text on one line, so that a line feed in a title cannot fake a line of the output."""
    return printable(text).replace("\n", "\\n").replace("\t", " ")


def _escaped(character: str) -> str:
    return json.dumps(character)[1:-1]


class PrintableStream:
    """A text stream that accepts any text; characters that its encoding lacks are escaped.

    Args:
        raw: the stream below.
        clean: whether to make text printable; False keeps terminal codes that this program made.
        patient: whether to go on when writing fails, as for stderr, whose text is not the result of the work.
    """

    def __init__(self, raw: TextIO, *, clean: bool = True, patient: bool = False) -> None:
        self.raw, self.clean, self.patient = raw, clean, patient
        self._failure: OSError | None = None

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the stream below."""
        if name == "buffer" and sys.platform == "win32" and self.raw.isatty():
            raise AttributeError("click would write to a Windows console past this stream")
        return getattr(self.raw, name)

    def has_failed(self, error: OSError) -> bool:
        """Say whether an error is the failure of this stream."""
        return error is self._failure

    @property
    def encoding(self) -> str:
        """UTF-8 if text is cleaned here, because every character is accepted; else the encoding of the stream below."""
        return "utf-8" if self.clean else _encoding(self.raw)

    def write(self, text: str) -> int:
        """Write text, and escape what the stream cannot show.

        Raises:
            BrokenPipeError: the reader has closed the pipe.
            OutputError: writing fails for another reason.
        """
        if not isinstance(text, str):
            raise TypeError(f"text is written here, not {type(text).__name__}")
        with self._plainly():
            self.raw.write(_encodable(printable(text) if self.clean else text, _encoding(self.raw)))
        return len(text)

    def flush(self) -> None:
        """Flush the stream below; it raises the errors of `write`."""
        with self._plainly():
            self.raw.flush()

    @contextmanager
    def _plainly(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._failure = error
            discard(self.raw)
        failed = self._failure
        # click ignores a failure while it inspects a stream, so the next call raises it again.
        if self.patient or failed is None:
            return
        if isinstance(failed, BrokenPipeError):
            raise failed
        raise OutputError(f"cannot write to stdout: {failed.strerror}; free space, or send it elsewhere") from failed


def _encoding(raw: TextIO) -> str:
    return getattr(raw, "encoding", None) or "utf-8"


def _encodable(text: str, encoding: str) -> str:
    try:
        text.encode(encoding)
        return text
    except UnicodeEncodeError:
        return "".join(c if _has(encoding, c) else _escaped(c) for c in text)


def _has(encoding: str, character: str) -> bool:
    try:
        return bool(character.encode(encoding))
    except UnicodeEncodeError:
        return False


def discard(raw: TextIO) -> None:
    """Redirect a failed stream to the null device: its buffered text would fail again when Python ends."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, raw.fileno())
        os.close(nowhere)


@contextmanager
def printable_streams() -> Iterator[None]:
    """Make all output to stdout and stderr printable while the block runs; output to a closed stream is dropped."""
    before = sys.stdout, sys.stderr
    _open_descriptors()
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        out: Any = PrintableStream(sys.stdout or nowhere)
        err: Any = PrintableStream(sys.stderr or nowhere, patient=True)
        sys.stdout, sys.stderr = out, err
        try:
            yield
        finally:
            sys.stdout, sys.stderr = before


def _open_descriptors() -> None:
    """Open the descriptors 0, 1 and 2 if they are closed: the next file would get the number, and stray output."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _trusted(stream: TextIO) -> Any:
    """Return a stream that keeps terminal codes."""
    if isinstance(stream, PrintableStream):
        return PrintableStream(stream.raw, clean=False, patient=stream.patient)
    return stream


def styled(*parts: tuple[str, Mapping[str, Any]], err: bool = False, nl: bool = True) -> None:
    """Print texts, each in a style of `click.style`; without a terminal they are printed plain."""
    import click

    whole = "".join(click.style(printable(text), **style) for text, style in parts)
    click.echo(whole, file=_trusted(sys.stderr if err else sys.stdout), nl=nl)


def console() -> "Console":
    """Return a rich console on stderr; pass it only texts from `printable`."""
    from rich.console import Console

    return Console(file=_trusted(sys.stderr))
