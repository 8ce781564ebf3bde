"""What this installation has, and what it lacks, before a long run finds out."""

import re
from importlib.metadata import requires, version
from typing import Any, get_args

from harness.data.suitability import warnings
from harness.errors import BadInput, HarnessError
from harness.native import path
from harness.runs import code, machine
from harness.specs import registry
from harness.store.gc import collect
from harness.store.store import Store
from harness.training.process import prepare_process


def examine(store: Store, data_dir: str | None) -> list[dict[str, Any]]:
    """Return findings as plain data: what, whether it is well, and what was found. Fetches missing data, as a run would."""
    import torch

    found: list[dict[str, Any]] = []

    def note(what: str, well: bool, detail: str) -> None:
        found.append({"what": what, "ok": well, "found": detail})

    ours = code.code_version()
    commit = f", commit {ours['commit'][:12]}{' with changes' if ours['dirty'] else ''}" if ours["commit"] else ""
    note("harness", True, f"{ours['version']}, source {ours['source_sha256']}{commit}")
    note("packages", True, ", ".join(f"{name} {version(name)}" for name in required_packages()))
    note("processor", True, machine.cpu_model())
    note("primitives", True, path.description)
    note("threads", True, f"PyTorch would use {torch.get_num_threads()}; a run uses --threads, by default 1")
    gpu = (
        torch.cuda.get_device_name() if torch.cuda.is_available() else "none that PyTorch can use; --device cpu is left"
    )
    note("gpu", True, gpu)
    prepare_process(1)
    flushes = machine.flushes_denormals()
    note("denormals", flushes, "flushed to zero" if flushes else "not flushed to zero: training will be slower")
    for kind in get_args(registry.Kind):
        plugins = registry.listing(kind)
        broken = [f"{p.name} ({p.source}): {p.broken}" for p in plugins if p.broken]
        note(kind, not broken, "; ".join(broken) or ", ".join(p.name for p in plugins))
    for plugin in registry.listing("datasets"):
        if plugin.module is None:
            continue
        try:
            data = plugin.module.load(plugin.module.Config(), data_dir)
            warned = "".join(f"; {words}" for words in warnings(plugin.name, data).values())
            note(
                f"data {plugin.name}",
                True,
                f"{len(data.train):,} + {len(data.test):,} points from {data.source}{warned}",
            )
        except BadInput as error:
            note(f"data {plugin.name}", getattr(plugin.module, "OWN_FILES", False), str(error))
    try:
        store.require_writable()
        note("store", True, f"{store.root} can be written, {sum(1 for _ in store.runs())} runs")
    except BadInput as error:
        note("store", False, str(error))
    note("calibration", True, f"{machine.calibrate():.4f} CPU seconds for twenty (100, 784) × (784, 500) products")
    return found


def required_packages() -> list[str]:
    """Return the packages that this one requires, those of its extras aside."""
    return [re.split(r"[^\w.-]", line)[0] for line in requires("inference-harness") or () if "extra ==" not in line]


def leftovers(store: Store) -> list[str]:
    """Return the paths of what processes that were killed have left in a store, which `harness gc` removes."""
    return [str(one.path) for one in collect(store, dry_run=True) if one.what == "leftover"]


def examine_store(store: Store, *, repair: bool = False) -> list[dict[str, Any]]:
    """Read all runs that no process owns, and return what is damaged: run, file (None: the run), reason, moved_to.

    Args:
        store: where.
        repair: move what is damaged into the store's folder `quarantine`; a run that was, can be made again.
    """
    if repair:
        store.require_writable()
    found = []
    for damage in list(store.damage()):
        moved, reason = None, damage.reason
        if repair:
            try:
                moved = str(store.quarantine(damage))
            except HarnessError as error:
                reason = f"{reason}; {error}"
        run = f"{damage.run.path.parent.name}/{damage.run.id}"
        found.append({"run": run, "file": damage.file, "reason": reason, "moved_to": moved})
    return found
