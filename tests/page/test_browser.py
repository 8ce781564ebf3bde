"""Pages in a real browser, headless Chromium without network: curves, choices, sorting, accessibility, hostile names."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import reported
from hostile import hostile

from harness.page import page, sections
from harness.page.content import Asked, gather
from harness.page.lines import drawn
from harness.page.page import write
from harness.store.store import Store

playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright: python -m pip install playwright")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")

WAIT = 300_000  # milliseconds; a busy machine draws slowly


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's Chromium, or another one on the path."""
    found = next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
    )
    if found is None:
        pytest.skip("needs a Chromium on the path: apt-get install chromium")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=found, args=["--no-sandbox"], timeout=WAIT)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pages: `mine`, which is watched, `evil`, whose every word is a stranger's, and `many`, of 9000 points."""
    folder = tmp_path_factory.mktemp("pages")
    reported.fill(folder)
    mine = gather(Store(folder / "results"), Asked((str(folder / "mine.toml"),), claims=(str(folder / "ours.toml"),)))
    write(mine, folder / "mine", refresh=3600)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sections, "_drawn", lambda ranking: None)  # a picture of its own, which takes seconds
        write(gather(hostile(folder / "evil-store"), Asked(("mine",))), folder / "evil")
        patch.setattr(page, "drawn", lambda compared, panels: many(drawn(compared, panels)))
        write(mine, folder / "many")
    return folder


def many(data: dict[str, Any]) -> dict[str, Any]:
    """Return what a page draws, with 250 times the points of every run."""
    for line in (line for run in data["runs"] for line in run["lines"]):
        line |= {name: line[name] * 250 for name in ("y", "error")}
        line["x"] = {name: values * 250 for name, values in line["x"].items()}
    return data


class Opened:
    """A page in a browser, and what it has done."""

    def __init__(self, browser: Any, path: Path, **context: Any):
        self.context = browser.new_context(offline=True, **context)
        self.context.set_default_timeout(WAIT)
        self.page = self.context.new_page()
        self.said: list[str] = []
        self.asked_for: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", lambda dialog: self.said.append(dialog.message))
        self.page.on("request", lambda request: self.asked_for.append(request.url))
        self.page.goto(path.as_uri(), timeout=WAIT)
        self.drawn()

    def drawn(self) -> None:
        """Wait until all panels are drawn."""
        self.page.wait_for_selector("body[data-drawn=all]")

    def lines(self) -> int:
        """Return how many lines are in the panels, as elements."""
        return int(self.page.locator(".chart g.mark-line path").count())

    def marks(self) -> int:
        """Return how many points are to be seen by themselves."""
        count = "(points) => points.filter((one) => getComputedStyle(one).opacity !== '0').length"
        return int(self.page.locator(".chart g.mark-symbol path").evaluate_all(count))

    def zoomed(self, button: str) -> None:
        """Press a button of the first panel by the keyboard, and wait until it is drawn again."""
        turn = int(self.page.locator(".chart").first.get_attribute("data-turn"))
        self.page.get_by_role("button", name=f"{button}: mnist nz=3").press("Enter")
        self.page.wait_for_selector(f".chart[data-turn='{turn + 1}']")

    def axis(self) -> str:
        """Return what is written at the axes of the first panel."""
        return " ".join(
            self.page.locator(".chart")
            .first.locator("g.role-axis-title text, g.role-axis-label text")
            .all_text_contents()
        )

    def require_quiet(self) -> None:
        """Assert that nothing was fetched but the page, and that the console is empty."""
        assert self.said == []
        assert [url for url in self.asked_for if not url.startswith("data:")] == self.asked_for[:1]
        assert self.asked_for[0].startswith("file:")


@pytest.fixture
def mine(browser: Any, folder: Path) -> Iterator[Opened]:
    """The page about the experiment."""
    opened = Opened(browser, folder / "mine" / "index.html", viewport={"width": 1280, "height": 900})
    yield opened
    opened.context.close()


def test_every_curve_is_there_offline_and_choices_change_them(mine: Opened) -> None:
    assert mine.lines() == 2 * 2 * 2  # panels, curves, splits
    assert "training samples evaluated" in mine.axis()
    mine.page.select_option("select[name=show]", "runs")
    mine.drawn()
    assert mine.lines() == 11 * 2  # every run, on both splits
    assert mine.marks() == 2  # where one diverged, on both splits
    mine.page.get_by_role("checkbox", name="train set").uncheck()
    mine.drawn()
    assert mine.lines() == 11
    mine.page.get_by_role("checkbox", name="wake-sleep").uncheck()
    mine.drawn()
    assert mine.lines() == 6
    mine.page.select_option("select[name=counter]", "cpu_seconds")
    mine.drawn()
    assert "CPU seconds of training" in mine.axis()
    logarithmic = mine.axis()
    mine.page.select_option("select[name=scale]", "linear")
    mine.drawn()
    assert mine.axis() != logarithmic
    assert "1,500" in mine.axis()  # seconds as people write them
    before = mine.axis()
    mine.zoomed("Zoom in")
    assert mine.axis() != before
    mine.zoomed("Zoom back")
    assert mine.axis() == before
    mine.page.get_by_text("Numbers of these curves").first.click()
    assert mine.page.get_by_role("region", name="Numbers of mnist nz=3").get_by_role("row").count() == 1 + 3 * 3
    mine.require_quiet()


