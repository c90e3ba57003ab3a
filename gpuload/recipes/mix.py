"""Several pictures that are made of one, mixed with it: `Mix`, an operation like those of `gpuload.recipes.ops`.

Source: torchvision's ``AugMix``, v1 and v2, which makes a uint8 tensor of a PIL image: what it does to that is torch's
arithmetic, not Pillow's.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image

from gpuload.recipes.adjust import Adjustment
from gpuload.recipes.ops import Filter, Fusing, Mask, Pixels

__all__ = ["EFFECTS", "GRID", "GRIDDED", "LEAST_GRID", "MOST_SUMMED", "MOVING", "NOTHING", "Mix"]

GRID = np.dtype(  # ``struct Grid`` of ``kernels/share.h``
    [("theta", "<f4", 6), ("fill", "<f4", 3), ("filled", "<i4"), ("filter", "<i4")]
)
MIXING, ADDED, MIXED, GRIDDED = 14, 15, 16, 17  # of its ``enum Kind``
EFFECTS = (
    "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Posterize", "Solarize", "AutoContrast", "Equalize",
    "Brightness", "Color", "Contrast", "Sharpness",
)  # fmt: skip
NOTHING = -1  # in place of an effect's number
MOVING = 5  # so many effects, the first ones, move pixels
KINDS = {  # of the others: of v1, and of v2
    "Posterize": (Adjustment.POSTERIZE.value,) * 2,
    "Solarize": (Adjustment.SOLARIZE.value,) * 2,
    "AutoContrast": (26, 22),
    "Equalize": (Adjustment.EQUALIZE.value,) * 2,
    "Brightness": (18, 18),
    "Color": (23, 19),
    "Contrast": (24, 20),
    "Sharpness": (25, 21),
}
MOST_SUMMED = (2**24 - 1) // 255  # pixels whose sum, in floats, is the same in any order
LEAST_GRID = 67  # pixels from which on torch leaves a grid's matrix product to a library, which fuses


class Mix(NamedTuple):
    """Chains of effects on the same picture, and the weighted sum of what they make and of the picture itself.

    Fields are of one sample, or arrays of n:

    weights: (1 + chains,), the picture's own first, as float32 has them.
    effects: (chains, depth) numbers of `EFFECTS`, in order, and `NOTHING`.
    amounts: (chains, depth): what a factor is more than 1, bits, or a threshold.
    thetas: (chains, depth, 6): the grid of those that move pixels, divided by half the size, as float32 has it.
    native: False: torch does it, where its sums or its grid are others than native code's.
    filter, fill: nearest or bilinear; None: zeros.
    version: 1 or 2, of torchvision's.
    """

    weights: Any
    effects: Any
    amounts: Any
    thetas: Any
    native: Any
    filter: Filter
    fill: tuple[int, int, int] | None
    version: int

    def size_after(self, height: Pixels, width: Pixels) -> tuple[Pixels, Pixels]:
        return height, width

    def apply(self, image: Image.Image) -> Image.Image:
        batch = torch.from_numpy(np.array(image)).permute(2, 0, 1)
        weights = torch.tensor(self.weights, dtype=torch.float32)
        mixed = weights[0] * batch
        for weight, *chain in zip(weights[1:], self.effects, self.amounts, self.thetas, strict=True):
            made = batch
            for effect, amount, theta in zip(*chain, strict=True):
                made = made if effect == NOTHING else self._effect(made, EFFECTS[effect], amount, theta)
            mixed.add_(weight * made)
        return Image.fromarray(mixed.to(torch.uint8).permute(1, 2, 0).contiguous().numpy())

    def _effect(self, image: torch.Tensor, name: str, amount: float, theta: list[float]) -> torch.Tensor:
        ratio, first = 1.0 + amount, self.version == 1
        match name:
            case "Posterize":
                return image & (0xFF00 >> int(amount) & 0xFF)
            case "Solarize":
                return torch.where(image >= int(amount), 255 - image, image)
            case "Equalize":
                pixels = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
                return torch.from_numpy(np.array(Adjustment.EQUALIZE(pixels, 0.0))).permute(2, 0, 1)
            case "AutoContrast":
                return _autocontrast(image, first)
            case "Brightness":
                return image.mul(ratio).clamp_(0, 255).to(torch.uint8)
            case "Color":
                return _blend(image, _gray(image, first), ratio, first)
            case "Contrast":
                return _blend(image, _gray(image, first).float().mean(dim=(-3, -2, -1), keepdim=True), ratio, first)
            case "Sharpness":
                return _sharpness(image, ratio, first)
        return self._sampled(image, theta)

    def _sampled(self, image: torch.Tensor, theta: list[float]) -> torch.Tensor:
        """torchvision's affine grid, and ``grid_sample``; a fourth channel shows what is outside."""
        height, width = image.shape[-2:]
        base = torch.ones(1, height, width, 3)
        base[..., 0] = torch.linspace((1.0 - width) * 0.5, (width - 1.0) * 0.5, steps=width)
        base[..., 1] = torch.linspace((1.0 - height) * 0.5, (height - 1.0) * 0.5, steps=height)[:, None]
        rescaled = torch.tensor(theta, dtype=torch.float32).view(1, 2, 3).transpose(1, 2)
        grid = base.view(1, height * width, 3).bmm(rescaled).view(1, height, width, 2)
        shown = torch.cat([image.float(), torch.ones(1, height, width)])[None]
        mode = self.filter.name.lower()
        made, share = F.grid_sample(shown, grid, mode, "zeros", align_corners=False)[0].split([3, 1])
        if self.fill is not None:
            fill = torch.tensor(self.fill, dtype=torch.float32).view(3, 1, 1)
            if self.filter is Filter.NEAREST:
                made = torch.where(share < 0.5, fill, made)
            else:
                made = made * share + (1.0 - share) * fill if self.version == 1 else (made - fill) * share + fill
        rounded: torch.Tensor = made.round_().to(torch.uint8)
        return rounded

    def fuse(self, fusing: Fusing, where: Mask) -> None:
        native = np.broadcast_to(self.native, len(where))
        fusing.refuse(where & ~native)
        where = where & native
        effects = np.broadcast_to(self.effects, (len(where), *np.shape(self.effects)[-2:]))
        weights = np.broadcast_to(self.weights, (len(where), effects.shape[1] + 1))
        fusing.mix(MIXING, weights[:, 0], where)
        for chain in range(effects.shape[1]):
            for place in range(effects.shape[2]):
                self._fuse(fusing, chain, place, np.where(where, effects[:, chain, place], NOTHING))
            fusing.mix(ADDED, weights[:, chain + 1], where)
        fusing.mix(MIXED, 0.0, where)

    def _fuse(self, fusing: Fusing, chain: int, place: int, effects: NDArray[np.int64]) -> None:
        moving = (effects != NOTHING) & (effects < MOVING)
        if moving.any():
            grids = np.zeros(len(effects), GRID)
            grids["theta"] = np.asarray(self.thetas)[..., chain, place, :]
            grids["filled"] = 0 if self.fill is None else self.version
            grids["fill"], grids["filter"] = self.fill or 0, self.filter.value
            fusing.mix(GRIDDED, grids, moving)
        amounts = np.broadcast_to(np.asarray(self.amounts)[..., chain, place], len(effects))
        for number in np.unique(effects[effects >= MOVING]).tolist():
            fusing.mix(KINDS[EFFECTS[number]][self.version - 1], amounts, effects == number)


