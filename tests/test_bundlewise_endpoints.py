"""Keys are kept out of what is written, in every form that a server may echo them in."""

from base64 import b64encode, urlsafe_b64encode
from time import process_time
from urllib.parse import quote

import pytest

from bundlewise.cli import main
from bundlewise.endpoints import in_short, without_key

KEY = "sk-a/b+c=d?e-0123456789"
FORMS = {
    "plain": KEY,
    "address": quote(KEY, safe=""),
    "JSON": KEY.replace("/", "\\/"),
    "base64": b64encode(KEY.encode()).decode(),
    "base64 of an address": urlsafe_b64encode(KEY.encode()).decode(),
    "header": f"Bearer {KEY}",
    "base64 of a header": b64encode(f"Bearer {KEY}".encode()).decode(),
    "hex": KEY.encode().hex(),
    "escapes of JSON": KEY.replace("+", "\\u002b").replace("a", "\\U0061").replace("/", "\\/"),
    "escapes within a text": KEY.replace("+", "\\\\u002B"),
    "all escapes": "".join(f"\\u{ord(c):04x}" for c in KEY),
    "escapes of a program": KEY.replace("=", "\\x3d").replace("?", "\\u{3f}"),
    "HTML": KEY.replace("+", "&#43;").replace("/", "&#x2F;").replace("=", "&equals;").replace("?", "&amp;quest;"),
    "twice an address": quote(quote(KEY, safe="")),
    "broken": KEY[:9] + "\n  " + KEY[9:15] + "\\n" + KEY[15:],
    "spaced": " ".join(KEY),
    "upper case": KEY.upper(),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "OPENAI_WEBHOOK_SECRET"])
def test_every_key_of_the_client_is_masked_in_every_form(monkeypatch: pytest.MonkeyPatch, name: str, form: str) -> None:
    monkeypatch.setenv(name, KEY)
    said = without_key(f"no such key: {form}, sorry")
    assert "***" in said and form.rstrip("=") not in said and said.endswith(", sorry")


def test_the_password_of_a_proxy_is_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://me:pass-0123456789@proxy.test:3128")
    assert without_key("407 for me:pass-0123456789") == "407 for me:***"


@pytest.mark.parametrize("key", ["", "none", "EMPTY"])
def test_a_key_that_is_a_usual_word_masks_nothing(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    assert without_key("none is EMPTY") == "none is EMPTY"


def test_a_message_is_masked_before_it_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert "sk-a" not in in_short("x" * 190 + " " + KEY)
    assert "sk-a" not in in_short(" " * 50_000 + KEY)
    assert "sk-a" not in in_short((KEY + " ") * 5_000), "however much of it is masked"


def test_a_traceback_holds_no_key(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)

    def fail(*_: object, **__: object) -> None:
        try:
            raise ValueError(f"the server said {KEY}")
        except ValueError as error:
            raise OSError("it failed") from error

    monkeypatch.setattr("bundlewise.cli.root.main", fail)
    with pytest.raises(SystemExit):
        main(["--debug", "doctor"])
    said = capsys.readouterr().err
    assert "Traceback" in said and "the server said ***" in said and KEY not in said


@pytest.mark.parametrize("unit", ["\\", "s", "s ", "s\\n", "&amp;", "%25", KEY[:-1] + "!"])
def test_a_long_text_is_masked_in_a_time_that_grows_with_its_length(
    monkeypatch: pytest.MonkeyPatch, unit: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert without_key("s") == "s"
    start = process_time()
    without_key(unit * (1_000_000 // len(unit)))
    assert process_time() - start < 8
