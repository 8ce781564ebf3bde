"""The command as people and programs use it: exit codes, one sentence for each bad input, nothing written."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from support import PLUGINS, Result, environment, rewrite

from harness import api
from harness.store.record import Record
from harness.store.store import Store
from harness.testing import toy

Harness = Callable[..., Result]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def test_run_show_list_plot(harness: Harness, tiny_run: list[str], store: Store, tmp_path: Path) -> None:
    done = harness(*tiny_run)
    assert done.code == 0, done.err
    assert re.fullmatch(r"([\d,]+ of 20,000 samples, lower-bound: train -[\d.]+ test -[\d.]+\n){5}", done.err), (
        done.err
    )  # no bar
    run_id = re.match(r"(aevb-toy-nz2-s0-[0-9a-f]{8}): done\n", done.out)
    assert run_id is not None
    for words in (
        "on 40 test points: -",
        "spent 20,000 samples",
        "CPU s",
        "evaluation",
        "stored in",
        f"next: harness show {run_id[1]}",
    ):
        assert words in done.out
    assert sorted(os.listdir(store.root / "runs" / run_id[1])) == ["checkpoint.safetensors", "run.json", "trace.jsonl"]

    shown = harness("show", run_id[1])
    assert shown.code == 0
    for words in (
        "batch_size=40",
        "nz=2 hidden=5",
        "encoder_rows_grad",
        "lower-bound",
        "se of estimator",
        "10,000",
        "20,000",
    ):
        assert words in shown.out
    data = json.loads(harness("show", run_id[1], "--json").out)
    assert data["status"] == "done"
    assert data["ledger"]["samples"] == 20_000
    assert data["overshoot"] == {"samples": 0}
    assert [row["ledger"]["samples"] for row in data["rows"]] == [10_000, 12_600, 15_880, 19_960, 20_000]
    assert set(data["rows"][0]["ledger"]) >= {
        "samples", "datapoints", "fantasies", "decoder_rows", "decoder_rows_grad", "encoder_rows", "encoder_rows_grad", "steps",
        "cpu_seconds", "wall_seconds", "evaluation_cpu_seconds", "setup_wall_seconds", "output_wall_seconds",
    }  # fmt: skip
    (provenance,) = data["provenance"]
    assert provenance["packages"]["torch"] in (torch.__version__, torch.__version__.partition("+")[0])
    assert provenance["threads"] == 1
    assert provenance["flush_denormal"] is True
    assert provenance["calibration_seconds"] > 0
    assert len(provenance["dataset"]["sha256"]) == 64

    listed = harness("list")
    assert run_id[1] in listed.out
    (row,) = json.loads(harness("list", "--json").out)
    assert (row["run"], row["status"], row["samples"]) == (run_id[1], "done", 20_000)
    assert row["test"] == pytest.approx(data["summary"][-1]["mean"])

    plotted = harness("plot", run_id[1], "--x", "cpu_seconds", "--scale", "linear")
    assert plotted.code == 0, plotted.err
    files = [Path(line) for line in plotted.out.splitlines()]
    assert [file.suffix for file in files] == [".png", ".svg", ".pdf"]
    assert files[0].read_bytes().startswith(b"\x89PNG")
    assert run_id[1].encode() in files[0].read_bytes()
    assert b"CPU seconds of training" in files[1].read_bytes() or b"<svg" in files[1].read_bytes()
    assert harness("plot", run_id[1], "--out", tmp_path / "one.pdf").out == f"{tmp_path / 'one.pdf'}\n"


def test_a_run_is_never_repeated_and_can_be_extended(harness: Harness, tiny_run: list[str], store: Store) -> None:
    first = harness(*tiny_run)
    again = harness(*tiny_run)
    assert again.code == 0
    assert ": was done already" in again.out
    assert again.out.splitlines()[1:] == first.out.splitlines()[1:]
    run_id = first.out.partition(":")[0]
    refused = harness("extend", run_id, "--samples", "1e4")
    assert refused.code == 2
    assert refused.err == (
        f"harness: run {run_id} has spent 20,000 samples already: give a larger budget in all than that\n"
    )
    extended = harness("extend", run_id, "--samples", "4e4")
    assert extended.code == 0, extended.err
    assert "spent 40,000 samples" in extended.out
    record = store.find(run_id).read()
    assert (record.status, record.budget, len(record.provenance)) == ("done", {"samples": 40_000}, 2)
    larger = harness(*tiny_run[:-1], "50000")  # the same command with a larger budget extends too
    assert "spent 50,000 samples" in larger.out
    nothing = harness("resume", run_id)
    assert nothing.code == 2
    assert "is done, there is nothing to resume" in nothing.err


def test_an_extended_run_equals_one_run_whole(harness: Harness, tiny_run: list[str], tmp_path: Path) -> None:
    run_id = harness(*tiny_run).out.partition(":")[0]
    harness("extend", run_id, "--samples", "4e4")
    other = tmp_path / "other"
    harness(*tiny_run[:-1], "4e4", "--results", other)

    def marks(root: Path) -> list[object]:
        rows = Store(root).find(run_id).rows()
        return [(row["marks"], row["info"], row["estimates"][:2]) for row in rows if row["marks"]]

    assert marks(tmp_path / "results") == marks(other)
    ends = [Store(root).find(run_id).rows()[-1]["estimates"] for root in (tmp_path / "results", other)]
    assert ends[0] == ends[1]


def _interrupt(words: list[str], signum: int, folder: Path) -> Result:
    """Start a run, wait until it trains, send a signal, and return how it ended."""
    env = environment(HARNESS_RESULTS=str(folder))
    with subprocess.Popen(
        [sys.executable, "-m", "harness", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
    ) as process:
        deadline = time.monotonic() + 300  # on a machine that does much else
        while not list(folder.glob("runs/*/trace.jsonl")) and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signum)
        out, err = process.communicate(timeout=60)
    return Result(process.returncode, out, err)


@pytest.mark.parametrize(
    ("signum", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)]
)
def test_an_interrupt_writes_a_checkpoint_and_resuming_loses_nothing(
    harness: Harness, mnist: api.Dataset, tmp_path: Path, signum: int, code: int
) -> None:
    words = [
        "run",
        "--algo",
        "aevb",
        "--nz",
        "5",
        "--hidden",
        "40",
        "--samples",
        "60000",
        "--eval-points",
        "200",
        "--final-points",
        "300",
    ]
    stopped = _interrupt(words, signum, tmp_path / "stopped")
    assert stopped.code == code, stopped.err
    run = next(Store(tmp_path / "stopped").runs())
    assert (
        stopped.err.splitlines()[-1] == f"harness: interrupted, nothing is lost: go on with `harness resume {run.id}`"
    )
    record = run.read()
    assert record.status == "interrupted"
    assert 0 < record.ledger["samples"] < 60_000
    assert (run.path / "checkpoint.safetensors").is_file()

    resumed = harness("resume", run.id, "--results", tmp_path / "stopped")
    assert resumed.code == 0, resumed.err
    harness(*words, "--results", tmp_path / "whole")
    whole = next(Store(tmp_path / "whole").runs())

    def rows(stored):
        return [(r["marks"], r["end"], r["info"], r["estimates"], r["ledger"]["samples"]) for r in stored.rows()]

    assert rows(run) == rows(whole)
    left, right = run.checkpoint(), whole.checkpoint()
    assert torch.equal(left["theta"], right["theta"])
    assert torch.equal(left["phi"], right["phi"])


def test_a_killed_run_goes_on_from_its_checkpoint_or_the_beginning(
    harness: Harness, mnist: api.Dataset, tmp_path: Path
) -> None:
    words = [
        "run",
        "--algo",
        "aevb",
        "--nz",
        "5",
        "--hidden",
        "40",
        "--samples",
        "30000",
        "--eval-points",
        "200",
        "--final-points",
        "200",
    ]
    killed = _interrupt(words, signal.SIGKILL, tmp_path / "killed")
    assert killed.code == -signal.SIGKILL
    run = next(Store(tmp_path / "killed").runs())
    assert run.read().status == "running"
    again = harness(*words, "--results", tmp_path / "killed")  # the same command resumes
    assert again.code == 0, again.err
    harness(*words, "--results", tmp_path / "whole")
    estimates = [
        [row["estimates"] for row in next(Store(tmp_path / name).runs()).rows()] for name in ("killed", "whole")
    ]
    assert estimates[0] == estimates[1]


def test_divergence_keeps_the_rows_and_exits_3(harness: Harness, tiny_run: list[str], store: Store) -> None:
    done = harness(*tiny_run, "--lr", "1e5", "--init-sd", "3")
    assert done.code == 3
    assert re.fullmatch(
        r"harness: run aevb-toy-nz2-s0-\w{8} diverged: .* after [\d,]+ samples with lr=100000\.0: try a smaller step size; "
        r"its rows: `harness show aevb-toy-nz2-s0-\w{8}`",
        done.err.splitlines()[-1],
    )
    run = next(store.runs())
    record = run.read()
    assert record.status == "diverged"
    assert record.reason is not None
    assert len(run.rows()) >= 1
    assert "diverged" in harness("list").out
    assert "diverged" in harness("show", run.id).out
    again = harness(*tiny_run, "--lr", "1e5", "--init-sd", "3")
    assert again.code == 3
    assert "diverged before" in again.err
    assert harness("resume", run.id).code == 2
    plotted = harness("plot", run.id)
    assert plotted.code == 2  # every bound of this run is NaN
    assert "there is no lower-bound to draw" in plotted.err


def test_an_algorithm_that_raises_is_failed_and_exits_3(
    harness: Harness, tiny_run: list[str], tmp_path: Path, store: Store
) -> None:
    path = tmp_path / "raiser.py"
    path.write_text(
        (PLUGINS / "renyi.py").read_text().replace("state.adam.zero_grad()", "raise RuntimeError('out of luck')")
    )
    words = ["run", "--algo", str(path), "--dataset", toy.__file__, "--nz", "2", "--samples", "1e4"]
    done = harness(*words)
    assert done.code == 3
    assert re.search(
        r"failed: algorithm 'raiser': raiser\.py:\d+ in step: RuntimeError: out of luck: `raise ", done.err
    )
    assert next(store.runs()).read().status == "failed"


TINY = ["--dataset", toy.__file__, "--samples", "100"]
BAD = [
    (["run", "--algo", "aebv"], "there is no algorithm 'aebv' (did you mean 'aevb'?)"),
    (["run", "--algo", "aevb", "--dataset", "mnits"], "there is no dataset 'mnits' (did you mean 'mnist'?)"),
    (["run", "--algo", "aevb", "--model", "mpl"], "there is no model 'mpl' (did you mean 'mlp'?)"),
    (["run", "--algo", "aevb", "--nz", "0", *TINY], "--nz of model 'mlp' is '0'"),
    (["run", "--algo", "aevb", "--nz", "-3", *TINY], "--nz of model 'mlp' is '-3'"),
    (["run", "--algo", "aevb", "--nz", "2.5", *TINY], "--nz of model 'mlp' is '2.5'"),
    (["run", "--algo", "aevb", "--nz", "ten", *TINY], "--nz of model 'mlp' is 'ten'"),
    (["run", "--algo", "aevb", "--nz", *TINY], "--nz needs a value"),
    (["run", "--algo", "aevb", "--nz", "2", "--nz", "3", *TINY], "--nz is given twice"),
    (["run", "--algo", "aevb", "stray", *TINY], "'stray' is no option"),
    (["run", "--algo", "aevb", "--samples", "0"], "--samples is '0'"),
    (["run", "--algo", "aevb", "--samples", "-5"], "--samples is '-5'"),
    (["run", "--algo", "aevb", "--samples", "many"], "--samples is 'many'"),
    (["run", "--algo", "aevb", "--samples", "1e400"], "--samples is '1e400'"),
    (["run", "--algo", "aevb", "--cpu-seconds", "0"], "--cpu-seconds is '0'"),
    (["run", "--algo", "aevb", "--wall-seconds", "nan"], "--wall-seconds is 'nan'"),
    (["run", "--algo", "aevb", "--learning-rate", "1", *TINY], "there is no setting --learning-rate"),
    (["run", "--algo", "aevb", "--sampels", "1e5"], "did you mean"),
    (["run", "--algo", "aevb", "--n-train", "0", *TINY], "--n-train is '0': give a whole number from 1"),
    (["run", "--algo", "aevb", "--n-train", "61", *TINY], "--n-train is 61: this dataset has 1 to 60"),
    (["run", "--algo", "aevb", "--seed", "x", *TINY], "--seed is 'x': give a whole number from 0"),
    (["run", "--algo", "aevb", "--threads", "0", *TINY], "--threads is '0': give a whole number from 1"),
    (["run", "--algo", "aevb", "--eval-points", "-1", *TINY], "is '-1'"),
    (["run", "--algo", "aevb", "--final-points", "0", *TINY], "is '0'"),
    (["run", "--algo", "./nowhere.py", *TINY], "the plugin file 'nowhere.py' does not exist"),
    (
        ["run", "--algo", "aevb", "--decoder", "bernoulli", "--kind", "real", *TINY],
        "needs data in [0, 1]: choose gaussian",
    ),
    (["run", "--algo", "aevb", "--data-dir", "/no/such/folder"], "--data-dir is '/no/such/folder', which is no folder"),
    (["run"], "Missing option '--algo'"),
    (["rum"], "rum"),
    (["show", "aevb"], "there is no run 'aevb'"),
    (["show", "../../etc"], "is no run id"),
    (["resume", "nothing"], "there is no run 'nothing'"),
    (["extend", "nothing", "--samples", "1e5"], "there is no run 'nothing'"),
    (["plot", "nothing"], "there is no run 'nothing'"),
    (["plot"], "Missing argument"),
    (["show"], "Missing argument"),
]


@pytest.mark.parametrize(("words", "said"), BAD, ids=[" ".join(words)[:60] for words, _ in BAD])
def test_bad_input_is_one_sentence_and_writes_nothing(
    harness: Harness, tmp_path: Path, words: list[str], said: str
) -> None:
    done = harness(*words)
    assert done.code == 2
    assert done.out == ""
    assert re.fullmatch(r"harness: [^\n]+\n", done.err), done.err
    assert said in done.err
    assert not (tmp_path / "results").exists()


def test_bad_stores_are_one_sentence(harness: Harness, tmp_path: Path, tiny_run: list[str]) -> None:
    (tmp_path / "file").write_text("")
    for root, said in (
        (tmp_path / "file", "is a file"),
        (tmp_path / "file" / "x", "is a file"),
        ("/proc/x", "cannot be written"),
    ):
        done = harness(*tiny_run, "--results", root)
        assert (done.code, done.out) == (2, "")
        assert re.fullmatch(r"harness: the store [^\n]+\n", done.err)
        assert said in done.err


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes to read-only folders")
def test_a_read_only_store_is_one_sentence(harness: Harness, tmp_path: Path, tiny_run: list[str]) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    done = harness(*tiny_run, "--results", tmp_path / "locked")
    assert done.code == 2
    assert "cannot be written" in done.err


def test_a_torn_or_edited_run_is_told_and_the_others_are_listed(
    harness: Harness, tiny_run: list[str], store: Store
) -> None:
    good = harness(*tiny_run).out.partition(":")[0]
    bad = harness(*tiny_run, "--seed", "1").out.partition(":")[0]
    path = store.root / "runs" / bad / "run.json"
    whole = path.read_text()
    for content, said in (
        (whole[:300], "torn"),
        (whole.replace('"done"', '"interrupted"'), "edited or damaged"),
        ("", "torn"),
    ):
        path.write_text(content)
        for words in (["show", bad], ["resume", bad], ["plot", bad], ["extend", bad, "--samples", "1e5"]):
            done = harness(*words)
            assert done.code == 2, words
            assert re.fullmatch(r"harness: [^\n]+run\.json [^\n]+\n", done.err), done.err
            assert said in done.err
        listed = harness("list")
        assert listed.code == 0
        assert good in listed.out
        assert "unreadable" in listed.out
        assert said in listed.err


def test_other_data_or_a_missing_checkpoint_stop_a_run_from_going_on(
    harness: Harness, tiny_run: list[str], store: Store
) -> None:
    run_id = harness(*tiny_run).out.partition(":")[0]
    run = store.find(run_id)
    record = run.read()
    record.provenance[-1]["dataset"]["sha256"] = "0" * 64
    rewrite(run, record)
    done = harness("extend", run_id, "--samples", "1e5")
    assert done.code == 2
    assert "was trained on other data" in done.err
    (run.path / "checkpoint.safetensors").unlink()
    done = harness("extend", run_id, "--samples", "1e5")
    assert done.code == 2
    assert "its checkpoint is gone" in done.err


def test_plot_refuses_what_it_cannot_draw(harness: Harness, tiny_run: list[str], store: Store) -> None:
    run_id = harness(*tiny_run).out.partition(":")[0]
    for words, said in (
        (["--x", "time"], "--x is 'time': choose one of samples, datapoints"),
        (["--scale", "cubic"], "--scale is 'cubic': choose log or linear"),
        (["--out", "x.doc"], "--out ends in .doc: choose one of"),
        (["--out", "/proc/x/y"], "cannot be written"),
    ):
        done = harness("plot", run_id, *words)
        assert done.code == 2
        assert said in done.err
    empty = store.run("empty")
    empty.claim()
    record = store.find(run_id).read()
    empty.write(Record("empty", record.spec, {"samples": 1}))
    empty.release()
    done = harness("plot", "empty")
    assert done.code == 2
    assert "there is no lower-bound to draw in empty" in done.err


def test_a_full_disk_is_one_sentence_and_the_run_goes_on_later(
    harness: Harness, tiny_run: list[str], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        done = harness(*tiny_run)
    assert done.code == 3
    assert "No space left on device" in done.err
    assert "Traceback" not in done.err
    assert harness(*tiny_run).code == 0


def test_plugin_listings(harness: Harness) -> None:
    done = harness("algos")
    for words in ("aevb (built-in)", "Auto-encoding variational Bayes", "--lr 0.02", "--estimator B", "analytic KL"):
        assert words in done.out
    (mnist,) = [p for p in json.loads(harness("datasets", "--json").out) if p["name"] == "mnist"]
    assert mnist["settings"][0]["name"] == "binarize"
    assert mnist["settings"][0]["default"] == "none"
    assert "--hidden 500" in harness("models").out


def test_doctor(harness: Harness, mnist: api.Dataset) -> None:
    found = json.loads(harness("doctor", "--json").out)
    lacking = {f["what"] for f in found if not f["ok"]}
    from_mirrors_alone = [
        "frey",
        "binarized-mnist",
        "debd",
        "fashion-mnist",
        "omniglot",
        "caltech-silhouettes",
        "bag-of-words",
    ]
    assert lacking <= {f"data {name}" for name in from_mirrors_alone}
    done = harness("doctor")
    assert done.code == (1 if lacking else 0), done.out
    for words in (
        "torch",
        "threads",
        "data mnist",
        "50,000 + 10,000 points from",
        "store",
        "calibration",
        "CPU seconds",
    ):
        assert words in done.out
    done = harness("doctor", "--json", "--data-dir", "/no/such/folder")
    assert done.code == 1
    assert {f["what"]: f["ok"] for f in json.loads(done.out)}["data mnist"] is False


def test_debug_shows_the_traceback() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "harness", "--debug", "run", "--algo", "nope"], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "BadInput" in done.stderr


def on_a_terminal(words: list[str], folder: Path) -> str:
    """Run the command under a pseudo-terminal, and return what it wrote there."""
    import pty

    output = bytearray()
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(COLUMNS="160", TERM="xterm", HARNESS_RESULTS=str(folder / "pty"))
        os.execvp(sys.executable, [sys.executable, "-m", "harness", *words])
    while True:
        try:
            output += os.read(terminal, 4096)
        except OSError:
            break
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    return output.decode()


def test_a_command_whose_output_nobody_reads_goes_on_to_its_own_exit_code(
    tmp_path: Path, tiny_run: list[str], store: Store
) -> None:
    words = [sys.executable, "-m", "harness", *tiny_run, "--results", str(store.root)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment()) as process:
        assert process.stdout is not None
        process.stdout.close()  # as `| true` and `| head` do
        assert process.wait(60) == 0
    (run,) = store.runs()
    assert run.read().status == "done"
    missing = [sys.executable, "-m", "harness", "show", "nonesuch", "--results", str(store.root)]
    with subprocess.Popen(missing, stderr=subprocess.PIPE, env=environment()) as process:
        assert process.stderr is not None
        process.stderr.close()
        assert process.wait(60) == 2


def test_a_progress_bar_is_drawn_on_a_terminal(tmp_path: Path, tiny_run: list[str]) -> None:
    """The bar shows bound, rate and time left, and is cleared by the summary."""
    text = on_a_terminal([*tiny_run[:-1], "1.2e5"], tmp_path)
    for part in ("samples/s", "left", "train -", "/120,000 samples", ": done"):
        assert part in text


def test_a_sweep_shows_all_runs_and_those_under_way(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        f'[[grid]]\nalgo = "aevb"\ndataset = "{toy.__file__}"\nnz = 2\nseed = [0, 1]\nbatch-size = 40\nsamples = 1e5\n'
    )
    text = on_a_terminal(["sweep", str(path), "--jobs", "2"], tmp_path)
    for part in (
        "timing 1 kinds of run",
        "all runs",
        "0/2, ",
        " left",
        "aevb-toy-nz2-s0-",
        "[2/2] aevb-toy",
        "mine: 2 done",
    ):
        assert part in text, part
