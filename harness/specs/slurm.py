"""What workers on a SLURM cluster ask for: options of the command line, the `[slurm]` table of an experiment, the user's own."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.errors import BadInput, suggestion
from harness.specs.options import Option
from harness.specs.values import Duration, Name, WholeNumber

if TYPE_CHECKING:
    from harness.specs.toml import TomlFile

MOST_WORKERS = 10_000

OPTIONS: dict[str, Option] = {
    option.name: option
    for option in (
        Option("workers", "workers", WholeNumber(1, MOST_WORKERS), "SLURM: how many workers [1]."),
        Option("time", "minutes", Duration(), "SLURM: time limit of a worker, which then queues again [1h]."),
        Option("partition", "partition", Name(), "SLURM: partition [the cluster's default]."),
        Option("account", "account", Name(), "SLURM: account [your default]."),
        Option("cpus", "cpus", WholeNumber(1, 1024), "SLURM: processors of a worker [1]."),
        Option("gpus", "gpus", WholeNumber(0, 64), "SLURM: GPUs of a worker [0]."),
        Option("array-limit", "array_limit", WholeNumber(1, MOST_WORKERS), "SLURM: workers at a time [all]."),
    )
}
"""What can be asked for, by name."""


class Slurm(NamedTuple):
    """What each worker asks for, and how many there are; None leaves it to the cluster."""

    workers: int = 1
    minutes: int = 60
    partition: str | None = None
    account: str | None = None
    cpus: int = 1
    gpus: int = 0
    array_limit: int | None = None

    @property
    def lead(self) -> int:
        """Seconds before the time limit at which a worker is told to write its checkpoints.

        SLURM looks at running jobs every half minute, so the signal may come as much earlier, and a limit of a minute or two has
        to leave some time to train.
        """
        return min(120, max(15, self.minutes * 60 // 8))


def settings(*given: Mapping[str, Any]) -> Slurm:
    """Return what workers ask for; what is given first goes before what is given later, and before the user's own."""
    merged: dict[str, Any] = {}
    for one in reversed([*given, users()]):
        merged |= one
    return Slurm(**{OPTIONS[name].field: value for name, value in merged.items()})


def read_table(file: "TomlFile", content: object) -> dict[str, Any]:
    """Return the `[slurm]` table of a file, its values by name; BadInput with the line of what is wrong."""
    if not isinstance(content, dict):
        raise BadInput(f"{file.place(('slurm',))}: slurm is {content!r}: make it a table, [slurm]")
    found = {}
    for name, value in content.items():
        place = file.place(("slurm", name))
        if name not in OPTIONS:
            known = ", ".join(OPTIONS)
            raise BadInput(
                f"{place}: slurm.{name}: there is no such key{suggestion(name, OPTIONS)}: choose one of {known}"
            )
        try:
            found[name] = OPTIONS[name].value.read(value)
        except ValueError as error:
            raise BadInput(f"{place}: slurm.{name} is {value!r}: {error}") from None
    return found


def config_path() -> Path:
    """Return where the user's own settings are, whether they are there or not."""
    import platformdirs

    return platformdirs.user_config_path("inference-harness") / "config.toml"


def users() -> dict[str, Any]:
    """Return the `[slurm]` table of the user's own settings; nothing where there is none."""
    from harness.specs.toml import TomlFile  # which imports pydantic

    path = config_path()
    if not path.is_file():
        return {}
    file = TomlFile(path)
    for name in file.content:
        if name != "slurm":
            raise BadInput(f"{file.place((name,))}: there is no such table {name!r}: there is [slurm] alone")
    return read_table(file, file.content.get("slurm", {}))
