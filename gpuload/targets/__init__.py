"""What belongs to an image and moves with it: masks, boxes, keypoints. Geometry is drawn once, and shared."""

from gpuload.targets.installed import functional, tv_tensors
from gpuload.targets.masks import for_masks, mask_of, moved_mask, pillow_mask, tensor_of
from gpuload.targets.moves import Call, Move, moved
from gpuload.targets.program import called, joint

__all__ = [
    "Call",
    "Move",
    "called",
    "for_masks",
    "functional",
    "joint",
    "mask_of",
    "moved",
    "moved_mask",
    "pillow_mask",
    "tensor_of",
    "tv_tensors",
]