# ---- torchvision's kernels of uint8 tensors, v1's where `first` ----


def _blend(image: torch.Tensor, other: torch.Tensor, ratio: float, first: bool) -> torch.Tensor:
    if first:
        return (ratio * image + (1.0 - ratio) * other).clamp(0, 255).to(torch.uint8)
    return image.mul(ratio).add_(other, alpha=1.0 - ratio).clamp_(0, 255).to(torch.uint8)


def _gray(image: torch.Tensor, first: bool) -> torch.Tensor:
    red, green, blue = image.unbind(0)
    if first:
        return (0.2989 * red + 0.587 * green + 0.114 * blue).to(torch.uint8)[None]
    return red.mul(0.2989).add_(green, alpha=0.587).add_(blue, alpha=0.114).floor_()[None]


def _sharpness(image: torch.Tensor, ratio: float, first: bool) -> torch.Tensor:
    if min(image.shape[-2:]) <= 2:
        return image
    kernel = torch.ones(3, 3)
    kernel[1, 1] = 5.0
    smooth = F.conv2d(image.float()[None], (kernel / 13.0).expand(3, 1, 3, 3), groups=3)[0].round_()
    if first:
        other = image.clone()
        other[:, 1:-1, 1:-1] = smooth.to(torch.uint8)
        return _blend(image, other, ratio, first)
    made = image.float()
    inner = made[:, 1:-1, 1:-1]
    inner.add_(smooth.sub_(inner), alpha=1.0 - ratio)
    return made.clamp_(0, 255).to(torch.uint8)


def _autocontrast(image: torch.Tensor, first: bool) -> torch.Tensor:
    least, most = (of(dim=(-2, -1), keepdim=True).float() for of in (image.amin, image.amax))
    flat = least == most
    least = torch.where(flat, 0.0, least)
    if first:
        scale = torch.where(flat, 1.0, 255 / (most - least))
        return ((image - least) * scale).clamp(0, 255).to(torch.uint8)
    share = torch.where(flat, 1.0, (most - least).mul_(1.0 / 255.0))
    return image.float().sub_(least).div_(share).clamp_(0, 255).to(torch.uint8)
