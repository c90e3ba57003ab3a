"""What decodes: inside the native call, or elsewhere."""

from typing import Protocol

__all__ = ["Decoder", "Elsewhere"]


class Decoder(Protocol):
    """A native decoder of ordinary JPEGs (those that ``kernels/jpeg_header.h`` takes).

    Attributes:
        address: of a C function, ``Decode`` of ``kernels/share.h``: a region of a file into packed RGB rows,
            equal bit for bit to Pillow's; callable from any thread. What it cannot decode goes to Pillow.
    """

    address: int

    def describe(self) -> str:
        """What it is, for explain: a few words, with the version."""


class Elsewhere(Protocol):
    """Has some of a batch's samples decoded where the workers do not: their status is AWAY until that is done.

    First `read`, in shares and by any workers; then `decode`, beside the workers who do the others; then `undone`.
    """

    def read(self, first: int, count: int) -> None:
        """Read the files of those of these samples that are AWAY; one that cannot be decoded is so no longer."""

    def decode(self) -> None:
        """Decode them; on a thread that has nothing else to do."""

    def worked(self, first: int, count: int, seconds: float) -> None:
        """A worker took that long for the others of these samples."""

    def undone(self) -> list[int]:
        """Which of them are left to the workers after all; the others are OK."""
