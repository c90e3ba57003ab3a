"""From encoded files to RGB pixels, as ``Image.open(f).convert("RGB")`` has them.

`files` are a batch's, as native code reads them: ordinary JPEGs, whose regions `jpeg` decodes inside the native
call. Whatever else there is, and whatever is odd about a JPEG, goes through `pillow`, sample by sample.
"""

from collections.abc import Callable

from gpuload.decoders.base import Decoder
from gpuload.decoders.jpeg import jpeg_decoder

__all__ = ["DECODERS", "find_decoder"]

DECODERS: list[Callable[[], Decoder | None]] = [jpeg_decoder]  # each gives None where something is missing


def find_decoder() -> Decoder | None:
    """The first native decoder that is there; None: Pillow decodes everything."""
    return next((decoder for make in DECODERS if (decoder := make()) is not None), None)
