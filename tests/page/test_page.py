"""Pages as files: what they tell, that nothing in a store is markup or a script in them, and that they ask for nothing."""

import base64
import hashlib
import importlib.util
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
import reported
from hostile import HOSTILE, hostile
from shared_runs import make
from support import Result, put, stored

from harness.cli import report
from harness.page import charts, sections
from harness.page.again import commands, run_command
from harness.page.content import Asked, gather
from harness.page.page import filled, page
from harness.store.store import Store

Harness = Callable[..., Result]


class Parsed(HTMLParser):
    """What a page is made of."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, list[str]] = {}
        self._open = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep an element."""
        self.tags.append((tag, dict(attrs)))
        self._open = tag

    def handle_data(self, data: str) -> None:
        """Keep what stands in it."""
        self.text.setdefault(self._open, []).append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """Return the attributes of all elements of this name."""
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module", autouse=True)
def library() -> Iterator[None]:
    """The library is that of others, and takes seconds to put together: these tests do without."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(charts, "library", lambda: "window.vegaEmbed = null;")
        yield


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a store, an experiment and claims."""
    reported.fill(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def words(text: str) -> str:
    """Return what a reader reads of a page, without tags."""
    body = re.sub(r"<(script|style)\b.*?</\1>", "", text, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", " ", body).split())


def test_a_page_tells_what_was_compared_and_what_came_out(harness: Harness, mine: Path) -> None:
    done = harness("report", "mine.toml", "--out", "out", "--claims", "ours.toml")
    assert (done.code, done.out, done.err) == (0, "out/index.html\n", "")
    text = (mine / "out" / "index.html").read_text()
    read = words(text)
    for said in (
        "mine: Mine, N_z by panel", "aevb; wake-sleep", "mnist nz=3; mnist nz=5", "1,000,000 samples", "seeds 0, 1, 2",
        "10 done, 1 diverged", "1 run: mnist nz=5 wake-sleep seed 2", "its objective is NaN", "2 (1 diverged)", "1 tied",
        "samples to target", "samples of tuning", "1 claim of 2 fails", "harness sweep mine.toml",
        "harness report mine.toml --claims ours.toml --out FOLDER", "a processor", "c0ffee", "No pictures are stored",
        "2 panels: too few to say who is fast in general",
    ):  # fmt: skip
        assert said in read, said
    parsed = Parsed(text)
    assert parsed.all("html") == [{"lang": "en"}]
    assert parsed.text["title"][:1] == ["mine: Mine, N_z by panel"]
    levels = [int(name[1]) for name, _ in parsed.tags if re.fullmatch("h[1-6]", name)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    ids = [attributes["id"] for _, attributes in parsed.tags if attributes.get("id")]
    assert len(ids) == len(set(ids))
    assert sum(id.startswith("run-") for id in ids if id) == 11
    assert {link["href"] for link in parsed.all("a")} <= {f"#{id}" for id in ids}
    assert "seed = [0, 1, 2]" in text  # the experiment's own text


def test_data_of_charts(mine: Path) -> None:
    found = gather(Store(mine / "results"), Asked(("mine.toml",)))
    text = page(found)
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1])  # type: ignore[index]
    assert data["curves"] == ["aevb", "wake-sleep"]
    assert [one["title"] for one in data["panels"]] == ["mnist nz=3", "mnist nz=5"]
    assert len(data["runs"]) == 11
    line = data["runs"][0]["lines"][1]
    assert (line["split"], line["x"]["samples"], line["x"]["cpu_seconds"]) == ("test", [1e4, 1e5, 1e6], [10, 100, 1000])
    assert line["y"] == [-200, -150, -130.1]
    assert line["error"] == [1, 1, 1]
    (mean,) = [one for one in data["means"] if (one["panel"], one["curve"], one["split"]) == (0, 0, "test")]
    assert mean["y"] == [-200, -151, pytest.approx(-130 - 1.3 / 3, abs=1e-3)]
    assert (mean["low"][2], mean["high"][2]) == (-130.9, -130.1)
    assert mean["x"]["cpu_seconds"] == [20, 200, 2000]  # twice the first seed's on average


def test_a_page_asks_for_nothing_and_runs_its_own_two_scripts_alone(mine: Path) -> None:
    text = page(gather(Store(mine / "results"), Asked(("mine",))))
    parsed = Parsed(text)
    for _, attributes in parsed.tags:
        for name in ("src", "href", "action", "data", "poster", "srcset", "background", "style"):
            assert (attributes.get(name) or "#").startswith(("#", "data:"))
        assert not any(name.startswith("on") for name in attributes)
    (policy,) = [one["content"] for one in parsed.all("meta") if one.get("http-equiv") == "Content-Security-Policy"]
    assert policy
    assert policy.startswith("default-src 'none';")
    assert "unsafe-eval" not in policy
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in scripts]
    assert len(hashes) == 2
    allowed = " ".join(f"'sha256-{one}'" for one in hashes)
    assert f"script-src {allowed};" in policy
    assert len(parsed.all("script")) == 4


