"""What a batch transform is."""

from collections.abc import Callable
from typing import Any, NamedTuple

from gpuload.batch_transforms.draws import Draws, TorchDraws
from gpuload.stage import name_of

__all__ = ["BatchTransform", "Ordinary", "Part"]


class Part(NamedTuple):
    """A rank's part of a global batch.

    Attributes:
        batch: what is delivered.
        before: some samples that stand before it in the global batch, collated as it is; before the first one comes
            the last. None: there is no other part, or nothing is known of it, and its first sample follows its last.
    """

    batch: Any
    before: Any = None


class BatchTransform:
    """Base of gpuload's batch transforms.

    Attributes:
        reach: how many samples before a part of a batch it wants to see.
    """

    reach = 0

    def __call__(self, *inputs: Any) -> Any:
        """A batch, changed: of one argument, or as a tuple of several; drawn from torch's generator."""
        return self.of(Part(inputs if len(inputs) > 1 else inputs[0]), TorchDraws()).batch

    def of(self, part: Part, draws: Draws) -> Part:
        """A part of a batch, changed, with ``reach`` samples fewer before it."""
        raise NotImplementedError

    def describe(self) -> str:
        """What it does, for explain."""
        arguments = (f"{name}={value}" for name, value in vars(self).items() if isinstance(value, int | float))
        return f"{type(self).__name__}({', '.join(arguments)})"

    def __repr__(self) -> str:
        return self.describe()


class Ordinary(BatchTransform):
    """Any function of a batch. It sees the part alone: after it, none is known to stand before another.

    Args:
        function: called with the batch.
        unpacks: with each of its members, instead.
    """

    def __init__(self, function: Callable[..., Any], unpacks: bool = False) -> None:
        self._function, self._unpacks = function, unpacks

    def __call__(self, *inputs: Any) -> Any:
        return self._function(*inputs)

    def of(self, part: Part, draws: Draws) -> Part:
        inputs = part.batch if self._unpacks else (part.batch,)
        return Part(draws.call(self._function, *inputs))

    def describe(self) -> str:
        return f"{name_of(self._function)}, ordinary code"
