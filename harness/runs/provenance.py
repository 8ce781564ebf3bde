"""What a run ran on, so that figures from different code, data or machines are never compared unawares (DESIGN §6)."""

import os
import platform
import time
from importlib.metadata import version
from typing import Any

import torch

from harness.runs import machine
from harness.runs.code import PACKAGES, code_version


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
