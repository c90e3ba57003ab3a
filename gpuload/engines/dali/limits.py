"""What DALI cannot do, said when a loader is made: no transform is left out in silence."""

import numpy as np
import torch
from numpy.typing import NDArray

from gpuload.engines.base import Layout
from gpuload.errors import ArgumentError
from gpuload.recipes.draws import CounterDraws
from gpuload.recipes.fuse import fuse
from gpuload.recipes.ops import Filter, PadMode
from gpuload.transforms.plan import Plan

__all__ = ["DTYPES", "INTERPOLATION", "check_plan", "check_records", "scaling"]

DTYPES = {torch.uint8: "UINT8", torch.float16: "FLOAT16", torch.float32: "FLOAT"}
TOLERANCE = {torch.uint8: 0.0, torch.float16: 1e-3, torch.float32: 1e-5}  # of the largest value
INTERPOLATION = {  # of DALI, by name; it has no others
    Filter.NEAREST: "INTERP_NN",
    Filter.TORCH_NEAREST: "INTERP_NN",
    Filter.BILINEAR: "INTERP_LINEAR",
    Filter.TORCH_BILINEAR: "INTERP_LINEAR",
    Filter.BICUBIC: "INTERP_CUBIC",
    Filter.TORCH_BICUBIC: "INTERP_CUBIC",
    Filter.LANCZOS: "INTERP_LANCZOS3",
    Filter.TORCH_LANCZOS: "INTERP_LANCZOS3",
}
TRIED = 256  # draws of each transform, on an image of
HEIGHT, WIDTH = 375, 500

Floats = NDArray[np.float64]


def check_plan(plan: Plan, layout: Layout) -> None:
    """Has DALI all that this plan wants?

    Raises:
        ArgumentError: something of a transform, or the dtype, it has not.
    """
    if layout.dtype not in DTYPES:
        raise ArgumentError(f"engine='dali' makes {', '.join(map(str, DTYPES))}, got dtype={layout.dtype}")
    if scaling(layout) is None:
        names = ", ".join(map(repr, plan.pointwise))
        raise ArgumentError(f"engine='dali' can only scale and shift values, which is not what these do: {names}")
    draws = CounterDraws(0, 0, np.arange(TRIED))
    for transform, _ in plan.geometric:
        recipes = Plan([transform]).recipes(np.full(TRIED, HEIGHT), np.full(TRIED, WIDTH), draws)
        try:
            check_records(fuse(recipes).records)
        except ArgumentError as error:
            raise ArgumentError(f"{transform!r}: {error}") from None


def check_records(records: NDArray[np.void]) -> None:
    """Can DALI do what these records say?

    Raises:
        ArgumentError: a filter or a padding mode that it does not have.
    """
    axes = records["axes"]
    resized = (axes["length"] != axes["resized"]).any(axis=1)
    for value in np.unique(records["filter"][resized]).tolist():
        if Filter(value) not in INTERPOLATION:
            raise ArgumentError(f"engine='dali' has no {Filter(value).name.lower()} filter: choose another engine")
    for value in np.unique(axes["padding"]).tolist():
        if PadMode(value) is not PadMode.CONSTANT:
            mode = PadMode(value).name.lower()
            raise ArgumentError(
                f"engine='dali' pads with a color, not with padding_mode={mode!r}: choose another engine"
            )


def scaling(layout: Layout) -> tuple[Floats, Floats] | None:
    """(mean, std) of each channel, where values are (byte - mean) / std; None: they are something else."""
    values = layout.table.double().numpy()
    slope = (values[:, 255] - values[:, 0]) / 255
    if (slope == 0).any():
        return None
    mean, std = -values[:, 0] / slope, 1 / slope
    made = (np.arange(256) - mean[:, None]) / std[:, None]
    made = made if layout.dtype.is_floating_point else np.rint(made)
    differs = np.abs(made - values) > TOLERANCE[layout.dtype] * np.abs(values).max()
    return None if differs.any() else (mean, std)
