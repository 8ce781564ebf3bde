"""The `harness` command: its commands in groups, and how every error becomes one sentence and an exit code.

What is slow to import is imported by the commands that need it, inside their functions, so that help and completion are quick.
"""

import atexit
import errno
import os
import signal
import sys
from gc import freeze
from typing import Any

import click

from harness import __version__
from harness.cli.check import check, save_baseline, show_baseline
from harness.cli.data import data
from harness.cli.evaluate import certify, evaluate
from harness.cli.export import export
from harness.cli.gradients import gradients
from harness.cli.history import history
from harness.cli.impute import impute
from harness.cli.look import compare, list_runs, show, table
from harness.cli.output import say, survive_lost_readers
from harness.cli.plot import plot
from harness.cli.plugins import LISTINGS
from harness.cli.rank import rank
from harness.cli.report import report
from harness.cli.run import extend, resume, run
from harness.cli.share import import_runs, publish
from harness.cli.store import doctor, gc, rm
from harness.cli.sweep import sweep, tune
from harness.cli.verify import verify
from harness.cli.watch import watch
from harness.errors import HarnessError, out_of_memory
from harness.specs import named


class Commands(click.Group):
    """A group whose help lists its commands under headings, in the order given, and which shows help when given no words."""

    def __init__(self, **attributes: Any):
        super().__init__(**attributes)
        self.headings: dict[str, list[str]] = {}

    def add(self, heading: str, *commands: click.Command) -> None:
        """Add commands under a heading."""
        for command in commands:
            self.add_command(command)
            self.headings.setdefault(heading, []).append(str(command.name))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the words as click does; none ask for help."""
        return super().parse_args(ctx, args or ["--help"])

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands under their headings."""
        width = max(len(name) for name in self.commands)
        for heading, names in self.headings.items():
            with formatter.section(heading):
                room = formatter.width - width - 6
                formatter.write_dl(
                    [(f"{name:<{width}}", self.commands[name].get_short_help_str(room)) for name in names]
                )


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="harness")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Which inference algorithm learns the better latent-variable model, under one budget, and how sure are we?"""
    named.forget()  # what an earlier command of this process was given


@click.group(cls=Commands)
def baseline() -> None:
    """Store what runs reached, to compare later runs with."""


baseline.add("Commands", save_baseline, show_baseline)
cli.add("Run", run, resume, extend, evaluate, certify, impute)
cli.add("Many runs", sweep, tune)
cli.add("Look", list_runs, show, plot, table, compare, rank, report, history, watch)
cli.add("Judge", check, verify, baseline, gradients)
cli.add("Store", rm, gc, export, import_runs, publish, doctor)
cli.add("Plugins", *LISTINGS, data)


def main() -> None:
    """Run the command; an error becomes one sentence on standard error, and an exit code."""
    debug = "--debug" in sys.argv[1:]
    atexit.register(freeze)  # an ending process need not look for cycles, which takes a sixth of the time of `--help`
    os.environ["MPLBACKEND"] = "Agg"  # figures are files; what a notebook has set need not be there
    survive_lost_readers()
    try:
        code = cli.main(prog_name="harness", standalone_mode=False)
    except (KeyboardInterrupt, click.Abort):
        say("stopped at once: a run goes on with `harness resume RUN`, a sweep with the same command")
        code = 130
    except Exception as error:
        if debug:
            raise
        words, code = explained(error)
        say(words)
    if code and code > 128:  # stopped by a signal: the same one, sent again, does not change how this ends
        from harness.runs.signals import SIGNALS

        for signum in SIGNALS:
            signal.signal(signum, signal.SIG_IGN)
    if training := sys.modules.get("harness.training.process"):
        for stream in (sys.stdout, sys.stderr):
            if not stream.closed:  # by an algorithm
                stream.flush()
        training.watch.end(code or 0)
    sys.exit(code or 0)


def explained(error: Exception) -> tuple[str, int]:
    """Return an error as a sentence, and the exit code that it means."""
    if isinstance(error, HarnessError):
        return str(error), error.exit_code
    if isinstance(error, click.ClickException):
        context = getattr(error, "ctx", None)
        where = context.command_path if context else "harness"
        return f"{error.format_message().rstrip('.')}: see `{where} --help`", 2
    if isinstance(error, OSError):
        given = error.errno == errno.ENAMETOOLONG  # no name of ours is
        what = "give a shorter name" if given else "free some space or repair it"
        return f"{error.filename or 'the output'}: {error.strerror or error}: {what}", 2 if given else 3
    if out_of_memory(error):
        return "there is not enough memory: give smaller numbers, or use a machine with more", 3
    return (
        (  # what nobody thought of
            f"a fault of the harness itself, {type(error).__name__}: {str(error)[:300]!r}: please report what `harness --debug` "
            "with the same words prints"
        ),
        70,
    )
