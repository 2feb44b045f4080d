"""Finding secrets in a text, however their characters are spelt and broken, in a time that grows with its length alone.

The text is read once: escapes become the characters that they stand for, and what breaks a text is left out. In that
reading a secret stands as it is, so plain searches find it.
"""

import re
from base64 import b64encode, urlsafe_b64encode
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from html.entities import html5
from itertools import accumulate

Span = tuple[int, int]

_H = "[0-9a-f]"
_ESCAPE = rf"(?:ud[89ab]{_H}{{2}}\\++ud[c-f]{_H}{{2}}|u{_H}{{4}}|x{_H}{{2}}|u\{{{_H}{{1,9}}\}})"
_BLANK = r" \t-\r\x1c-\x1f"
_BREAKS = rf"(?:[{_BLANK}]++|\\++(?:[nrt]|(?!{_ESCAPE}))|<(?:br|wbr) ?/?>|&(?:nbsp|shy|#10|#13);)*+"
"""What may stand between the characters of a secret where a text is wrapped or escaped."""
_SPELT = re.compile(rf"\\+{_ESCAPE}|%.*|&(?!(?:nbsp|shy|#10|#13);).*", re.DOTALL)
_TAKEN = "\0"
"""What no secret of an environment holds."""
_UNSEEN = "\x85\xa0\xad\u1680\u2028\u2029\u202f\u205f\u2060\u3000\ufeff" + "".join(map(chr, range(0x2000, 0x200E)))
_ALIKE = {"\u0130": "i", "\u0131": "i", "\u017f": "s", **dict.fromkeys(_UNSEEN, " ")}
"""Letters that are alike without case, of which `lower` knows nothing or makes two; and what is blank or not seen."""
_NEAR = 100
"""Characters before the rest of a secret among which its first letter is looked for."""
_BACKSLASHES = 9
"""Backslashes before a secret that belong to it: they escape its first character."""
_MOST_KNOWN = 1 << 16


class SecretFinder:
    """Finds some secrets as they are, in hex and in base64, in every spelling of their characters."""

    def __init__(self, secrets: Iterable[str]) -> None:
        """Prepare to look for secrets, none of them empty."""
        known = list(secrets)
        forms = {_folded(form) for secret in known for form in {secret, *_encoded(secret)}}
        self._plain = sorted(forms, key=len, reverse=True)
        self._spelt = _Spelt(frozenset("".join(map(_folded, known))))
        # It begins with one set of characters, so that the places where nothing begins are skipped at once.
        self._cut = re.compile(
            rf"([{_BLANK}\\<&%](?:(?<=[{_BLANK}]){_BREAKS}|(?<=\\)\\*+(?:{_ESCAPE}|[nrt]?{_BREAKS})"
            rf"|(?<=<)(?:br|wbr) ?/?>{_BREAKS}|(?<=&)(?:nbsp|shy|#10|#13);{_BREAKS}|{self._spelt.pattern}))"
        )
        read = {form: "".join(self._read(self._cut.split(form))) for form in forms}
        # What is mostly breaks is looked for as it is alone.
        self._as_read = sorted(
            {each for form, each in read.items() if 2 * len(each) > len(form)}, key=len, reverse=True
        )
        self._lettered = [form for form in self._as_read if form[0] in "nrt"]

    def masked(self, text: str, mask: str) -> str:
        """Return a text with a mask in place of every secret."""
        raw, parts, end = _folded(text), list[str](), 0
        plain, _ = _taken(raw, self._plain)
        for start, stop in sorted([*plain, *self._spelt_places(raw)]):
            if start >= end:
                escaped = text[max(end, start - _BACKSLASHES) : start]
                parts += [text[end : start - len(escaped) + len(escaped.rstrip("\\"))], mask]
            end = max(end, stop)
        return "".join([*parts, text[end:]])

    def _spelt_places(self, raw: str) -> Iterator[Span]:
        """Yield where secrets stand in the reading of a text, as places of the text itself."""
        cut = self._cut.split(raw)
        begins = [0, *accumulate(map(len, cut))]
        spelt, literal = self._read(cut), [*cut]
        literal[1::2] = [piece if spelling else "" for piece, spelling in zip(cut[1::2], spelt[1::2], strict=True)]
        for read in (spelt, literal):
            whole = "".join(read)
            places = _taken(whole, self._as_read)[0]
            tails = [(found, form[0]) for form in self._lettered for found in _taken(whole, [form[1:]])[0]]
            if not (places or tails):
                continue
            begins_read = [0, *accumulate(map(len, read))]
            for start, stop in places:
                yield _place(start, begins_read, begins)[0], _place(stop - 1, begins_read, begins)[1]
            for (start, stop), letter in tails:
                # A backslash before the first letter of a secret looks like a break of the line.
                first = _place(start, begins_read, begins)[0]
                before = raw[max(0, first - _NEAR) : first].rfind("\\" + letter) + max(0, first - _NEAR)
                if raw.startswith("\\" + letter, before) and self._cut.fullmatch(raw, before, first):
                    yield before + 1, _place(stop - 1, begins_read, begins)[1]

    def _read(self, cut: list[str]) -> list[str]:
        """Return the pieces of a text that was cut as they are read, one for each."""
        read = list(cut)
        read[1::2] = map(self._spelt.__getitem__, cut[1::2])
        return read


