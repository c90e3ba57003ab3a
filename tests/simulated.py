"""A device that launches kernels, without a GPU: the CUDA engine as it ships, its kernels compiled for the CPU."""

from typing import Any

from gpuload.device import HostDevice
from tests.cuda_on_cpu import cuda_on_cpu


class SimulatedDevice(HostDevice):
    """The host in place of a GPU. Streams and events are without effect: all is done when a call returns.

    Args:
        blocks: most blocks along the grid's y; fewer than there are tiles make each walk over several.
    """

    launches = True

    def __init__(self, blocks: int = 65_535) -> None:
        self._library, self._blocks = cuda_on_cpu(), blocks
        self.launched: list[tuple[str, tuple[int, int], int]] = []  # name, grid, threads

    def prepare(self, name: str) -> None:
        assert name in ("render_1", "render_2", "render_4")

    def launch(self, name: str, grid: tuple[int, int], threads: int, arguments: tuple[Any, ...]) -> None:
        self.launched.append((name, grid, threads))
        records, staging, table, channels, channels_last, out = (int(value) for value in arguments)
        width = int(name.removeprefix("render_"))
        most = min(grid[1], self._blocks)
        self._library.cuda_render(records, grid[0], staging, table, width, channels, channels_last, most, out)

    def describe(self) -> str:
        return "simulated GPU"
