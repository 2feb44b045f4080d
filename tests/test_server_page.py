"""The page in a real Chromium: journeys, reloads, tabs, a large catalogue, phones, keyboard, the dark, hostile text."""

import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from page_samples import INJECTED, PRODUCTS, app_with, knowing
from server_samples import KEY, served

from bundlewise.agents.student.limits import Limits
from bundlewise.data.feedback import read_feedback
from bundlewise.domain import Item, Prediction
from bundlewise.pipeline.student import Student
from bundlewise.server.keys import Keys

api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
PATIENCE = 30_000
LIST = "Bundle these:\n- red mouse\n- blue pad\n- green rug"


class SlowStudent(Student):
    """A live student whose answers wait until they are let go."""

    gate: Any = None

    def answer(self, sessions: Any, limits: Any = None) -> list[Prediction]:
        if self.gate is not None and sessions[0].session_id != "warm-up":
            assert self.gate.wait(30)
        given: dict[str, Limits] = limits or {}
        return super().answer(sessions, given)


@pytest.fixture(scope="module")
def live(tiny_student: Path, tmp_path_factory: pytest.TempPathFactory) -> Student:
    return knowing(tiny_student, tmp_path_factory.mktemp("kb"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def server(live: Student, data: Path) -> Iterator[str]:
    many = [Item(id=f"n-{n}", title=f"widget number {n} of the store", price=float(n % 97)) for n in range(10_000)]
    with served(app_with(live, data, products=[*PRODUCTS, Item(id="evil", title=INJECTED, price=1.0), *many])) as url:
        yield url


class Visitor:
    """A browser of its own, and all that went wrong in it."""

    def __init__(self, browser: Any, url: str, **settings: Any) -> None:
        self.url, self.faults = url, list[str]()
        self.context = browser.new_context(**{"viewport": {"width": 1300, "height": 860}, **settings})
        self.context.set_default_timeout(PATIENCE)

    def tab(self, address: str = "/") -> Any:
        """Open a tab; a console error, a refused resource or a request to elsewhere is a fault."""
        page = self.context.new_page()
        page.on("console", lambda said: self.faults.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("request", lambda r: None if r.url.startswith(self.url) else self.faults.append(f"asked {r.url}"))
        page.goto(f"{self.url}{address}")
        return page

    def __enter__(self) -> "Visitor":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.context.close()
        if kind is None:
            assert self.faults == []


@pytest.fixture
def visitor(browser: Any, server: str) -> Iterator[Visitor]:
    with Visitor(browser, server) as found:
        yield found


@pytest.fixture
def slowly(live: Student, browser: Any, tmp_path: Path) -> Iterator[tuple[SlowStudent, Visitor]]:
    """Open a server of its own for a visitor, with the student whose answers can be made to wait."""
    slow = SlowStudent(live.model, live.retriever, live.reading)
    with served(app_with(slow, tmp_path)) as url, Visitor(browser, url) as visitor:
        yield slow, visitor


def say(page: Any, text: str) -> None:
    """Say something and wait for the whole reply."""
    page.fill("#say", text)
    page.press("#say", "Enter")
    settled(page)


def settled(page: Any) -> None:
    page.wait_for_selector("#log[aria-busy=false]", state="attached")
    page.wait_for_selector(".waiting", state="detached")


def bundle_titles(page: Any) -> list[str]:
    return page.locator(".bundle:not(.is-past) .bundle-items li span:first-child").all_inner_texts()  # type: ignore[no-any-return]


def test_search_cart_bundle_why_and_a_rating(visitor: Visitor, data: Path) -> None:
    page = visitor.tab()
    page.wait_for_selector("#examples button")
    page.keyboard.press("/")
    page.keyboard.type("red mouse")
    for title in ("red mouse", "blue pad", "black pad"):
        page.fill("#query", title)
        page.get_by_role("button", name=f"Add {title}", exact=True).first.click()
        settled(page)
    assert page.locator(".cart-item .title").all_inner_texts() == ["red mouse", "blue pad", "black pad"]
    assert page.locator(".cart-total").inner_text().split("\n")[-1] == "11.00"
    page.get_by_role("button", name="Find bundles").click()
    page.wait_for_selector(".bundle")
    settled(page)
    assert "red mouse" in bundle_titles(page)
    assert re.search(r"(likely|possible|unsure) · \d+ %", page.locator(".bundle .sure").inner_text())
    assert "Total not known: 1 price missing. The other 2 come to 11.00." in page.locator(".bundle-total").inner_text()
    page.get_by_role("button", name="Why?").click()
    page.wait_for_selector("#sheet[open] .reason")
    assert page.locator("#sheet .kind").first.inner_text() in ("rule", "thought")
    assert page.locator("#sheet .effect").first.inner_text() != ""
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Good bundle").click()
    page.fill(".note-form textarea", "<b>fits</b>")
    page.locator(".note-form .primary").click()
    page.wait_for_selector(".toast")
    (rating,) = read_feedback(data / "ratings.jsonl")
    assert (rating.up, rating.note, rating.what) == (True, "<b>fits</b>", "bundle")
    page.reload()
    page.wait_for_selector(".bundle .rate[aria-pressed=true][disabled]")


def test_a_pasted_list_without_the_red_one_and_only_two_items(visitor: Visitor) -> None:
    page = visitor.tab()
    page.wait_for_selector("#examples button")
    say(page, LIST)
    if not page.locator(".bundle").count():
        say(page, "bundle this")
    assert {"red mouse", "blue pad"} <= set(bundle_titles(page))
    say(page, "without the red one")
    assert page.locator(".cart-item.is-out .title").inner_text().startswith("red mouse")
    assert "red mouse" not in bundle_titles(page)
    say(page, "only two items")
    assert page.locator(".limits .pill").first.inner_text() == "exactly 2 products"
    assert len(bundle_titles(page)) == 2


def test_the_knowledge_is_browsed_and_a_prompt_is_edited(visitor: Visitor) -> None:
    page = visitor.tab("/#/knowledge")
    page.wait_for_selector(".record")
    page.get_by_role("button", name="Rules").click()
    api.expect(page.locator(".record")).to_have_count(1)
    page.locator(".record button").click()
    page.wait_for_selector("#sheet[open] .facts")
    assert "grounded" in page.locator(".facts").inner_text()
    page.keyboard.press("Escape")
    page.fill("#knowledge-query", "put together mouse")
    page.wait_for_selector(".record .fit:has-text('fit')")
    page.goto(f"{visitor.url}/#/playground/judge")
    page.wait_for_selector(".part mark")
    source = page.locator(".editor textarea")
    text = source.input_value()
    source.fill(text.replace("Which go together?", "{{ nothing }}"))
    page.wait_for_selector(".fault:visible")
    assert page.locator(".gutter .is-wrong").count() == 1
    source.fill(text.replace("Which go together?", "Which serve one purpose?"))
    page.wait_for_selector(".part:has-text('one purpose')")
    page.select_option("#template", "pair")
    api.expect(source).not_to_have_value(re.compile("one purpose"))
    page.select_option("#template", "judge")
    api.expect(source).to_have_value(re.compile("one purpose"))
    page.get_by_role("button", name="Try on the student").click()
    page.wait_for_selector(".scores", timeout=60_000)
    assert page.locator(".outcome h2").all_inner_texts() == ["Before", "After", "Annotated"]


def test_an_answer_goes_on_over_a_reload_and_two_tabs_show_one_thread(slowly: tuple[SlowStudent, Visitor]) -> None:
    slow, visitor = slowly
    page = visitor.tab()
    page.wait_for_selector("#examples button")
    slow.gate = threading.Event()
    page.fill("#say", LIST + "\n- red pad")
    page.press("#say", "Enter")
    page.get_by_role("button", name="Find bundles").wait_for()
    page.wait_for_selector(".cart-item")
    page.reload()
    page.wait_for_selector(".message.user")
    page.wait_for_selector(".waiting")
    other = visitor.tab(f"/#/t/{page.evaluate('sessionStorage.getItem(`bundlewise-thread`)')}")
    other.wait_for_selector(".message.user")
    slow.gate.set()
    settled(page)
    settled(other)
    for tab in (page, other):
        assert tab.locator(".message.user").count() == 1 and tab.locator(".cart-item").count() == 4
    say(other, "show cart")
    api.expect(page.locator(".message.user")).to_have_count(2)
    settled(page)
    assert page.locator("#log").inner_text() == other.locator("#log").inner_text()


def test_another_thread_is_talked_in_while_an_answer_is_on_its_way(slowly: tuple[SlowStudent, Visitor]) -> None:
    slow, visitor = slowly
    page = visitor.tab()
    say(page, "hello")
    page.get_by_role("button", name="New").click()
    page.wait_for_selector("#welcome:not([hidden])")
    slow.gate = threading.Event()
    page.fill("#say", LIST)
    page.press("#say", "Enter")
    page.get_by_role("button", name="Find bundles").wait_for()
    page.locator("#threads a", has_text="hello").click()
    page.wait_for_selector(".message.user:has-text('hello')")
    say(page, "show cart")
    slow.gate.set()


def test_a_message_sent_while_the_page_begins_is_said_in_the_first_thread(visitor: Visitor) -> None:
    page = visitor.context.new_page()
    starts, goes_on = threading.Event(), []

    def held(route: Any) -> None:
        goes_on.append(route)
        starts.set()

    page.route("**/api/about", held)
    page.goto(visitor.url)
    page.fill("#say", "hello")
    page.press("#say", "Enter")
    page.press("#say", "Enter")
    page.wait_for_timeout(200)
    assert starts.is_set() and page.input_value("#say") == "hello"
    for route in goes_on:
        route.continue_()
    page.wait_for_selector(".message.assistant")
    settled(page)
    assert page.locator(".message.user").all_inner_texts() == ["hello"] and page.input_value("#say") == ""


def test_ten_thousand_products_are_searched_at_once(visitor: Visitor) -> None:
    page = visitor.tab()
    page.wait_for_selector("#examples button")
    page.fill("#max-price", "50")
    page.fill("#query", "widget number 9731")
    page.wait_for_selector("#found .title:has-text('widget number 9731 ')")
    assert page.locator("#found .product").count() <= 30
    prices = [float(text) for text in page.locator("#found .price").all_inner_texts()]
    assert max(prices) <= 50


def test_markup_in_titles_is_text(visitor: Visitor) -> None:
    page = visitor.tab()
    page.wait_for_selector("#examples button")
    say(page, f"Bundle these:\n- {INJECTED}\n- blue pad\n- <script>document.title='x'</script> mouse")
    assert INJECTED in page.locator(".cart").inner_text() and INJECTED in page.locator(".message.user").inner_text()
    assert page.locator("main img, aside img, main script, aside script").count() == 0
    assert page.title() == "Assistant · bundlewise"


@pytest.mark.parametrize("address", ["/#/t/%", "/#/t/%E0%A4%A", "/#/nowhere/%"])
def test_a_mangled_address_shows_the_assistant_all_the_same(visitor: Visitor, address: str) -> None:
    page = visitor.tab(address)
    page.wait_for_selector("#examples button")


@pytest.mark.parametrize(("scheme", "width"), [("light", 360), ("dark", 390)])
def test_a_phone_has_the_cart_and_the_menu_in_drawers(browser: Any, server: str, scheme: Any, width: int) -> None:
    settings = {"viewport": {"width": width, "height": 740}, "color_scheme": scheme, "has_touch": True}
    with Visitor(browser, server, **settings) as visitor:
        page = visitor.tab()
        page.wait_for_selector("#examples button")
        say(page, LIST)
        for view in ("", "knowledge", "playground"):
            page.goto(f"{server}/#/{view}")
            page.wait_for_selector({"": ".message.user", "knowledge": ".record", "playground": ".part"}[view])
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.goto(f"{server}/#/")
        page.tap("#open-cart")
        page.wait_for_selector("#panel.is-open .cart-item")
        assert page.evaluate("document.querySelector('#main').inert")
        page.keyboard.press("Escape")
        assert page.evaluate("document.activeElement.id") == "open-cart"
        page.tap("#open-menu")
        page.get_by_role("link", name="Knowledge").tap()
        page.wait_for_selector(".record")
        assert not page.locator("#menu.is-open").count()
        shade = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", shade)[:3])) < 150) == (scheme == "dark")


def test_all_is_reached_by_keyboard_and_the_theme_is_kept(visitor: Visitor) -> None:
    page = visitor.tab()
    page.wait_for_selector("#examples button")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.keyboard.press("/")
    page.keyboard.type("blue pad")
    page.wait_for_selector("#found .add")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_selector(".cart-item")
    settled(page)
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid" and page.evaluate("document.activeElement.dataset.product") == "pad-1"
    page.locator("#theme").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.reload()
    page.wait_for_selector(".cart-item")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.locator(".thread .icon-button").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#ask[open]")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector("#examples button")
    page.wait_for_selector(".no-threads")


def test_a_key_is_asked_for_and_an_error_can_be_tried_again(browser: Any, live: Student, tmp_path: Path) -> None:
    with served(app_with(live, tmp_path, keys=Keys([KEY]))) as url, Visitor(browser, url) as visitor:
        page = visitor.tab()
        page.wait_for_selector("#ask[open]")
        page.fill("#key", "wrong-key-of-sixteen")
        page.keyboard.press("Enter")
        page.wait_for_selector("#ask[open] :text('refused')")
        page.fill("#key", KEY)
        page.keyboard.press("Enter")
        page.wait_for_selector("#examples button")
        page.route("**/messages", lambda route: route.abort())
        page.fill("#say", "hello")
        page.press("#say", "Enter")
        page.wait_for_selector(".error-card:has-text('does not answer')")
        page.unroute("**/messages")
        page.get_by_role("button", name="Try again").click()
        page.wait_for_selector(".message.assistant:has-text('Hello')")
        assert page.locator(".message.user").count() == 1 and not page.locator(".error-card").count()
        assert page.evaluate("JSON.stringify(localStorage)").find(KEY) < 0
        page.wait_for_selector("#threads a")
        page.context.set_offline(True)
        page.fill("#say", "show cart")
        page.press("#say", "Enter")
        page.wait_for_selector("#threads .error-card")
        assert page.locator("#threads a").count() == 1
        assert page.evaluate(
            "[...document.querySelectorAll('.error-card svg')].every((svg) => svg.getBBox().width > 0)"
        )
        page.context.set_offline(False)
        page.locator("#threads").get_by_role("button", name="Try again").click()
        page.wait_for_selector("#threads:not(:has(.error-card))")
        visitor.faults[:] = [each for each in visitor.faults if "401" not in each and "net::ERR" not in each]