def test_nothing_that_a_run_says_is_markup_or_long(tmp_path: Path) -> None:
    text = page(gather(hostile(tmp_path), Asked(("mine",))))
    text.encode()
    assert len(text) < 3e6
    parsed = Parsed(text)
    assert len(parsed.all("script")) == 4
    assert parsed.all("img") == [
        one for one in parsed.all("img") if (one["src"] or "").startswith("data:image/svg+xml;base64,")
    ]
    names = {name for name, _ in parsed.tags}
    assert names <= {
        "html", "head", "meta", "link", "title", "style", "body", "a", "header", "h1", "p", "nav", "ul", "li", "main",
        "section", "h2", "h3", "dl", "div", "dt", "dd", "table", "caption", "thead", "tbody", "tr", "th", "td", "form",
        "noscript", "figure", "figcaption", "img", "details", "summary", "code", "span", "pre", "script", "i",
    }  # fmt: skip
    shown = words(text)
    for character in "\x00\x1b\u202e\u2066\u2028\ud800":
        assert character not in text
    assert r"\u202egnp.exe\u2066" in shown
    assert "&lt;script&gt;window.hacked = 1&lt;/script&gt;" in shown
    assert "(10,000,000 letters)" in shown
    for part in re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', text, re.DOTALL):
        json.loads(part)
        assert not set("<>&") & set(part)


def test_the_table_of_models_is_told_as_text(mine: Path) -> None:
    script = HOSTILE[0]
    with (mine / "mine.toml").open("a") as file:
        file.write(f'[[table.row]]\ntitle = "{script}"\nwhere = {{ nz = 3 }}\n')
    models = sections._models(gather(Store(mine / "results"), Asked(("mine.toml",)))) or ""
    assert "<script" not in models
    assert words(models).count("&lt;script&gt;window.hacked = 1&lt;/script&gt;") == 2
    assert "aevb" in models
    assert "wake-sleep" in models


def test_what_commits_changed_is_told_where_they_made_the_same_runs(harness: Harness, mine: Path) -> None:
    """Runs of the same seeds stand in a group for each commit; in one group every run is there once, and nothing to compare."""
    store = Store(mine / "history")
    for day, commit, ends in ((1, "beef00123", (-152.0, -153.5, -153.0)), (3, "c0ffee123", (-150.0, -151.0, -152.0))):
        code = {"version": "0", "commit": f"{commit}456789", "dirty": False, "source_sha256": "s"}
        for seed, end in enumerate(ends):
            time = f"2026-11-0{day}T08:00:00Z"
            make(store, seed, test=(-200.0, end), group=f"day-{day}", code=code, time=time)
    done = harness("report", "day-1", "day-3", "--results", store.root, "--out", "out")
    assert done.code == 0, done.err
    assert done.err.count("is in the groups day-1 and day-3: the one of day-1 is shown") == 3
    told = words((mine / "out" / "index.html").read_text())
    assert "What commits changed" in told
    assert "c0ffee123 3 -151.0 ± 0.6 +1.8 ± 0.4 -0.1 to +3.7 3 pairs" in told
    assert harness("report", "day-1", "--results", store.root, "--out", "one").code == 0
    assert "What commits changed" not in words((mine / "one" / "index.html").read_text())


