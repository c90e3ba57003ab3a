"""torch's tensors in simulated memory.

Both kinds are CPU tensors to torch, and every call on them comes by here: what looks at no element is done at once,
what does becomes work of the current stream, or an access of the host's.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tests.simulation.gpu import Span, Stream
from tests.simulation.memory import Block, Memory

ABOUT = {
    "__format__", "__get__", "__hash__", "__len__", "data_ptr", "dim", "element_size", "get_device", "is_complex",
    "is_conj", "is_contiguous", "is_floating_point", "is_inference", "is_neg", "nelement", "ndimension", "numel",
    "requires_grad_", "size", "storage_offset", "stride", "type", "untyped_storage",
}  # fmt: skip
VIEWS = {
    "__getitem__", "as_strided", "chunk", "contiguous", "detach", "expand", "flatten", "movedim", "narrow", "permute",
    "reshape", "select", "split", "squeeze", "t", "transpose", "unbind", "unflatten", "unsqueeze", "view", "view_as",
}  # fmt: skip
TO_HOST = {
    "__bool__", "__contains__", "__float__", "__index__", "__int__", "__repr__", "allclose", "equal", "item", "nonzero",
    "unique",
}  # fmt: skip


def plain(tensor: torch.Tensor) -> torch.Tensor:
    """The same memory as a tensor of torch's own; whoever holds it keeps nothing alive."""
    with untracked():
        return tensor.as_subclass(torch.Tensor)


def untracked() -> AbstractContextManager[Any]:
    """Calls are torch's own inside the block."""
    return torch._C.DisableTorchFunctionSubclass()


def leaves(*things: Any) -> list[torch.Tensor]:
    """The tensors in them, and in lists, tuples and dicts."""
    found: list[torch.Tensor] = []
    for thing in things:
        if isinstance(thing, torch.Tensor):
            found.append(thing)
        elif isinstance(thing, list | tuple | dict):
            found += leaves(*(thing.values() if isinstance(thing, dict) else thing))
    return found


def mapped(change: Callable[[torch.Tensor], Any], thing: Any) -> Any:
    """The same lists, tuples and dicts, their tensors changed."""
    if isinstance(thing, torch.Tensor):
        return change(thing)
    if isinstance(thing, dict):
        return {key: mapped(change, value) for key, value in thing.items()}
    return type(thing)(mapped(change, value) for value in thing) if type(thing) in (list, tuple) else thing


def in_place(name: str) -> bool:
    return name in ("__setitem__", "__iadd__", "__imul__") or (name.endswith("_") and not name.endswith("__"))


class Simulated(torch.Tensor):
    """A tensor in simulated memory.

    Attributes:
        block: what it keeps alive.
    """

    block: Block

    @classmethod
    def new(cls, memory: Memory, stream: Stream | None, shape: Sequence[int], dtype: torch.dtype) -> Any:
        """A contiguous tensor, contents undefined.

        Args:
            memory: where.
            stream: on which it is used first; None: the host.
            shape, dtype: as of ``torch.empty``.
        """
        block = memory.take(torch.Size(shape).numel() * dtype.itemsize, stream)
        with untracked():
            tensor = torch.from_numpy(block.array()).view(dtype).view(tuple(shape)).as_subclass(cls)
        tensor.block = block
        return tensor

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, kwargs = func.__name__, kwargs or {}
        if name in ABOUT or (name in VIEWS and not leaves(args[1:])):
            with untracked():
                made = func(plain(args[0]), *args[1:], **kwargs)
            if not leaves(made):
                return made
            if args[0].looks_at(made):
                return args[0].wrapped(made)
        if name == "copy_":
            return copy(*args, **kwargs)
        if any(isinstance(leaf, DeviceTensor) for leaf in leaves(args, kwargs)):
            return _on_device(func, args, kwargs)
        return _on_host(func, args, kwargs)

    def looks_at(self, made: Any) -> bool:
        """Are all tensors in it views of this one?"""
        begin, end = self.memory.address + self.block.begin, self.memory.address + self.block.begin + self.block.size
        return all(not leaf.numel() or begin <= leaf.data_ptr() < end for leaf in leaves(made))

    def wrapped(self, made: Any) -> Any:
        """Views of this tensor keep alive what it does."""

        def wrap(leaf: torch.Tensor) -> torch.Tensor:
            with untracked():
                view = leaf.as_subclass(type(self))
            view.block = self.block
            return view

        return mapped(wrap, made)

    def __iter__(self) -> Iterator["Simulated"]:
        return iter(self.unbind(0))

    @property
    def memory(self) -> Memory:
        return self.block.memory

    def span(self) -> Span:
        return self.memory.span_of(plain(self))


class DeviceTensor(Simulated):
    """A tensor on a simulated device."""

    @property
    def stream(self) -> Stream:
        """The calling thread's current one there."""
        return self.memory.gpu.current_stream(self.memory.device)

    @property
    def device(self) -> torch.device:
        return torch.device("cuda", self.memory.device)

    @property
    def is_cuda(self) -> bool:
        return True

    @property
    def is_cpu(self) -> bool:
        return False

    def is_pinned(self, device: Any = None) -> bool:
        return False

    def record_stream(self, stream: Stream) -> None:
        if stream is not self.block.stream:
            self.block.users[stream] = None

    def cpu(self) -> torch.Tensor:
        """Its elements, once the current stream has made them; the host waits."""
        stream, source, made = self.stream, plain(self), torch.empty(self.shape, dtype=self.dtype)
        stream.add("copy", lambda: made.copy_(source), reads=[self.span()])
        stream.synchronize()
        return made

    def numpy(self, *, force: bool = False) -> Any:
        if not force:
            raise TypeError("can't convert cuda device type tensor to numpy")
        return self.cpu().numpy()

    def tolist(self) -> Any:
        return self.cpu().tolist()


