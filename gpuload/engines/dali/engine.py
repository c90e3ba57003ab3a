"""Batches that DALI renders: files that workers have read go in, in the order in which they are ready.

All that is asked of DALI is asked on the consumer's thread: a pipeline of DALI's is for one thread. When a batch is
wanted, those that are ready by then are begun as well, so that DALI works at them while the consumer trains.
"""

import threading
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.dlpack import from_dlpack

from gpuload.decoders import pillow
from gpuload.decoders.base import Decoder
from gpuload.decoders.encoded import EncodedPool
from gpuload.decoders.files import Files
from gpuload.device import Device
from gpuload.engines.base import Images, Layout, UnrenderedError
from gpuload.engines.dali.arguments import Arguments, Needs, arguments
from gpuload.engines.dali.graph import Graph, dali_version, encoded, listed
from gpuload.engines.dali.limits import check_plan, check_records
from gpuload.libraries import host_library
from gpuload.native import Status
from gpuload.recipes.fuse import Fused, fuse_unadjusted
from gpuload.recipes.recipes import Recipes
from gpuload.stage import Stage
from gpuload.transforms.plan import Plan

__all__ = ["DaliEngine"]


class _Run(NamedTuple):
    """A batch that is ready for DALI, and what it takes there."""

    batch: "weakref.ref[_DaliBatch]"
    files: Any  # as DALI takes them
    arguments: Arguments
    needs: Needs


class DaliEngine:
    """Renders with DALI.

    Args:
        plan: what is rendered.
        layout: what leaves.
        device: a GPU or the host: where DALI works, and batches arrive.
        threads: of DALI's.

    Raises:
        ArgumentError: DALI has nothing for a transform of the plan.
        MissingError: DALI is not installed.
    """

    name = "dali"
    on_host = False

    def __init__(self, plan: Plan, layout: Layout, device: Device, threads: int) -> None:
        self.version = dali_version()
        check_plan(plan, layout)
        self.layout, self.device, self.library = layout, device, host_library()
        self.memory, self._threads = EncodedPool(), max(threads, 1)
        self._needs: Needs | None = None  # of all batches so far
        self._graph: Graph | None = None
        self._ready: deque[_Run] = deque()
        self._begun: deque[_Run] = deque()
        self._turn = threading.Lock()  # of consumers: a loader can have several iterators

    def fuse(self, recipes: Recipes) -> Fused:
        fused = fuse_unadjusted(recipes)
        check_records(fused.records)
        return fused

    def batch(self, fused: Fused, files: Files) -> "_DaliBatch":
        return _DaliBatch(self, fused, files)

    def decoders(self, decoder: Decoder | None) -> Iterator[str]:
        if self.library is None:
            yield f"all by {pillow.describe()}; native code, which reads JPEGs for DALI to decode, is missing"
        else:
            yield "ordinary JPEGs are read, for DALI to decode"
            yield f"all others by {pillow.describe()}"

    def stages(self, threads: str, target: str, fusing: Sequence[str], facts: Sequence[str]) -> Iterator[Stage]:
        what = f"engine dali: DALI {self.version} from decoding to normalization, on {self._threads} threads of its own"
        yield Stage("render", target, (what, *fusing, *facts))

    # ---- runs ----

    def add(self, run: _Run) -> None:
        """It is ready; on any thread."""
        self._ready.append(run)

    def bring(self, batch: "_DaliBatch") -> None:
        """Until that batch, which is ready, has its outcome."""
        with self._turn:
            while batch.outcome is None:
                self._begin_ready()
                self._end_first()

    def _begin_ready(self) -> None:
        while self._ready:
            run = self._ready.popleft()
            if run.batch() is None:  # nobody wants it any more
                continue
            needs = run.needs if self._needs is None else self._needs | run.needs
            wanted = needs.built_in()
            if self._graph is None or self._graph.needs != wanted:
                if self._begun:  # first they come out of the graph that there is
                    self._ready.appendleft(run)
                    return
                self._graph = Graph(self.layout, wanted, self.device, self._threads)
            self._needs = needs
            self._begun.append(run)
            self._graph.start(run.files, run.arguments)

    def _end_first(self) -> None:
        if not self._begun:
            return
        assert self._graph is not None
        run = self._begun.popleft()
        try:
            outcome = self._graph.outputs()
        except RuntimeError as error:
            outcome = error.with_traceback(None)  # its frames hold the consumer
            self._graph = None  # DALI says that it is of no use any more
            self._ready.extendleft(reversed(self._begun))
            self._begun.clear()
        batch = run.batch()
        if batch is not None:
            batch.outcome = outcome


