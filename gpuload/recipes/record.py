"""What the kernels are told of one sample: ``struct Record`` of ``kernels/record.cuh``, all integers."""

import numpy as np

__all__ = [
    "AXIS",
    "FRAME",
    "FRAMED",
    "GRAYSCALE_AFTER_RESIZE",
    "GRAYSCALE_BEFORE_RESIZE",
    "NO_WEIGHTS",
    "RECORD",
    "X",
    "Y",
]

Y, X = 0, 1  # the axes, in the order of (height, width)
GRAYSCALE_BEFORE_RESIZE, GRAYSCALE_AFTER_RESIZE = 1, 2
NO_WEIGHTS = -1  # the kernel makes the rows of weights itself

AXIS = np.dtype(
    [
        ("length", "<i4"),  # pixels of the crop that is resized
        ("resized", "<i4"),  # its size after that; equal to length: no resampling
        ("mirrored", "<i4"),  # 1: the crop is flipped before it is resized
        ("window", "<i4"),  # first resized pixel of the window that is kept
        ("kept", "<i4"),  # size of that window; what lies outside it is padding
        ("begin", "<i4"),  # output i shows position begin + step * i of the window
        ("step", "<i4"),  # 1, or -1 where the output is flipped
        ("extent", "<i4"),  # output pixels
        ("padding", "<i4"),  # PadMode: what positions outside the window show
        ("decoded", "<i4"),  # first pixel that is decoded, counted from the crop's first: all that is read, or more
        ("span", "<i4"),  # how many are
        ("ksize", "<i4"),  # most weights of one output pixel
    ]
)
RECORD = np.dtype(
    [
        ("pixels", "<i8"),  # byte offset of the decoded pixels (uint8, HWC, 3 channels) in staging memory
        ("output", "<i8"),  # element offset of the sample in the output
        ("weights", "<i8", 2),  # byte offsets of rows of weights that the host made, y and x; or NO_WEIGHTS
        ("axes", AXIS, 2),  # y and x
        ("filter", "<i4"),  # Filter
        ("vertical_first", "<i4"),  # 1: the vertical pass runs first (the rounding between the passes shows)
        ("grayscale", "<i4"),  # bits of GRAYSCALE_...
        ("fill", "u1", 4),  # padding color, as it looks after every later operation
    ]
)
FRAME = np.dtype([("record", RECORD), ("region", "<i4", 4)], align=True)  # ``struct Frame`` of ``kernels/share.h``
FRAMED = 13  # of its ``enum Kind``
