"""What a run ran on, so that figures from different code, data or machines are never compared unawares (DESIGN §6)."""

import os
import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from harness.runs import machine
from harness.runs.code import PACKAGES, code_version
from harness.specs import plugin_file
from harness.specs.run import RunSpec


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
        "flush_denormal": machine.flushes_denormals(),
        "calibration_seconds": machine.calibrate(),
    }


def sources(spec: RunSpec) -> dict[str, Any]:
    """Return as plain data what is in the plugin files of a run, and in the modules beside them; nothing where it has none.

    What has changed since the plugin was imported is left out.
    """
    parts = {"algorithm": spec.algorithm, "model": spec.model, "dataset": spec.dataset}
    parts |= {f"estimator {one.name}": one for one in spec.evaluation.estimators}
    kept = {}
    for name, part in parts.items():
        if part.file is not None:
            file = plugin_file.read(Path(part.file))
            if file.sha256 == part.sha256:
                contents = {file.path.name: file.content, **file.helpers}
                kept[name] = {path: content.decode(errors="replace") for path, content in contents.items()}
    return {"sources": kept} if kept else {}