class _DaliBatch:
    def __init__(self, engine: DaliEngine, fused: Fused, files: Files) -> None:
        self._engine, self._fused, self._files = engine, fused, files  # native code has the addresses of both
        self._arguments, self._needs = arguments(fused)
        self._arguments.start[files.in_memory] = 0  # what is encoded of those is the region alone
        self._encoded: list[Any] = [None] * len(files)
        files.work.regions = fused.regions.ctypes.data
        self._lease = _Lease()
        if engine.library is not None:
            self._memory = engine.memory.take(len(files), self._lease)
            files.work.encoded = self._memory.address
        self.outcome: Any = None  # what has become of it: its images, as DALI has them, or an error

    def share(self, first: int, count: int) -> None:
        library = self._engine.library
        if library is None:
            return
        library.gpuload_load(self._files.address, first, count)
        for slot, (address, size) in enumerate(self._memory.places(first, count), start=first):
            if self._files.status[slot] == Status.OK:
                self._encoded[slot] = encoded(np.asarray(_Lent(address, size, self._lease)))

    def put(self, slot: int, pixels: NDArray[np.uint8], view: int = 0) -> None:
        height, width, _ = pixels.shape
        file = b"P6\n%d %d\n255\n" % (width, height) + pixels.tobytes()
        self._encoded[slot] = encoded(np.frombuffer(file, np.uint8))
        self._arguments.start[slot] = 0

    def finish(self) -> None:
        self._engine.add(_Run(weakref.ref(self), listed(self._encoded), self._arguments, self._needs))

    def images(self, view: int = 0) -> Images:
        self._engine.bring(self)
        if isinstance(self.outcome, Exception):
            self._fail()
        sizes = self._fused.extents
        if np.count_nonzero(sizes != sizes[0]):
            images: Images = [self._shaped(from_dlpack(image)[None])[0] for image in self.outcome]
        else:
            images = self._shaped(from_dlpack(self.outcome.as_tensor()))
        self._erase(images)
        return images

    def _erase(self, images: Images) -> None:
        if not len(self._fused.erasures.rectangles):
            return
        fills = self._engine.layout.fills.numpy()
        for slot, image in enumerate(images):
            for erase in self._fused.erasures.of_sample(slot):
                image[erase.place] = torch.from_numpy(erase.values(fills)).to(image.device)

    def _shaped(self, images: torch.Tensor) -> torch.Tensor:
        return images.permute(0, 3, 1, 2) if self._engine.layout.channels_last else images

    def _fail(self) -> NoReturn:
        """Raise the error; where DALI has decoded files, it may be one of those, and Pillow says which."""
        error, self.outcome = self.outcome, None
        decoded = self._files.status == Status.OK
        if not np.count_nonzero(decoded):
            raise error
        self._files.status[decoded] = Status.FAILED
        raise UnrenderedError from error


class _Lease:
    """Whoever holds it holds a batch's memory."""


class _Lent:
    """A file's memory, for numpy; DALI holds the array as long as it reads it."""

    def __init__(self, address: int, size: int, lease: _Lease) -> None:
        self.lease = lease
        self.__array_interface__ = {"data": (address, True), "shape": (size,), "typestr": "|u1", "version": 3}
