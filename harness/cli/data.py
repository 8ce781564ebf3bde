"""`harness data`: what a file of the user's own looks like."""

import os
from pathlib import Path

import click

from harness.cli.options import json_flag
from harness.cli.output import print_json
from harness.cli.settings import settings_argument
from harness.errors import BadInput
from harness.files import encoded, write_output
from harness.specs import named

EPILOG = """Settings are those of the dataset `file`, such as --kind, --scale, --split, --labels, --shape and --missing, and stand
behind FILE: see `harness run --dataset file --algo aevb --help`."""


@click.command(epilog=EPILOG, context_settings={"ignore_unknown_options": True})
@click.argument("file", metavar="FILE")
@click.option(
    "--experiment",
    metavar="FILE.toml",
    help="Also write an experiment that compares algorithms on it, for `harness sweep`.",
)
@json_flag
@settings_argument
def data(file: str, experiment: str | None, as_json: bool, settings: dict[str, str | bool]) -> None:
    """Describe a file of your own data, and how to train on it.

    FILE is an array (.npy, .npz, .mat, IDX), a table (.csv, .tsv, .parquet), a folder of images, or two or three of these with
    commas between: training, perhaps validation, and test points.
    """
    from harness.data.description import describe
    from harness.report.data import print_description
    from harness.specs import data_file, registry
    from harness.specs.run import settings_of
    from harness.specs.where import is_data

    if not is_data("datasets", file):
        raise BadInput(f"{file!r} is code, and no data: name it with --dataset of `harness run`")
    named.note(file)
    reader = registry.by_name("datasets", registry.DATA_FILE)
    settings_of(reader, settings)  # whether they are settings at all
    given = {name.removeprefix("dataset.").replace("-", "_"): value for name, value in settings.items()}
    found = describe(data_file.read(file), reader.module.Config, given, file)
    if experiment is not None:
        write_experiment(Path(experiment), found["experiment"])
    if as_json:
        print_json(found)
    else:
        print_description(found, experiment)


def write_experiment(path: Path, text: str) -> None:
    """Write an experiment where there is no file; BadInput where there is one, or none can be."""
    if path.suffix != ".toml":
        raise BadInput(f"--experiment is {str(path)!r}: give the path of a new file that ends in .toml")
    if os.path.lexists(path):
        raise BadInput(f"--experiment is {str(path)!r}, which exists: give another name, or remove it")
    try:
        write_output(path, encoded(text))
    except OSError as error:
        raise BadInput(f"--experiment is {str(path)!r}, which cannot be written ({error.strerror})") from error
