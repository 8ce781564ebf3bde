"""Errors that the code of a plugin raises: where, in its own lines, and whose mistake it is."""

import linecache
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, TracebackType

from harness.errors import HarnessError, PluginFailed, RunFailed, in_one_line, out_of_memory
from harness.specs import plugin_file

_BUILT_IN = ("harness.algorithms.", "harness.datasets.", "harness.models.", "harness.estimators.")


@contextmanager
def blaming(what: str, plugin: ModuleType | None = None) -> Iterator[None]:
    """Raise as `PluginFailed` what a plugin's code raises here, except errors of the harness and want of memory.

    Args:
        what: the plugin in words, such as "algorithm 'dreg'".
        plugin: its module.
    """
    try:
        yield
    except (Exception, SystemExit) as error:
        if isinstance(error, HarnessError) or (isinstance(error, Exception) and out_of_memory(error)):
            raise
        raise failed(what, error, plugin) from error


def failed(what: str, error: BaseException, plugin: ModuleType | None = None) -> PluginFailed:
    """Return the error of a plugin as the harness reports it: plugin, file, line, function, and what the line says."""
    return PluginFailed(f"{what}: {located(error, plugin)}", "".join(traceback.format_exception(error)))


def located(error: BaseException, plugin: ModuleType | None = None) -> str:
    """Return an error in one line with its place: `dreg.py:21 in init: NameError: name 'tau' is not defined: `lr = tau`.

    The place is the last one in the user's own files, else in the module of the plugin, else in a built-in plugin.
    """
    said = str(error) if isinstance(error, RunFailed) else f"{type(error).__name__}: {error}".rstrip(": ")
    said = in_one_line(said)
    if isinstance(error, SyntaxError) and error.filename:
        said = in_one_line(f"SyntaxError: {error.msg}")
        return f"{Path(error.filename).name}:{error.lineno}: {said}" + _quoted(error.text or "")
    frames = list(_frames(error.__traceback__))
    package = plugin.__name__.partition(".")[0] if plugin is not None else ""
    for mine in (
        plugin_file.is_users,
        lambda name: bool(package) and package != "harness" and name.partition(".")[0] == package,
        lambda name: name.startswith(_BUILT_IN),
    ):
        for name, file, line, function in reversed(frames):
            if mine(name):
                where = "" if function == "<module>" else f" in {function}"
                return f"{Path(file).name}:{line}{where}: {said}" + _quoted(linecache.getline(file, line))
    path = getattr(plugin, "__file__", None)
    return f"{Path(path).name}: {said}" if path else said


def _frames(found: TracebackType | None) -> Iterator[tuple[str, str, int, str]]:
    """Yield module, file, line and function of each frame, the innermost last."""
    for frame, line in traceback.walk_tb(found):
        yield str(frame.f_globals.get("__name__", "")), frame.f_code.co_filename, line, frame.f_code.co_name


def _quoted(line: str) -> str:
    line = in_one_line(line.strip())
    return f": `{line}`" if line else ""