def test_too_many_points_to_list_are_said_to_be(browser: Any, folder: Path) -> None:
    opened = Opened(browser, folder / "many" / "index.html")
    opened.page.get_by_text("Numbers of these curves").first.click()
    assert opened.page.get_by_role("region", name="Numbers of mnist nz=3").get_by_role("row").count() > 3
    opened.page.select_option("select[name=show]", "runs")
    opened.drawn()
    assert opened.page.get_by_text("too many points to be listed: choose means over seeds, or hide curves").is_visible()
    for box in opened.page.locator("#legend input").all()[:2]:
        box.click()
    opened.drawn()
    assert opened.page.get_by_text("Nothing is shown.").is_visible()
    opened.require_quiet()
    opened.context.close()


def test_a_table_sorts(mine: Opened) -> None:
    table = mine.page.get_by_role("table", name="Methods in every panel")
    column = [one.lower() for one in table.locator("thead th").all_inner_texts()].index("test ± se")

    def cells() -> list[float]:
        return [
            float(row.split("±")[0]) for row in table.locator(f"tbody tr > :nth-child({column + 1})").all_inner_texts()
        ]

    given = cells()
    head = table.get_by_role("columnheader", name="test ± se")
    for order, there in (("ascending", sorted(given)), ("descending", sorted(given, reverse=True))):
        head.get_by_role("button").press("Enter")
        assert cells() == there
        assert head.get_attribute("aria-sort") == order
        assert mine.page.get_by_text(f"Sorted by test ± se, {order}.").is_visible()
    assert given not in (sorted(given), sorted(given, reverse=True))
    mine.require_quiet()


@pytest.mark.parametrize(
    ("name", "context"),
    [
        ("mine", {"viewport": {"width": 1280, "height": 900}}),
        (
            "evil",
            {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark", "is_mobile": True, "has_touch": True},
        ),
    ],
    ids=["wide and light", "narrow and dark, of hostile names"],
)
def test_axe_finds_nothing(browser: Any, folder: Path, name: str, context: dict[str, Any]) -> None:
    opened = Opened(browser, folder / name / "index.html", **context)
    opened.page.evaluate("document.querySelectorAll('details').forEach((one, k) => one.open = k < 20)")
    found = axe.Axe().run(opened.page)
    assert found.violations_count == 0, found.generate_report()
    assert opened.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    opened.context.close()


def test_hostile_names_do_nothing(browser: Any, folder: Path) -> None:
    opened = Opened(browser, folder / "evil" / "index.html")
    page = opened.page
    assert opened.lines() > 10
    page.select_option("select[name=show]", "runs")
    opened.drawn()
    page.evaluate("document.querySelectorAll('details').forEach((one) => one.open = true)")
    for box in page.locator("#legend input").all()[:3]:
        box.click()
    opened.drawn()
    assert page.evaluate("typeof window.hacked") == "undefined"
    assert page.evaluate("Object.keys(Object.prototype).length") == 0
    assert page.locator("#legend").inner_text().count("<script>window.hacked = 1</script>") == 2
    opened.require_quiet()
    opened.context.close()


def test_choices_are_those_of_names_when_a_page_is_written_again(
    browser: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A curve that is there first now, and no CPU time any more: what was hidden is hidden, and nothing else."""
    mine = gather(Store(folder / "results"), Asked((str(folder / "mine.toml"),)))
    opened = Opened(browser, write(mine, folder / "again"))
    opened.page.get_by_role("checkbox", name="wake-sleep").uncheck()
    opened.page.select_option("select[name=counter]", "cpu_seconds")
    opened.drawn()

    def later(*given: Any) -> dict[str, Any]:
        data = drawn(*given)
        data["curves"].insert(0, "new")
        data["counters"] = [one for one in data["counters"] if one[0] != "cpu_seconds"]
        for one in (*data["runs"], *data["means"]):
            one["curve"] += 1
        return data

    monkeypatch.setattr(page, "drawn", later)
    write(mine, folder / "again")
    opened.page.reload()
    opened.drawn()
    boxes = {name: opened.page.get_by_role("checkbox", name=name) for name in ("new", "aevb", "wake-sleep")}
    assert {name: box.is_checked() for name, box in boxes.items()} == {"new": True, "aevb": True, "wake-sleep": False}
    assert "training samples evaluated" in opened.axis()
    assert opened.lines() == 2 * 2  # panels, splits
    opened.context.close()


def test_a_page_that_is_watched_is_read_again_as_it_was(mine: Opened) -> None:
    box = mine.page.get_by_role("checkbox", name="Runs are under way")
    assert box.is_checked()
    mine.page.select_option("select[name=scale]", "linear")
    box.uncheck()
    mine.page.reload()
    mine.drawn()
    assert mine.page.locator("select[name=scale]").input_value() == "linear"
    assert not box.is_checked()
