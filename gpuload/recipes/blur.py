"""Pixels that become weighted sums of their neighbors: `Blur`, an operation like those of `gpuload.recipes.ops`.

Source: torchvision's ``gaussian_blur``, v1 and v2, which makes a uint8 tensor of a PIL image: torch's arithmetic, not
Pillow's.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from gpuload.recipes.ops import Fusing, Mask, Pixels

__all__ = ["BLURRED", "KERNEL", "MOST_KERNEL", "Blur"]

BLURRED = 27  # of ``enum Kind`` of ``kernels/share.h``
MOST_KERNEL = 99  # weights along an axis
KERNEL = np.dtype(  # its ``struct Kernel``
    [("across", "<i4"), ("down", "<i4"), ("x", "<f4", MOST_KERNEL), ("y", "<f4", MOST_KERNEL)]
)


class Blur(NamedTuple):
    """Each channel convolved with a kernel, around which the image is mirrored without its edge.

    x, y: (across,) and (down,) weights of one sample, as float32 has them, or of n: the kernel is their products. Both
        numbers are odd.
    native: False: torch does it.
    """

    x: Any
    y: Any
    native: bool

    def size_after(self, height: Pixels, width: Pixels) -> tuple[Pixels, Pixels]:
        return height, width

    def apply(self, image: Image.Image) -> Image.Image:
        x, y = (torch.tensor(weights, dtype=torch.float32, device="cpu") for weights in self[:2])
        beside, beyond = len(x) // 2, len(y) // 2
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float()
        shown = F.pad(pixels, [beside, beside, beyond, beyond], mode="reflect")
        made = F.conv2d(shown, (y[:, None] * x).expand(3, 1, len(y), len(x)), groups=3)[0]
        return Image.fromarray(made.round_().clamp_(0, 255).to(torch.uint8).permute(1, 2, 0).contiguous().numpy())

    def fuse(self, fusing: Fusing, where: Mask) -> None:
        if not self.native:
            fusing.refuse(where)
            return
        kernels = np.zeros(len(where), KERNEL)
        for axis, count, weights in (("x", "across", self.x), ("y", "down", self.y)):
            kernels[count] = np.shape(weights)[-1]
            kernels[axis][:, : np.shape(weights)[-1]] = weights
        fusing.mix(BLURRED, kernels, where)
