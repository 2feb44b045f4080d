"""The assistant as a shop assistant: pieces, questions asked back, comparison, order, replacement, and currency."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from assistant_samples import SHOP, WordStudent, cards, said
from samples import BagOfWords

from bundlewise.agents.assistant.conversation import Desk, Event
from bundlewise.agents.assistant.phrases import Phrases
from bundlewise.errors import BundlewiseError, DataError
from bundlewise.knowledge_base.embedding import Embedder
from bundlewise.pipeline.assistant import Assistant
from bundlewise.pipeline.product_search import ProductFinder

Say = Callable[..., list[Event]]


@pytest.fixture(params=["embedder", "no embedder"])
def assistant(request: pytest.FixtureRequest) -> Iterator[Assistant]:
    embedder = BagOfWords() if request.param == "embedder" else None
    with Assistant(WordStudent(), ProductFinder(SHOP, embedder, "EUR").index()) as found:
        yield found


@pytest.fixture
def say(assistant: Assistant) -> Say:
    def call(*messages: str) -> list[Event]:
        return [list(assistant.send("t", message)) for message in messages][-1]

    return call


def cart(assistant: Assistant) -> list[str]:
    return [item.id for item in assistant.view("t").cart.items]


def shown(events: list[Event]) -> list[str]:
    return [item.id for card in cards(events, "products") for item in card.products]


def test_quantities_are_read_before_places(say: Say, assistant: Assistant) -> None:
    say("find folio case", "add 2 of the first")
    card = assistant.view("t").cart
    assert cart(assistant) == ["c1"] and card.quantities == {"c1": 2} and card.total == 55.98


def test_the_pieces_of_a_line_are_changed_and_undone(say: Say, assistant: Assistant) -> None:
    say("find batteries", "add 1")
    assert "The cart has 3 of AA Alkaline Batteries" in said(say("actually make that 3"))
    assert "46.47 EUR together" in said(say("show cart"))
    say("add two more", "remove one of them")
    assert assistant.view("t").cart.quantities == {"b1": 4}
    say("undo")
    assert assistant.view("t").cart.quantities == {"b1": 5}
    say("change the quantity to 0")
    assert cart(assistant) == []


def test_both_is_two_and_else_asked_back(say: Say, assistant: Assistant) -> None:
    assert "Which two?" in said(say("find glide 11", "add both")) and cart(assistant) == []
    say("compare 1 and 3", "add both")
    assert len(cart(assistant)) == 2
    say("clear", "find folio case", "add both")
    assert cart(assistant) == ["c1", "c2"]


def test_an_exact_title_wins(say: Say, assistant: Assistant) -> None:
    assert "Added Blue Folio Case for Glide 11" in said(say("add Blue Folio Case for Glide 11"))
    say("I want padmoor glide 11 tablet, slate grey!")
    assert cart(assistant) == ["c2", "t1"]


@pytest.mark.parametrize("asked", ["remove the keybaord", "remove teh mous", "remove the receiver pen"])
def test_a_removal_found_by_a_slip_or_half_a_word_is_asked_back(say: Say, assistant: Assistant, asked: str) -> None:
    say("find wireless mouse", "add 1", "find mechanical keyboard", "add 1")
    held = cart(assistant)
    text = said(say(asked))
    assert cart(assistant) == held and ("Do you mean" in text or "No product" in text or "Several" in text)


def test_yes_and_no_answer_the_question(say: Say, assistant: Assistant) -> None:
    say("find wireless mouse", "add 1", "remove the mous")
    say("no")
    assert cart(assistant) == ["m1"]
    say("remove the mous", "yes please")
    assert cart(assistant) == []
    say("yes")
    assert cart(assistant) == []


def test_a_wish_that_a_question_postponed_is_kept(say: Say, assistant: Assistant) -> None:
    say("\n".join(item.title for item in SHOP[:4]))
    text = said(say("drop the folio case and bundle the rest"))
    assert "Several fit" in text and "After that I go on with the rest" in text
    events = say("the red one")
    assert "c1" not in cart(assistant) and cards(events, "bundles")


def test_several_products_are_asked_for_one_after_the_other(say: Say, assistant: Assistant) -> None:
    events = say("add a folio case and a mouse")
    assert shown(events)[:2] == ["c1", "c2"] and cart(assistant) == []
    say("2")
    assert cart(assistant) == ["c2", "m1"]


def test_superlatives_are_of_what_is_shown_or_in_the_cart(say: Say, assistant: Assistant) -> None:
    say("find glide 11", "add the cheapest one")
    assert cart(assistant) == ["g1"]
    say("add the two most expensive ones")
    assert set(cart(assistant)) == {"g1", "t1", "p1"}
    say("remove the dearest")
    assert set(cart(assistant)) == {"g1", "p1"}
    assert "11.95 EUR" in said(say("what is the cheapest thing in my cart?"))
    say("remove everything over 20")
    assert cart(assistant) == ["g1"]


def test_products_are_compared_described_and_sorted(say: Say) -> None:
    text = said(say("find folio case", "what's the difference between 1 and 2?"))
    assert "Blue Folio Case for Glide 11 is cheaper by 3.00 EUR" in text and "Only the first says red" in text
    assert "It costs 24.99 EUR" in said(say("tell me more about the second one"))
    assert shown(say("sort by price")) == ["c2", "c1"]
    assert shown(say("most expensive first")) == ["c1", "c2"]


def test_a_product_is_swapped_for_a_cheaper_one_or_for_one_that_is_shown(say: Say, assistant: Assistant) -> None:
    say("find folio case", "add 1", "swap the case for a cheaper one")
    assert cart(assistant) == ["c2"]
    assert "I know no cheaper case" in said(say("swap it for a cheaper one"))
    say("find pen", "swap the case for number 1")
    assert cart(assistant) == ["p1"]


def test_which_one_to_swap_is_asked_back(say: Say, assistant: Assistant) -> None:
    say("find folio case", "add 1", "find pen", "add 1")
    assert "Several fit" in said(say("swap the glide 11 for a cheaper one"))
    say("the red one")
    assert cart(assistant) == ["c2", "p1"]


@pytest.mark.parametrize("message", ["add the 500 cheapest", "add 999999 of the first", "the 0 cheapest", "add 0 of 1"])
def test_any_number_gets_an_answer(say: Say, message: str) -> None:
    assert said(say("find glide 11", message))


def test_what_was_taken_out_is_put_back(say: Say, assistant: Assistant) -> None:
    say("find mouse", "add 1", "remove it", "hmm put it back")
    assert cart(assistant) == ["m1"]


def test_more_is_shown_until_there_is_no_more(say: Say, assistant: Assistant) -> None:
    assert "There is no list yet" in said(say("show more"))
    first = shown(say("everything over 1"))
    assert len(first) == 8 and "That is all" in said(say("show more"))


def test_what_cannot_be_done_is_said_with_what_can(say: Say) -> None:
    for message, told in [
        ("do you ship to germany?", "the shop's part"),
        ("does it have good reviews?", "no reviews"),
        ("checkout", "cart is empty"),
    ]:
        assert told in said(say(message))
    assert cards(say("find mouse", "do you ship to germany?"), "chips")[0].chips[0] == "add 1"


def test_in_doubt_it_looks_for_what_the_sentence_names(say: Say) -> None:
    events = say("hm whatever the mouse thing was called that my uncle mentioned yesterday evening")
    assert "I am not sure what you mean, so I looked for 'mouse" in said(events) and "m1" in shown(events)
    assert "add 1" in cards(events, "chips")[0].chips


@pytest.mark.parametrize("message", ["ich suche eine Maus", "мне нужна мышь", "\U0001f600\U0001f600", "أريد ماوس"])
def test_what_is_not_english_gets_a_plain_word(say: Say, assistant: Assistant, message: str) -> None:
    assert "English" in said(say(message)) or "did not understand" in said(say(message))
    assert cart(assistant) == []


def test_a_desk_of_before_is_still_read() -> None:
    kept = {"cart": [SHOP[0].model_dump()], "found": [SHOP[1].model_dump()], "query": "case"}
    desk = Desk.model_validate(kept)
    assert desk.pieces(desk.cart[0]) == 1 and desk.card().total == 219.99 and desk.question is None


def test_a_question_outlives_the_program(tmp_path: Path) -> None:
    place = tmp_path / "threads.sqlite"
    finder = ProductFinder(SHOP, BagOfWords())
    with Assistant(WordStudent(), finder, place) as first:
        list(first.send("t", "\n".join(item.title for item in SHOP[:4])))
        list(first.send("t", "add 2 of Active Stylus Pen for Glide 11, White"))
        list(first.send("t", "drop the folio case and bundle the rest"))
    with Assistant(WordStudent(), finder, place) as second:
        assert cards(second.send("t", "the red one"), "bundles")
        assert "c1" not in cart(second)


def test_without_an_embedder_the_assistant_says_so_and_works(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(spec: str = "minilm") -> Embedder:
        raise BundlewiseError("no network")

    monkeypatch.setattr(Embedder, "named", staticmethod(fails))
    with Assistant.open(WordStudent(), SHOP) as found:
        assert "no embedder (no network)" in capsys.readouterr().err
        assert [item.id for item in cards(found.send("t", "got any mouse?"), "products")[0].products] == ["m1"]


def test_a_shop_s_own_phrases_and_currency_are_used(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("acts: {search: [suche X]}\nanswers: {versand: {reply: Wir liefern., say: [liefert ihr]}}\n")
    with Assistant.open(WordStudent(), SHOP, embedder=BagOfWords(), phrases=own, currency="CHF") as found:
        assert "Wir liefern." in said(found.send("t", "liefert ihr"))
        assert [item.id for item in cards(found.send("t", "suche mouse"), "products")[0].products] == ["m1"]
        assert cards(found.send("t", "suche mouse"), "products")[0].currency == "CHF"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("acts: [", "not YAML"),
        ("acts: {fly: [fly away]}", r"acts\.fly"),
        ("acts: {search: 3}", r"acts\.search"),
        ("needs: {}", "acts: Field required"),
    ],
)
def test_a_fault_in_phrases_is_told_with_its_place(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(DataError, match=told):
        Phrases.read(path)
    with pytest.raises(DataError, match="cannot be read"):
        Phrases.read(tmp_path / "missing.yaml")
