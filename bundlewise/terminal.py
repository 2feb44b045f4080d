"""The way out to the user: text from outside made printable, in any encoding, to streams that may be closed or full."""

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
"""Unicode categories of what drives a terminal or shows nothing: controls, formats, surrogates, separators of lines."""


class OutputError(BundlewiseError):
    """Stdout takes nothing more: the disk is full, say."""


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
    """Return printable text on one line: a title that holds a line feed forges no line of the output."""
    return printable(text).replace("\n", "\\n").replace("\t", " ")


def _escaped(character: str) -> str:
    return json.dumps(character)[1:-1]


class PrintableStream:
    """A text stream that takes any text: what its encoding lacks is escaped.

    Args:
        raw: the stream that is written to.
        clean: whether to make text printable, or to let through what this program itself made to drive a terminal.
        patient: whether to go on when nothing can be written any more, as suits stderr, which is not the work itself.
    """

    def __init__(self, raw: TextIO, *, clean: bool = True, patient: bool = False) -> None:
        self.raw, self.clean, self.patient = raw, clean, patient
        self._failure: OSError | None = None

    def __getattr__(self, name: str) -> Any:
        """Return what the stream below has."""
        if name == "buffer" and sys.platform == "win32" and self.raw.isatty():
            raise AttributeError("click would write to a Windows console past this stream")
        return getattr(self.raw, name)

    def has_failed(self, error: OSError) -> bool:
        """Say whether an error is the failure of this stream."""
        return error is self._failure

    @property
    def encoding(self) -> str:
        """UTF-8 for text that is cleaned here, as every character is taken; else that of the stream below."""
        return "utf-8" if self.clean else _encoding(self.raw)

    def write(self, text: str) -> int:
        """Write text as far as the stream can show it.

        Raises:
            BrokenPipeError: the reader has gone.
            OutputError: nothing can be written for another reason.
        """
        if not isinstance(text, str):
            raise TypeError(f"text is written here, not {type(text).__name__}")
        with self._plainly():
            self.raw.write(_encodable(printable(text) if self.clean else text, _encoding(self.raw)))
        return len(text)

    def flush(self) -> None:
        """Flush the stream below; raises as `write` does."""
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
        # Who swallows a failure, as click does while it looks what a stream is, meets it again.
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
    """Let a stream that failed lead nowhere: what it still holds would fail again when Python ends."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, raw.fileno())
        os.close(nowhere)


@contextmanager
def printable_streams() -> Iterator[None]:
    """Let all that goes to stdout and stderr while the block runs be printable; a closed stream leads nowhere."""
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
    """Open what was closed of 0, 1 and 2: the next file would get that number, and what a library prints with it."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _trusted(stream: TextIO) -> Any:
    """Return a stream that lets through what drives a terminal."""
    if isinstance(stream, PrintableStream):
        return PrintableStream(stream.raw, clean=False, patient=stream.patient)
    return stream


def styled(*parts: tuple[str, Mapping[str, Any]], err: bool = False, nl: bool = True) -> None:
    """Print texts, each in a style of `click.style`; without a terminal they stand there plain."""
    import click

    whole = "".join(click.style(printable(text), **style) for text, style in parts)
    click.echo(whole, file=_trusted(sys.stderr if err else sys.stdout), nl=nl)


def console() -> "Console":
    """Return a console of rich on stderr; give it only texts that are `printable`."""
    from rich.console import Console

    return Console(file=_trusted(sys.stderr))
