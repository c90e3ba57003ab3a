"""Where figures were measured."""

import platform
from pathlib import Path

import torch

from gpuload.tools.common import cores

__all__ = ["machine"]


def machine() -> dict[str, str]:
    """``cpu``, ``gpu``, ``torch`` and ``python``: models and versions, in words."""
    return {
        "cpu": f"{_processor()}, {cores()} {'core' if cores() == 1 else 'cores'}",
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def _processor() -> str:
    """The processor's model, as Linux has it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor() or platform.machine())
