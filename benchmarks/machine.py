"""Where figures were measured."""

import os
import platform
from pathlib import Path

import torch


def machine() -> dict[str, str]:
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {
        "cpu": f"{model}, {os.cpu_count()} cores",
        "gpu": gpu,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
