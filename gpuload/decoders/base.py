"""What decodes inside the native call."""

from typing import Protocol

__all__ = ["Decoder"]


class Decoder(Protocol):
    """A native decoder of ordinary JPEGs (those that ``kernels/jpeg_header.h`` takes).

    Attributes:
        address: of a C function, ``Decode`` of ``kernels/share.h``: a region of a file into packed RGB rows,
            equal bit for bit to Pillow's; callable from any thread. What it cannot decode goes to Pillow.
    """

    address: int

    def describe(self) -> str:
        """What it is, for explain: a few words, with the version."""