def _place(place: int, begins_read: list[int], begins: list[int]) -> Span:
    """Return from where to where the character stands in a text that is at a place of its reading."""
    piece = bisect_right(begins_read, place) - 1
    if begins_read[piece + 1] - begins_read[piece] == begins[piece + 1] - begins[piece]:
        start = begins[piece] + place - begins_read[piece]
        return start, start + 1
    return begins[piece], begins[piece + 1]


def _taken(text: str, forms: Iterable[str]) -> tuple[list[Span], str]:
    """Return where forms stand in a text, none within another, and the text without them, of the same length."""
    found = []
    for form in forms:
        start = text.find(form)
        while start >= 0:
            found.append((start, start + len(form)))
            start = text.find(form, start + len(form))
        text = text.replace(form, _TAKEN * len(form))
    return found, text


def _folded(text: str) -> str:
    """Return a text without case and with plain blanks alone, every character in its place."""
    if not text.isascii():
        for letter, alike in _ALIKE.items():
            text = text.replace(letter, alike)
    return text.lower()


def _encoded(secret: str) -> set[str]:
    """Return a secret in hex, and in base64 wherever it begins there: whole, and without what others share."""
    content = secret.encode(errors="surrogateescape")
    found = {content.hex()}
    for encode in (b64encode, urlsafe_b64encode):
        found.add(encode(content).decode().rstrip("="))
        for before in range(3):
            digits = encode(bytes(before) + content).decode().rstrip("=")
            found.add(digits[(0, 2, 3)[before] : -1 if (before + len(content)) % 3 else None])
    return found


class _Spelt(dict[str, str]):
    """What pieces between plain text stand for: breaks for nothing, a spelling for its character if that is known."""

    def __init__(self, characters: frozenset[str]) -> None:
        super().__init__()
        self._characters = characters
        named = {name.lower(): _folded(value) for name, value in html5.items() if name.endswith(";")}
        self._names = {name: value for name, value in named.items() if value in characters}
        octets = (
            rf"(?<=%)(?:25)*[89a-f]{_H}(?:%(?:25)*[89a-f]{_H})*+|"
            if any(ord(each) > 127 for each in characters)
            else ""
        )
        self.pattern = rf"{octets}(?<=%)(?:25)*[0-7]{_H}|(?<=&)(?:amp;)*(?:{self._html()})"

    def _html(self) -> str:
        """Return a pattern of what follows the ampersand, where the longest number comes first."""
        numbers = {ord(case) for each in self._characters for case in (each, each.upper()[:1])}
        decimal = "|".join(map(str, sorted(numbers, reverse=True)))
        hexadecimal = "|".join(f"{number:x}" for number in sorted(numbers, reverse=True))
        return "|".join([*map(re.escape, self._names), f"#x0*(?:{hexadecimal});?", f"#0*(?:{decimal});?"])

    def __missing__(self, spelling: str) -> str:
        found = ""
        if _SPELT.fullmatch(spelling):
            found = _folded(self._character(spelling))
            found = found if found and self._characters.issuperset(found) else spelling
        if len(self) < _MOST_KNOWN:
            self[spelling] = found
        return found

    def _character(self, spelling: str) -> str:
        if spelling[0] == "%":
            return bytes.fromhex(re.sub("%(?:25)*(?=[0-9a-f]{2})", "", spelling)).decode(errors="replace")
        if spelling[0] == "\\":
            return _escaped(spelling.replace("\\", ""))
        name = spelling[1:]
        while name.startswith("amp;") and name != "amp;":
            name = name[4:]
        if name[0] != "#":
            return self._names[name]
        return chr(int(name[2:].rstrip(";"), 16) if name[1] == "x" else int(name[1:].rstrip(";")))


def _escaped(units: str) -> str:
    """Return the character of an escape of JSON or of a program, without its backslashes."""
    if len(units) == 10 and units[1] != "{":
        return bytes.fromhex(units.replace("u", "")).decode("utf-16-be", "replace")
    number = int(units[1:].strip("{}"), 16)
    return chr(number) if number <= 0x10FFFF else ""
