"""DALI's pipeline for what batches need, and batches on their way through it. The one module that imports DALI."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuload.device import Device
from gpuload.engines.base import Layout
from gpuload.engines.dali.arguments import Arguments, Needs, Resizing
from gpuload.engines.dali.limits import DTYPES, INTERPOLATION, scaling
from gpuload.errors import MissingError
from gpuload.recipes.ops import Filter

__all__ = ["Graph", "dali_version", "encoded", "listed"]

INSTALL = 'pip install "gpuload[cuda13]", or "gpuload[cuda12]" beside a torch with CUDA 12'


def _dali() -> tuple[Any, Any, Any]:
    """(nvidia.dali, its fn, its types)."""
    try:
        from nvidia import dali
        from nvidia.dali import fn, types
    except ImportError as error:
        raise MissingError(f"engine='dali' needs DALI, which cannot be imported ({error}): {INSTALL}") from error
    return dali, fn, types


def dali_version() -> str:
    """Of the package.

    Raises:
        MissingError: it is not installed.
    """
    return str(_dali()[0].__version__)


def encoded(file: NDArray[np.uint8]) -> Any:
    """An encoded image, for `listed`; it is not copied."""
    return _dali()[0].tensors.TensorCPU(file)


def listed(files: list[Any]) -> Any:
    """Those of a batch, for `Graph.start`."""
    return _dali()[0].tensors.TensorListCPU(files, contiguous=False)


class Graph:
    """A pipeline of DALI's, built.

    Args:
        layout: what leaves.
        needs: what batches want of it.
        device: where they arrive; the host or a GPU.
        threads: of DALI's own, that decode and, on the host, do everything else.
    """

    def __init__(self, layout: Layout, needs: Needs, device: Device, threads: int) -> None:
        dali, self._fn, self._types = _dali()
        self._layout, self.needs, self._device = layout, needs, device
        self._fed: list[str] = []
        # with a queue of one, DALI schedules no runs by itself, and takes as many as are asked for
        self._pipeline = dali.Pipeline(
            needs.most,
            threads,
            device_id=device.torch_device.index if device.launches else None,
            prefetch_queue_depth=1,
        )
        with self._pipeline:
            self._pipeline.set_outputs(self._images())
        self._pipeline.build()

    # ---- runs ----

    def start(self, files: Any, arguments: Arguments) -> None:
        """Begin with a batch; nothing waits."""
        self._pipeline.feed_input("encoded", files)
        for name in self._fed:
            self._pipeline.feed_input(name, getattr(arguments, name))
        self._pipeline.schedule_run()

    def outputs(self) -> Any:
        """The images of the batch that was begun first, for the current stream; waits for them on the host alone.

        Raises:
            RuntimeError: it failed. This graph is of no use any more.
        """
        stream = self._device.current_stream()
        return self._pipeline.outputs(cuda_stream=stream)[0]

    # ---- how it is built ----

    def _given(self, name: str) -> Any:
        """What each batch brings."""
        self._fed.append(name)
        return self._fn.external_source(name=name, device="cpu")

    def _images(self) -> Any:
        images = self._decoded()
        if self.needs.resizes:
            images = self._resized(images, self.needs.resizing)
        if self._layout.channels == 1:
            types = self._types
            images = self._fn.color_space_conversion(images, image_type=types.RGB, output_type=types.GRAY)
        elif self.needs.grays:
            images = self._fn.saturation(images, saturation=self._given("saturation"))
        if self.needs.fill is not None:
            images = self._padded(images, self.needs.fill)
        return self._scaled(images)

    def _decoded(self) -> Any:
        return self._fn.decoders.image_slice(
            self._fn.external_source(name="encoded", device="cpu", no_copy=True),
            start=self._given("start"),
            shape=self._given("shape"),
            axes=[0, 1],
            device="mixed" if self._device.launches else "cpu",
            adjust_orientation=False,  # what is to be turned comes turned
            jpeg_fancy_upsampling=True,
        )

    def _resized(self, images: Any, resizing: Resizing) -> Any:
        """What is the same for all is built in: all that a batch brings is an operator more, which others wait for."""
        size, filter = resizing
        return self._fn.resize(
            images,
            size=self._given("size") if size is None else list(size),
            roi_start=self._given("roi_start"),
            roi_end=self._given("roi_end"),
            interp_type=self._interpolation() if filter is None else self._interpolations()[filter],
            antialias=True,
        )

    def _interpolation(self) -> Any:
        """Of each image, as its filter says."""
        fn, types, numbers = self._fn, self._types, [int(value) for value in self._interpolations()]
        values = fn.lookup_table(
            self._given("filter"), keys=list(range(len(numbers))), values=numbers, dtype=types.INT32
        )
        return fn.cast(values, dtype=types.INTERP_TYPE)

    def _interpolations(self) -> list[Any]:
        """DALI's, by the number of a `Filter`."""
        return [getattr(self._types, INTERPOLATION.get(filter, "INTERP_NN")) for filter in Filter]

    def _padded(self, images: Any, fill: tuple[int, ...]) -> Any:
        return self._fn.slice(
            images,
            start=self._given("slice_start"),
            shape=self._given("slice_shape"),
            axes=[0, 1],
            out_of_bounds_policy="pad",
            fill_values=[float(value) for value in fill[: self._layout.channels]],
        )

    def _scaled(self, images: Any) -> Any:
        found = scaling(self._layout)
        assert found is not None, "the plan was checked"
        mean, std = found
        return self._fn.crop_mirror_normalize(
            images,
            mean=mean.tolist(),
            std=std.tolist(),
            dtype=getattr(self._types, DTYPES[self._layout.dtype]),
            output_layout="HWC" if self._layout.channels_last else "CHW",
        )