def test_claims_about_runs_that_are_not_there_leave_the_others(mine: Path) -> None:
    """Whatever claims say of other experiments and of earlier runs is said beside their verdicts, and not of the whole page."""
    with (mine / "ours.toml").open("a") as file:
        file.write('[[claim]]\nexperiment = "figure3"\nkind = "bound"\nat = 1e6\nleast = -50\n')
    grid = (mine / "mine.toml").read_text()
    (mine / "mine.toml").write_text(grid.replace("[0, 1, 2]", "[0, 1]"))
    content = gather(Store(mine / "results"), Asked(("mine.toml",), ("ours.toml",), versions="all"))
    (verdicts,) = content.verdicts
    assert (len(verdicts.cells), verdicts.failed) > (1, 0)
    assert "not checked: claims about figure3, of which there are no runs" in verdicts.notes
    left = [words for words in verdicts.notes if "that mine.toml does not ask for as it is now" in words]
    assert len(left) == 1
    assert left[0].startswith("for the verdicts: left out of 11 runs: 3 ")
    assert [words for words in content.said if "left out" in words] == []
    (mine / "theirs.toml").write_text('[[claim]]\nexperiment = "figure3"\nkind = "bound"\nat = 1e6\nleast = -50\n')
    (none,) = gather(Store(mine / "results"), Asked(("mine.toml",), ("theirs.toml",))).verdicts
    assert none.cells == ()
    assert "these claims cannot be checked: " in none.notes[0]
    assert "there are no runs of figure3" in none.notes[0]


def test_panels_without_any_run_are_missing_too(mine: Path) -> None:
    """And a page that is watched waits for them."""
    for folder in (mine / "results" / "mine").glob("*nz5*"):
        shutil.rmtree(folder)
    content = gather(Store(mine / "results"), Asked(("mine.toml",)))
    assert content.missing == {("mnist nz=5", "aevb"): [0, 1, 2], ("mnist nz=5", "wake-sleep"): [0, 1, 2]}
    assert content.under_way
    assert "6 runs: mnist nz=5 aevb seeds 0, 1, 2; mnist nz=5 wake-sleep seeds 0, 1, 2" in page(content)
    assert not gather(Store(mine / "results"), Asked(("mine.toml:nz=3",))).missing
    text = (mine / "mine.toml").read_text()
    (mine / "mine.toml").write_text(text.replace("nz = [3, 5]", "nz = 3"))
    content = gather(Store(mine / "results"), Asked(("mine.toml",)))
    assert not content.missing
    assert not content.under_way


def test_commands_make_the_page_as_it_was_asked_for(mine: Path) -> None:
    asked = Asked(("mine.toml:nz=3",), at=1e5, target=-160.0, versions="all")
    made = [command for command, _ in commands(gather(Store(mine / "results"), asked))]
    assert made == [
        "harness sweep mine.toml",
        "harness table mine.toml:nz=3 --at 100000 --versions all",
        "harness rank mine.toml:nz=3 --at 100000 --target -160 --versions all",
        "harness plot mine.toml:nz=3 --versions all",
        "harness report mine.toml:nz=3 --at 100000 --target -160 --versions all --out FOLDER",
    ]
    selected = [command for command, _ in commands(gather(Store(mine / "results"), Asked(("mine:algo=aevb",))))]
    assert selected == [
        "harness plot mine:algo=aevb", "harness list mine:algo=aevb", "harness report mine:algo=aevb --out FOLDER",
    ]  # fmt: skip


def test_a_template_is_filled_once() -> None:
    assert filled("<!--a--> <!--b-->", {"a": "<!--b-->", "b": "x"}) == "<!--b--> x"


def test_selections_are_compared_by_what_differs(harness: Harness, mine: Path) -> None:
    put(Store(mine / "results"), [stored(lr=0.1), stored(lr=0.2, seed=1)], group="others")
    for given, said in (
        (["others"], "aevb lr=0.1; aevb lr=0.2"),
        (["mine:algo=aevb,nz=3"], "There is no ranking: nothing of mine:algo=aevb,nz=3 can be ranked"),
        (["mine", "others"], "lr=0.1"),
        (["aevb-nz3-s0-0.02"], "lower-bound on test -130.1 ± 1.0"),
    ):
        done = harness("report", *given, "--out", "out")
        assert (done.code, done.err) == (0, ""), done.err
        assert said in words((mine / "out" / "index.html").read_text())


def test_runs_that_differ_otherwise_have_no_mean(mine: Path) -> None:
    other = stored(seed=7)
    other.spec["evaluation"] |= {"first_mark": 5}
    put(Store(mine / "results"), [stored(), other], group="odd")
    found = gather(Store(mine / "results"), Asked(("odd",)))
    assert [panel.alike for panel in found.panels] == [False]
    assert "No means over seeds in mnist nz=3" in words(page(found))


