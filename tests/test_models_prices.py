"""What tokens cost comes from a table that anyone may edit; what is not in it is unknown, never free."""

import tomllib
from importlib.resources import files
from pathlib import Path

import pytest

from bundlewise.errors import DataError, UsageError
from bundlewise.models.prices import Price, in_dollars, price_of

SHIPPED = tomllib.loads(files("bundlewise.models").joinpath("prices.toml").read_text("utf-8"))["models"]


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BUNDLEWISE_PRICES", raising=False)


def table(path: Path, price: float, model: str = "gpt-4.1") -> Path:
    path.write_text(f'[models]\n"{model}" = {{ input = {price}, output = 8 }}\n')
    return path


@pytest.mark.parametrize("model", SHIPPED)
def test_every_price_that_ships_is_above_nothing(model: str) -> None:
    price = price_of(model)
    assert price == Price(**SHIPPED[model])
    assert price.input > 0 and price.output > 0


@pytest.mark.parametrize("model", ["unheard-of", "", "GPT-4.1", "gpt-4.1-", "models"])
def test_a_model_that_is_not_in_the_table_has_no_price(model: str) -> None:
    assert price_of(model) is None


def test_a_given_table_goes_before_the_one_in_the_environment_and_that_before_the_one_that_ships(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, named = table(tmp_path / "given.toml", 1.0), table(tmp_path / "named.toml", 3.0)
    assert price_of("gpt-4.1") == Price(**SHIPPED["gpt-4.1"])
    monkeypatch.setenv("BUNDLEWISE_PRICES", str(named))
    assert price_of("gpt-4.1") == Price(input=3.0, output=8.0)
    assert price_of("gpt-4.1", given) == Price(input=1.0, output=8.0)
    assert price_of("gpt-4o") is None, "a table stands alone"
    monkeypatch.setenv("BUNDLEWISE_PRICES", "")
    assert price_of("gpt-4.1") == Price(**SHIPPED["gpt-4.1"])


def test_a_model_of_ones_own_may_cost_nothing(tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    path.write_text("[models]\nlab = { input = 0, output = 0 }\n")
    assert price_of("lab", path) == Price(input=0.0, output=0.0)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("not a table", "Expected '=' after a key"),
        ("", "models: Field required"),
        ("[prices]\n", "models: Field required"),
        ("[models]\n[more]\n", "more: Extra inputs are not permitted"),
        ("[models]\nlab = 3\n", "models lab: Input should be a valid dictionary"),
        ("[models]\nlab = { input = 1.0 }\n", "models lab output: Field required"),
        (
            "[models]\nlab = { input = 1.0, output = -1.0 }\n",
            "models lab output: Input should be greater than or equal",
        ),
        ("[models]\nlab = { input = nan, output = 1.0 }\n", "models lab input: Input should be a finite number"),
        ("[models]\nlab = { input = 1.0, output = inf }\n", "models lab output: Input should be a finite number"),
        ('[models]\nlab = { input = "two", output = 1.0 }\n', "models lab input: Input should be a valid number"),
        (
            "[models]\nlab = { input = 1, output = 1, cached = 1 }\n",
            "models lab cached: Extra inputs are not permitted",
        ),
        ("[models]\nlab = { input = 1, output = 1 }\nlab = {}\n", "Cannot overwrite a value"),
        ("[models]\nlab = \xff", "codec can't decode byte"),
    ],
)
def test_a_damaged_table_is_named_with_what_is_wrong_and_a_remedy(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "prices.toml"
    path.write_bytes(text.encode("latin-1"))
    remedy = r'write lines like "name" = { input = 2\.0, output = 8\.0 } under \[models\]'
    with pytest.raises(DataError, match=rf"prices\.toml is not a table of prices \(.*{reason}.*\); {remedy}"):
        price_of("lab", path)


@pytest.mark.parametrize("place", ["missing.toml", "."], ids=["missing", "a folder"])
@pytest.mark.parametrize("way", ["given", "named"])
def test_a_table_that_is_not_there_is_a_usage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, way: str
) -> None:
    path = tmp_path / place
    monkeypatch.setenv("BUNDLEWISE_PRICES", str(path if way == "named" else table(tmp_path / "named.toml", 1.0)))
    with pytest.raises(UsageError, match=f"no file {path}; check --prices and BUNDLEWISE_PRICES"):
        price_of("lab", path if way == "given" else None)


@pytest.mark.parametrize(
    ("read", "written", "cost"), [(0, 0, 0.0), (1_000_000, 0, 2.0), (0, 500_000, 4.0), (1_500, 250, 0.005)]
)
def test_tokens_read_and_written_are_paid_by_the_million(read: int, written: int, cost: float) -> None:
    assert Price(input=2.0, output=8.0).cost(read, written) == pytest.approx(cost)


@pytest.mark.parametrize(
    ("cost", "text"),
    [
        (None, "unknown"),
        (0.0, "$0.0000"),
        (0.00123, "$0.0012"),
        (0.5, "$0.5000"),
        (1.0, "$1.00"),
        (12345.678, "$12,345.68"),
    ],
)
def test_money_is_told_finely_while_it_is_little_and_an_unknown_price_stays_unknown(cost: float, text: str) -> None:
    assert in_dollars(cost) == text
