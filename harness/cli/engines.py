"""Where many runs are made: options that several commands have, and the commands' ways to worker machines."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from harness.cli.options import Command, value_option
from harness.cli.output import print_json, say
from harness.cli.settings import WORDS
from harness.errors import BadInput
from harness.safe_text import show
from harness.specs import slurm as asked_of_slurm
from harness.specs.values import MB, Engine, WholeNumber

if TYPE_CHECKING:
    from harness.store.store import Store

ON = "--on"

SHIP_LIMIT = 1000  # MB


class Chosen(NamedTuple):
    """Where the runs are made, and what was asked of that engine.

    Attributes:
        on: see `harness.specs.values.Engine`.
        slurm: what was asked of SLURM.
        ship: how many bytes of a run, or of its data, may travel to workers of Dask; None where these see the store.
    """

    on: str
    slurm: dict[str, Any]
    ship: int | None = None


def engine_options(command: Command) -> Command:
    """Add the options that choose an engine; the command gets them as `engine`."""

    def gathering(**given: Any) -> Any:
        named = {name: given.pop(option.field) for name, option in asked_of_slurm.OPTIONS.items()}
        slurm = {name: value for name, value in named.items() if value is not None}
        on, ship, most = given.pop("on"), given.pop("ship"), given.pop("ship_limit")
        if (ship or most is not None) and "://" not in on:
            raise BadInput(
                f"--{'ship' if ship else 'ship-limit'} is for --on dask://HOST:PORT, and --on is {on!r}: leave out one"
            )
        if most is not None and not ship:
            raise BadInput(
                f"--ship-limit is {most}, and nothing travels without --ship: give that, too, or leave it out"
            )
        if slurm and on != "slurm":
            words = " and ".join(f"--{name}" for name in slurm)
            raise BadInput(
                f"{words} {'is' if len(slurm) == 1 else 'are'} for --on slurm, and --on is {on!r}: leave out one"
            )
        if "://" in on and not _is_default("jobs"):
            raise BadInput(
                f"--jobs is {given['jobs']}, and on Dask the threads of its workers say how many runs are made at a time: "
                "leave it out"
            )
        return command(engine=Chosen(on, slurm, (most or SHIP_LIMIT) * MB if ship else None), **given)

    gathering.__name__, gathering.__doc__ = command.__name__, command.__doc__
    gathering.__click_params__ = getattr(command, "__click_params__", [])  # type: ignore[attr-defined]
    decorated: Any = gathering
    for name, option in reversed(asked_of_slurm.OPTIONS.items()):
        decorated = value_option(f"--{name}", option.value, option.help, parameter=option.field)(decorated)
    limit = f"Dask: most MB of a run, or of its data, that travel [{SHIP_LIMIT}]."
    decorated = value_option("--ship-limit", WholeNumber(1, 16_000, metavar="MB"), limit)(decorated)
    decorated = click.option(
        "--ship", is_flag=True, help="Dask: send runs and data to workers that do not see the store."
    )(decorated)
    return value_option(ON, Engine(), "Where the runs are made.", default="local")(decorated)  # type: ignore[no-any-return]


def _is_default(option: str) -> bool:
    """Say whether an option of the present command was not given."""
    source = click.get_current_context().get_parameter_source(option)
    return source is click.core.ParameterSource.DEFAULT


def worker_words(context: click.Context, store: "Store", asked: asked_of_slurm.Slurm, *more: str) -> list[str]:
    """Return the command that a worker is: the one that was given, on that machine itself."""
    with_value = (ON, *(f"--{name}" for name in asked_of_slurm.OPTIONS))
    words, rest = [str(context.info_name)], list(context.meta[WORDS])
    while rest:
        word = rest.pop(0)
        name, equals, _ = word.partition("=")
        if name in with_value and not equals:
            rest.pop(0)
        elif name not in (*with_value, "--dry-run", "--json"):
            words.append(word)
    if _is_default("jobs"):
        words += ["--jobs", str(asked.cpus)]
    return [*words, "--results", str(store.root), *more]


def on_slurm(
    store: "Store", engine: Chosen, subject: str, table: Mapping[str, Any], *more: str, dry_run: bool = False,
    as_json: bool = False,
) -> None:  # fmt: skip
    """Submit the command itself as workers of a SLURM cluster, as far as they are not there, and say so.

    Args:
        store: which all workers share.
        engine: what was asked for.
        subject: what the workers are named after, such as an experiment.
        table: what the experiment asks for.
        more: words of a worker that the command does not have.
        dry_run: print the script instead.
        as_json: print JSON.
    """
    from harness.runs import slurm

    asked = asked_of_slurm.settings(engine.slurm, table)
    name = slurm.name_of(store, subject)
    words = worker_words(click.get_current_context(), store, asked, *more)
    if dry_run:
        show(*slurm.script(asked, name, store, words, asked.workers).splitlines())
        return
    if slurm.is_here() and (kind := slurm.local_file_system(store)):
        say(
            f"warning: the store {str(store.root)!r} is on {kind}, which other nodes see only where this machine exports it"
        )
    array = slurm.submit(asked, name, store, words)
    there = slurm.queue(name)
    if as_json:
        print_json({"name": name, "array": array, "workers": [worker._asdict() for worker in there]})
        return
    logs = store.root / slurm.FOLDER
    if array is None:
        show(f"{name}: {len(there)} workers are there already: {', '.join(worker.job for worker in there)}")
    else:
        show(
            f"{name}: submitted array {array}, now {len(there)} of {asked.workers} workers wait or run; they write to {logs}"
        )


def print_queue(store: "Store", subject: str, *, as_json: bool, counts: Mapping[str, int]) -> None:
    """Print how many runs are in which state, and which workers of SLURM there are, if there is a SLURM."""
    from harness.report.text import print_table
    from harness.runs import slurm

    if not as_json:
        show(f"{subject}: {sum(counts.values())} runs, " + ", ".join(f"{n} {state}" for state, n in counts.items()))
    workers = slurm.queue(slurm.name_of(store, subject)) if slurm.is_here() else []
    if as_json:
        print_json({"runs": dict(counts), "workers": [worker._asdict() for worker in workers]})
    elif workers:
        print_table(("worker", "state", "time", "where"), workers)
    else:
        show("no workers on SLURM" if slurm.is_here() else "no SLURM here")


def cancel(store: "Store", subject: str) -> None:
    """Cancel the workers of SLURM, and say which."""
    from harness.runs import slurm

    gone = slurm.cancel(slurm.name_of(store, subject))
    ids = ", ".join(worker.job for worker in gone)
    show(
        f"{subject}: cancelled {ids}; nothing is lost, the same sweep goes on"
        if gone
        else f"{subject}: there are no workers"
    )
