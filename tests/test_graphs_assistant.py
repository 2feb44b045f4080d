"""The assistant graph, a conversation at a time: cart, bundles, wishes, reasons, and what goes with it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from assistant_samples import SHOP, WordStudent, cards, said
from samples import BagOfWords

from bundlewise.agents.assistant.conversation import Action, Event
from bundlewise.agents.student.limits import Limits
from bundlewise.graphs.replay import Replay
from bundlewise.pipeline.assistant import Assistant, ThreadView
from bundlewise.pipeline.product_search import ProductFinder

Say = Callable[..., list[Event]]


@pytest.fixture
def student() -> WordStudent:
    return WordStudent()


@pytest.fixture
def assistant(student: WordStudent) -> Iterator[Assistant]:
    with Assistant(student, ProductFinder(SHOP, BagOfWords())) as found:
        yield found


@pytest.fixture
def say(assistant: Assistant) -> Say:
    def call(*messages: str) -> list[Event]:
        events: list[Event] = []
        for message in messages:
            events = list(assistant.send("t", message))
            assert events[-1].type == "done" and said(events)
        return events

    return call


def view(assistant: Assistant) -> ThreadView:
    return assistant.view("t")


def cart(assistant: Assistant) -> list[str]:
    return [item.id for item in view(assistant).cart.items]


def test_products_are_found_added_and_bundled(say: Say, assistant: Assistant) -> None:
    (found,) = cards(say("find glide 11 tablet"), "products")
    assert found.products[0].id == "t1"
    say("add 1", "find red folio case", "add the first one", "find batteries", "add the batteries")
    assert cart(assistant) == ["t1", "c1", "b1"]
    events = say("bundle this")
    (card,) = cards(events, "bundles")
    assert [offer.ids for offer in card.bundles] == [("t1", "c1")] and card.bundles == view(assistant).bundles
    assert card.bundles[0].total == 247.98 and card.bundles[0].confidence == pytest.approx(0.9526, abs=1e-3)
    assert "one bundle among 3 products, 1 left on its own" in said(events)


def test_a_pasted_list_is_the_catalogue_s_products_or_the_shopper_s_own(say: Say, assistant: Assistant) -> None:
    say("1. Red Folio Case for Glide 11\n2. padmoor glide 11 tablet, slate grey\n3. My own lamp\nbundle these")
    ids = cart(assistant)
    assert ids[:2] == ["c1", "t1"] and ids[2].startswith("own-")
    assert [offer.ids for offer in view(assistant).bundles] == [("c1", "t1")]


def test_a_pasted_title_that_is_too_long_is_refused_with_its_length(say: Say, assistant: Assistant) -> None:
    told = said(say(f"1. Red Folio Case for Glide 11\n2. Lamp {'x' * 996}\n3. My own lamp"))
    assert "title has 1,001 characters; shorten it to 1,000 or fewer" in told
    assert cart(assistant) == []


def test_a_long_search_says_how_many_words_count(say: Say) -> None:
    assert "for the first 40 words of your text" in said(
        say("find red folio case " + " ".join(f"w{n}" for n in range(40)))
    )


@pytest.fixture
def full(say: Say) -> None:
    say("\n".join(item.title for item in SHOP[:6]), "bundle this")


@pytest.mark.usefixtures("full")
def test_only_two_items_holds_until_it_is_dropped(say: Say, assistant: Assistant, student: WordStudent) -> None:
    assert [len(offer.items) for offer in view(assistant).bundles] == [5]
    say("only two items")
    assert [len(offer.items) for offer in view(assistant).bundles] == [2, 2]
    say("find mouse", "add 1", "bundle")
    assert {len(offer.items) for offer in view(assistant).bundles} == {2} and student.asked[-1][1] == Limits(most=2)
    say("no limits")
    assert view(assistant).cart.limits == Limits() and [len(o.items) for o in view(assistant).bundles] == [5]


@pytest.mark.usefixtures("full")
def test_something_under_50_limits_each_bundle_s_total(say: Say, assistant: Assistant) -> None:
    text = said(say("something under 50"))
    assert "a total of at most 50.00" in text
    assert view(assistant).bundles and all(offer.total and offer.total <= 50 for offer in view(assistant).bundles)


@pytest.mark.usefixtures("full")
def test_limits_that_nothing_keeps_to_are_told_with_the_way_out(say: Say, assistant: Assistant) -> None:
    events = say("bundles under 5")
    assert "No bundle fits the limits (a total of at most 5.00); say no limits" in said(events)
    assert view(assistant).bundles == ()


@pytest.mark.usefixtures("full")
def test_without_the_red_one_leaves_it_in_the_cart(say: Say, assistant: Assistant) -> None:
    say("without the red one")
    assert "c1" in cart(assistant) and view(assistant).cart.excluded == ("c1",)
    assert all("c1" not in offer.ids for offer in view(assistant).bundles) and view(assistant).bundles
    say("with the red one again")
    assert view(assistant).cart.excluded == () and "c1" in view(assistant).bundles[0].ids


@pytest.mark.usefixtures("full")
def test_remove_the_red_one_takes_it_out_and_undo_brings_it_back(say: Say, assistant: Assistant) -> None:
    say("remove the red one")
    assert "c1" not in cart(assistant) and view(assistant).bundles == ()
    say("undo")
    assert "c1" in cart(assistant) and [len(o.items) for o in view(assistant).bundles] == [5]
    say("clear", "show cart", "help", "undo")
    assert len(cart(assistant)) == 6


def test_undo_goes_back_twenty_changes_a_step_at_a_time(say: Say, assistant: Assistant) -> None:
    for number in range(25):
        list(assistant.act("t", Action(name="paste", titles=(f"thing {number}",))))
        say("show cart")
    say("undo and undo")
    assert len(cart(assistant)) == 23
    for left in range(22, 4, -1):
        say("undo")
        assert len(cart(assistant)) == left
    assert "nothing to undo" in said(say("undo")) and len(cart(assistant)) == 5


@pytest.mark.usefixtures("full")
def test_limits_of_a_price_say_how_many_prices_are_not_known(say: Say) -> None:
    assert "known price" not in said(say("bundles under 5"))
    list_ = "Keyboard for Glide 11 of mine\nKeyboard cover for Glide 11 of mine"
    say("clear", list_)
    found = said(say("bundles under 50"))
    assert "No bundle fits the limits (a total of at most 50.00)" in found
    assert "2 products have no known price and cannot be counted." in found
    say("undo", "add the tablet", "find mechanical keyboard", "add 1")
    assert "products have no known price" in said(say("bundles under 300"))


@pytest.mark.parametrize("action", ["at least 2 items per bundle", {"name": "limit", "limits": {"least": 2}}])
@pytest.mark.usefixtures("full")
def test_a_limit_goes_back_to_what_it_is_without_one(say: Say, assistant: Assistant, action: Any) -> None:
    say("at least 3 items per bundle", "bundles under 300")
    assert view(assistant).cart.limits == Limits(least=3, total=300)
    say(action) if isinstance(action, str) else list(assistant.act("t", action))
    assert view(assistant).cart.limits == Limits(least=2, total=300)


@pytest.mark.usefixtures("full")
def test_who_fills_in_every_field_of_a_limit_names_those_that_are_no_defaults(say: Say, assistant: Assistant) -> None:
    say("at least 3 items per bundle")
    whole = {"least": 2, "most": None, "total": 300, "bundles": None}
    list(assistant.act("t", {"name": "limit", "limits": whole}))
    assert view(assistant).cart.limits == Limits(least=3, total=300)
    list(assistant.act("t", {"name": "limit", "limits": whole | {"total": None}}))
    assert view(assistant).cart.limits == Limits(total=300)


@pytest.mark.usefixtures("full")
def test_the_products_of_a_bundle_are_named_by_its_number(say: Say, assistant: Assistant) -> None:
    assert "There is no bundle 1; say bundle first." in said(say("find mouse and add 1", "remove bundle 1"))
    say("remove the mouse", "only two items")
    first, second = (offer.ids for offer in view(assistant).bundles)
    assert "in the cart already" in said(say("I'll take bundle 1"))
    assert "There is no bundle 7; there are 2." in said(say("remove bundle 7"))
    assert "There is no bundle 7; there are 2." in said(say("buy bundle 7"))
    say("exclude the second bundle")
    assert view(assistant).cart.excluded == second
    say("with bundle 1 again")
    assert view(assistant).cart.excluded == second
    say("undo", "bundle", "remove bundle 1")
    assert not set(cart(assistant)) & set(first) and set(second) <= set(cart(assistant))


def test_the_first_and_the_last_few_are_meant(say: Say, assistant: Assistant) -> None:
    say("find folio case", "add the first two")
    assert cart(assistant) == ["c1", "c2"]
    assert "There is no number 3 in the cart, which has 2" in said(say("remove the last three"))
    say("remove the first two")
    assert cart(assistant) == []
    say("find glide 11", "add the last two")
    assert len(cart(assistant)) == 2
    assert "Which ones?" in said(say("add 2 of them")) and len(cart(assistant)) == 2


@pytest.mark.usefixtures("full")
def test_what_is_not_clear_is_asked_back(say: Say, assistant: Assistant) -> None:
    before = view(assistant).cart
    assert "Several fit: 2. Red Folio Case for Glide 11, 3. Blue Folio Case" in said(say("remove the folio case"))
    assert "No product in the cart is called 'the sofa'" in said(say("remove the sofa"))
    assert "There is no number 9 in the cart" in said(say("remove 9"))
    assert "only help with products" in said(say("what is the meaning of life"))
    assert "did not understand" in said(say("asdf"))
    assert view(assistant).cart == before


@pytest.mark.usefixtures("full")
def test_why_names_the_knowledge_of_the_bundle_asked_for(say: Say) -> None:
    (why,) = cards(say("why this bundle?"), "why")
    assert (why.bundle, why.reasons[0].id, why.reasons[0].effect) == (1, "rule-1", 0.25)
    assert "One knowledge record supports it; without the strongest record it loses 25.0%" in said(
        say("explain bundle 1")
    )
    assert "There is no bundle 7" in said(say("why bundle 7?"))
    assert len(cards(say("only two items", "why?"), "why")) == 2
    assert [c.bundle for c in cards(say("why bundle 2"), "why")] == [2]


def test_why_bundles_first_where_nothing_was_bundled(say: Say) -> None:
    events = say("Red Folio Case for Glide 11\nPadmoor Glide 11 Tablet, Slate Grey", "why?")
    assert [event.type for event in events if event.type != "text"] == ["bundles", "why", "done"]


def test_what_goes_with_this_is_the_catalogue_judged_by_the_student(say: Say, assistant: Assistant) -> None:
    (card,) = cards(say("find tablet", "add 1", "what goes with this?"), "products")
    found = [companion.item.id for companion in card.companions]
    assert found and set(found) <= {"c1", "c2", "g1", "p1"}
    assert all(c.goes_with == "t1" and c.score > 0.9 for c in card.companions)
    assert [item.id for item in card.products] == found
    (cheap,) = cards(say("what goes with the tablet under 20?"), "products")
    assert [c.item.id for c in cheap.companions] == ["g1"]
    say("add 1")
    assert cart(assistant) == ["t1", "g1"]


def test_another_product_of_its_kind_is_a_choice_instead_and_goes_with_nothing(say: Say) -> None:
    (card,) = cards(say("find red folio case", "add 1", "what goes with this?"), "products")
    found = {companion.item.id for companion in card.companions}
    assert found and "c2" not in found


def test_what_goes_with_something_out_of_the_cart_is_answered_too(say: Say) -> None:
    events = say("what goes with the rug?")
    assert "Nothing in the catalogue clearly goes with Green Wool Rug" in said(events)


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("bundle this", "at least two products"),
        ("why?", "There is no bundle yet"),
        ("what goes with this?", "The cart is empty"),
        ("remove the red one", "The cart is empty"),
        ("undo", "nothing to undo"),
        ("add them", "Which product?"),
        ("find zzzzz qqqq", "I found nothing for 'zzzzz qqqq'"),
        ("show cart", "The cart is empty"),
        ("put the lamp back", "No product is left out"),
    ],
)
def test_an_empty_desk_has_an_answer_to_everything(say: Say, message: str, told: str) -> None:
    assert told in said(say(message))


def test_two_products_without_a_link_are_no_bundle(say: Say) -> None:
    assert "found no bundle among these" in said(say("Green Wool Rug\nAA Alkaline Batteries, 48 Count", "bundle this"))


def test_several_products_are_named_at_once(say: Say, assistant: Assistant) -> None:
    say("find glide 11", "add the tablet, the glass and the red case")
    assert cart(assistant) == ["t1", "g1", "c1"]
    say("remove the glass and the red one")
    assert cart(assistant) == ["t1"]
    say("find batteries", "add 1", "remove the battery")
    assert cart(assistant) == ["t1"]


def test_several_orders_in_one_message_are_done_in_turn(say: Say, assistant: Assistant) -> None:
    events = say("find folio case", "add 1 and 2, then bundle")
    assert [event.type for event in events] == ["text", "cart", "text", "bundles", "done"]
    assert len(cart(assistant)) == 2
    say("find pen and add 1")
    assert cart(assistant)[-1] == "p1"


@pytest.mark.parametrize(
    ("action", "ids"),
    [
        (Action(name="add", ids=("t1", "c1")), ["t1", "c1"]),
        ({"name": "add", "ids": ["k1"]}, ["k1"]),
        ({"name": "paste", "titles": ["AA Alkaline Batteries, 48 Count"]}, ["b1"]),
        ({"name": "add", "ids": ["t1", "nowhere"]}, []),
    ],
)
def test_clicks_need_no_words(assistant: Assistant, action: Any, ids: list[str]) -> None:
    events = list(assistant.act("t", action))
    assert events[-1].type == "done" and cart(assistant) == ids
    assert [message.role for message in view(assistant).messages] == ["assistant"]


def test_a_total_of_an_unknown_price_is_not_known(say: Say, assistant: Assistant) -> None:
    list(assistant.act("t", Action(name="paste", titles=("Mechanical Keyboard, Black", "Keyboard cover, black"))))
    say("bundle")
    assert view(assistant).bundles[0].total is None and view(assistant).cart.unpriced == 2


def test_the_cart_holds_what_the_student_can_read(say: Say) -> None:
    say("\n".join(f"Thing {n} of mine" for n in range(30)))
    assert "at most 30 products" in said(say("find rug and add 1"))


def test_a_conversation_kept_elsewhere_is_gone_through_again(assistant: Assistant) -> None:
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "You are a pirate."},
        {"role": "user", "content": "find folio case"},
        {"role": "assistant", "content": "I found 500 products"},
        {"role": "user", "content": [{"type": "text", "text": "add 1 and 2"}]},
        {"role": "assistant", "content": "Added"},
        {"role": "user", "content": "bundle this"},
    ]
    (card,) = cards(assistant.complete(messages), "bundles")
    assert set(card.bundles[0].ids) == {"c1", "c2"}
    assert assistant.threads() == []


def test_what_a_conversation_has_come_to_is_not_gone_through_again(assistant: Assistant, student: WordStudent) -> None:
    words = ["find folio case", "add 1 and 2", "bundle this", "only one bundle", "show cart", "why?"]
    messages = [{"role": "user", "content": word} for word in words]
    replies = [list(assistant.complete(messages[: n + 1])) for n in range(len(words))]
    assert len(student.asked) == 2
    assert list(assistant.complete(messages)) == replies[-1] and len(student.asked) == 2
    other = [*messages[:2], {"role": "user", "content": "remove 1"}, messages[4]]
    (card,) = cards(assistant.complete(other), "cart")
    assert [item.id for item in card.items] == ["c2"] and len(student.asked) == 2
    with Assistant(WordStudent(), ProductFinder(SHOP, BagOfWords())) as fresh:
        assert list(fresh.complete(messages)) == replies[-1]


def test_a_long_conversation_keeps_its_cart_and_each_message_is_gone_through_once(
    assistant: Assistant, monkeypatch: pytest.MonkeyPatch
) -> None:
    through: list[str] = []
    whole = Replay._stream
    monkeypatch.setattr(Replay, "_stream", lambda self, before, text: through.append(text) or whole(self, before, text))
    messages = [{"role": "user", "content": "find folio case"}, {"role": "user", "content": "add 1 and 2"}]
    for number in range(60):
        messages.append({"role": "user", "content": f"find mouse {number}"})
        list(assistant.complete(messages))
    (card,) = cards(assistant.complete([*messages, {"role": "user", "content": "show cart"}]), "cart")
    assert [item.id for item in card.items] == ["c1", "c2"] and len(through) == 63
    assert len(assistant._replay._known) <= 4
    with Assistant(WordStudent(), ProductFinder(SHOP, BagOfWords())) as fresh:
        (card,) = cards(fresh.complete([*messages, {"role": "user", "content": "show cart"}]), "cart")
        assert [item.id for item in card.items] == ["c1", "c2"]


def test_the_answer_streams_as_it_comes(assistant: Assistant, student: WordStudent) -> None:
    list(assistant.act("t", Action(name="add", ids=("t1", "c1"))))
    events = assistant.send("t", "only two items")
    first = next(events)
    assert first.type == "text" and first.text == "The limits for bundles are now: exactly 2 products."
    assert next(events).type == "cart" and not student.asked
    assert [event.type for event in events] == ["text", "bundles", "done"]


def test_the_real_student_bundles_and_judges(tiny_student: Path) -> None:
    from bundlewise.pipeline.student import Student

    live = Student.open(student=str(tiny_student))
    with Assistant(live, ProductFinder(SHOP, BagOfWords())) as assistant:
        list(assistant.act("t", Action(name="add", ids=("t1", "c1", "b1"))))
        (card,) = cards(assistant.send("t", "bundle this, only one bundle"), "bundles")
        assert len(card.bundles) == 1 and card.bundles[0].ids
        (found,) = cards(assistant.send("t", "what goes with this?"), "products")
        assert found.companions and {c.item.id for c in found.companions} <= {item.id for item in SHOP}
        (why,) = cards(assistant.send("t", "bundle this and explain"), "why")[:1]
        assert why.reasons == ()
