"""Batches of rows of different size: filled up to one tensor, or one behind the other.

``pad``, ``ragged`` and ``listed`` are collate functions, of gpuload's ``DataLoader`` and of torch's own; `Pad` and
`Ragged` make others. Samples are what torch's ``default_collate`` takes, and so are batches, but for the tensors.
"""

from gpuload.collate.base import Collate
from gpuload.collate.jagged import Ragged, Rows
from gpuload.collate.listed import listed
from gpuload.collate.padded import LeftPadded, Pad, Padded

__all__ = ["Collate", "LeftPadded", "Pad", "Padded", "Ragged", "Rows", "listed", "pad", "ragged"]

pad = Pad()
ragged = Ragged()