def test_stored_pictures_are_shown_and_other_files_are_not(mine: Path) -> None:
    folder = mine / "results" / "figures"
    folder.mkdir()
    picture = b"\x89PNG\r\n\x1a\n" + b"0" * 10
    (folder / "aevb-nz3-s0-0.02-prior-samples.png").write_bytes(picture)
    (folder / "aevb-nz3-s1-0.02-latent-plane.png").write_bytes(b"<svg onload=alert(1)>")
    text = page(gather(Store(mine / "results"), Asked(("mine",))))
    sources = [one["src"] or "" for one in Parsed(text).all("img")]
    assert [base64.b64decode(one.partition(",")[2]) for one in sources if "png" in one] == [picture]
    assert "Draws from the prior: aevb-nz3-s0-0.02" in words(text).replace(" :", ":")


def test_what_is_refused(harness: Harness, mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (mine / "file").touch()
    for given, said in (
        (["nothing-such"], "there is no run 'nothing-such'"),
        (["figure2"], r"there are no runs of figure2 .*: make them with `harness sweep figure2`"),
        (["mine.toml:nz=77"], "no run of mine meets nz=77"),
        (["mine.toml", "--out", "file"], "--out is 'file', which is a file: name a folder"),
        (["mine.toml", "--at", "1,2"], "--at has 2 marks"),
        (["mine.toml", "--watch", "0"], "--watch is '0': give a positive number of seconds, such as 30"),
        (["mine.toml", "--claims", "none"], "there is no claims 'none'"),
        (["mine.toml", "--weights", "average"], "no run has averaged weights"),
    ):
        done = harness("report", "--out", "out", *given)
        assert done.code == 2
        assert re.fullmatch(rf"harness: .*{said}[^\n]*\n", done.err), done.err
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "altair" else find(name))
    done = harness("report", "mine.toml", "--out", "out")
    assert done.code == 2
    assert (
        'draws by altair, not installed here: install it with `python -m pip install "inference-harness[report]"`'
        in done.err
    )
    assert not (mine / "out").exists()


@pytest.fixture
def no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages that are written again and again do without the picture of the ranking here, which takes seconds."""
    monkeypatch.setattr(sections, "_drawn", lambda ranking: None)


@pytest.mark.usefixtures("no_picture")
def test_watching_writes_until_all_runs_are_there(
    harness: Harness, mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def sleep(seconds: float) -> None:
        assert seconds == 7
        seen.append((mine / "out" / "index.html").read_text())
        if len(seen) == 2:
            put(Store(mine / "results"), [stored("wake-sleep", 2, nz=5)])

    monkeypatch.setattr(report.time, "sleep", sleep)
    done = harness("report", "mine.toml", "--out", "out", "--watch", "7")
    assert done.code == 0
    assert len(seen) == 2
    assert all('<body data-refresh="7">' in text for text in seen)
    assert "written again every 7 seconds" in done.out
    last = (mine / "out" / "index.html").read_text()
    assert "<body>" in last
    assert "11 done, 1 diverged" in words(last)


@pytest.mark.usefixtures("no_picture")
def test_watching_waits_for_the_first_run_and_ends_by_ctrl_c(
    harness: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported.fill(tmp_path / "kept")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text(reported.GRID)
    naps: list[float] = []

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 1:
            put(Store(tmp_path / "results"), [stored()])
        else:
            raise KeyboardInterrupt

    monkeypatch.setattr(report.time, "sleep", sleep)
    done = harness("report", "mine.toml", "--out", "out", "--watch", "60")
    assert (done.code, naps) == (0, [2.0, 60.0])
    assert "<body>" in (tmp_path / "out" / "index.html").read_text()


def test_the_command_of_a_run_makes_the_same_run(harness: Harness, tiny_run: list[str]) -> None:
    more = [
        "--final-marginal",
        "importance",
        "--K",
        "3",
        "--marginal-points",
        "10",
        "--keep",
        "last",
        "--average",
        "5000",
        "--seed",
        "3",
    ]
    first = harness(*tiny_run, *more, "--splits", "test", "--first-mark", "100")
    assert first.code == 0, first.err
    (run,) = Store(Path(os.environ["HARNESS_RESULTS"])).runs("runs")
    again = harness(*run_command(run.read()).split()[1:])
    assert again.code == 0, again.err
    assert again.out.startswith(f"{run.id}: was done already")
