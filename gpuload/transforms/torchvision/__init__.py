"""What torchvision's transforms, v1 and v2, are as gpuload's, for `lifted`: a maker for each.

Where one does something else than gpuload's operation would (to a tensor instead of a PIL image, with an
argument that gpuload has not), its maker gives None.
"""

from gpuload.transforms.torchvision import colors, erasing, geometry, values, warps
from gpuload.transforms.torchvision.values import AFTER

__all__ = ["AFTER", "MAKERS"]

MAKERS = geometry.MAKERS | colors.MAKERS | warps.MAKERS | values.MAKERS | erasing.MAKERS
