"""What a run ran on, so that figures from different code, data or machines are never compared unawares (DESIGN §6)."""

import os
import platform
import time
from contextlib import suppress
from importlib.metadata import version
from typing import Any

import torch

from harness.errors import BadInput
from harness.native import path
from harness.runs import machine
from harness.runs.code import PACKAGES, code_version
from harness.specs import registry
from harness.specs.run import PluginSpec, RunSpec
from harness.specs.where import is_data


def provenance(dataset_sha256: str) -> dict[str, Any]:
    """Return versions, code, data, machine, and how long the calibration kernel took, as plain data."""
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "packages": {name: version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "code": code_version(),
        "dataset": {"sha256": dataset_sha256},
        "machine": {
            "cpu": machine.cpu_model(),
            "gpu": torch.cuda.get_device_name() if torch.get_default_device().type == "cuda" else None,
            "cores": os.cpu_count(),
            "system": f"{platform.system()} {platform.machine()}",
            "load_average": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        },
        "threads": torch.get_num_threads(),
        "primitives": path.of(torch.get_default_device().type),
        "flush_denormal": machine.flushes_denormals(),
        "calibration_seconds": machine.calibrate(),
    }


def sources(spec: RunSpec) -> dict[str, Any]:
    """Return as plain data what is in the plugin files of a run, and in the modules beside them; nothing where it has none.

    What has changed since the plugin was imported is left out.
    """
    parts: list[tuple[str, registry.Kind, PluginSpec]] = [
        ("algorithm", "algorithms", spec.algorithm), ("model", "models", spec.model), ("dataset", "datasets", spec.dataset),
    ]  # fmt: skip
    parts += [(f"estimator {one.name}", "estimators", one) for one in spec.evaluation.estimators]
    kept = {}
    for name, kind, part in parts:
        if part.file is not None and not is_data(kind, part.file):
            with suppress(BadInput):
                file = registry.stored_file(kind, part.name, part.file, part.sha256 or "unknown")
                contents = {file.path.name: file.content, **file.helpers}
                kept[name] = {path: content.decode(errors="replace") for path, content in contents.items()}
    return {"sources": kept} if kept else {}
