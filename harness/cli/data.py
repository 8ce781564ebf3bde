"""`harness data`: what a file of the user's own looks like."""

import click

from harness.cli.options import json_flag
from harness.cli.output import print_json
from harness.cli.settings import settings_argument
from harness.errors import BadInput
from harness.specs import named

EPILOG = """Settings are those of the dataset `file`, such as --kind, --scale, --split, --labels, --shape and --missing, and stand
behind FILE: see `harness run --dataset file --algo aevb --help`."""


@click.command(epilog=EPILOG, context_settings={"ignore_unknown_options": True})
@click.argument("file", metavar="FILE")
@json_flag
@settings_argument
def data(file: str, as_json: bool, settings: dict[str, str | bool]) -> None:
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
    if as_json:
        print_json(found)
    else:
        print_description(found)