class _Held:
    """An array's elements, and what keeps them."""

    def __init__(self, array: NDArray[Any], block: Block) -> None:
        self.array, self.block = array, block
        self.__array_interface__ = array.__array_interface__


class PinnedTensor(Simulated):
    """A tensor in page-locked memory of the host's."""

    def is_pinned(self, device: Any = None) -> bool:
        return True

    def numpy(self, *, force: bool = False) -> Any:
        """From now on the host may write there; the array keeps the memory, as torch's do."""
        self.memory.gpu.access("an array of the host's", self.span(), writes=True)
        with untracked():
            return np.asarray(_Held(plain(self).numpy(), self.block))

    def data_ptr(self) -> int:
        """From now on native code may write there."""
        self.memory.gpu.access("native code", self.span(), writes=True)
        with untracked():
            return plain(self).data_ptr()


# ---- what looks at elements ----


def _on_device(func: Any, args: Any, kwargs: Any) -> Any:
    """Work of the current stream; the host waits for what it needs a number of."""
    if func.__name__ in TO_HOST:
        return func(*mapped(_at_host, args), **mapped(_at_host, kwargs))
    given = [leaf for leaf in leaves(args, kwargs) if isinstance(leaf, DeviceTensor)]
    here = given[0]
    if any(leaf.device != here.device for leaf in leaves(args, kwargs) if leaf.dim()):
        raise RuntimeError(f"{func.__name__}: tensors of several devices: {[leaf.device for leaf in leaves(args)]}")
    with untracked():
        shaped = func(*mapped(_zeros, args), **mapped(_zeros, kwargs))
    if in_place(func.__name__):
        made = args[0]
    else:
        made = mapped(lambda leaf: DeviceTensor.new(here.memory, here.stream, leaf.shape, leaf.dtype), shaped)
    real_args, real_kwargs = mapped(plain, (args, kwargs))
    targets = [] if made is args[0] else [plain(leaf) for leaf in leaves(made)]

    def run() -> None:
        values = func(*real_args, **real_kwargs)
        for target, value in zip(targets, leaves(values) if targets else (), strict=True):
            target.copy_(value)

    written = [leaf.span() for leaf in leaves(made)]
    here.stream.add(func.__name__, run, reads=[leaf.span() for leaf in given], writes=written)
    return made


def _zeros(leaf: torch.Tensor) -> torch.Tensor:
    """One of the same shape: what is in this one is not known yet."""
    return torch.zeros_like(plain(leaf)) if isinstance(leaf, DeviceTensor) else leaf


def _at_host(leaf: torch.Tensor) -> torch.Tensor:
    return leaf.cpu() if isinstance(leaf, DeviceTensor) else plain(leaf)


def _on_host(func: Any, args: Any, kwargs: Any) -> Any:
    """An access of the host's to page-locked memory."""
    changes = in_place(func.__name__)
    for leaf in leaves(args, kwargs):
        if isinstance(leaf, PinnedTensor):
            what = f"{func.__name__} on the host"
            leaf.memory.gpu.access(what, leaf.span(), writes=changes and leaf is args[0])
    made = func(*mapped(plain, args), **mapped(plain, kwargs))
    return args[0] if changes else made


def copy(target: torch.Tensor, source: torch.Tensor, non_blocking: bool = False) -> torch.Tensor:
    """``target.copy_(source)``; asynchronous on a device, and where the host's side is page-locked."""
    on_device = [side for side in (target, source) if isinstance(side, DeviceTensor)]
    if not on_device:
        _on_host(torch.Tensor.copy_, (target, source), {})
        return target
    stream = on_device[0].stream
    simulated = [side for side in (target, source) if isinstance(side, Simulated)]
    for side in simulated:
        if isinstance(side, PinnedTensor):  # torch's own pool of page-locked memory knows
            side.block.users[stream] = None
    spans = [side.span() for side in simulated]
    reads, writes = spans[-1:] if isinstance(source, Simulated) else [], spans[:1] if target is simulated[0] else []
    stream.add("copy", *_torn(plain(target), plain(source)), reads=reads, writes=writes)
    if len(on_device) == 1 and (len(simulated) == 1 or not non_blocking):
        stream.synchronize()
    return target


def _torn(target: torch.Tensor, source: torch.Tensor) -> Iterator[Callable[[], Any]]:
    """A copy in two steps, where that is simple."""
    if not (target.is_contiguous() and source.is_contiguous() and target.shape == source.shape):
        yield lambda: target.copy_(source)
        return
    to, frm, half = target.view(-1), source.view(-1), target.numel() // 2
    yield lambda: to[:half].copy_(frm[:half])
    yield lambda: to[half:].copy_(frm[half:])
