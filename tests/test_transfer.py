"""Batches of ordinary datasets: every structure arrives as it was, in order, errors in their turn."""

import contextlib
import weakref
from collections import OrderedDict, UserDict, defaultdict, namedtuple
from collections.abc import Iterator
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
import torch
from torch.nn.utils.rnn import PackedSequence, pack_sequence
from torch.utils.data import DataLoader as TorchDataLoader, Dataset

from gpuload import DataLoader
from gpuload.device import CudaDevice, Device, HostDevice, device_of
from gpuload.loading.transfer import AHEAD, Moving, move, pinned
from tests.simulation.runtime import Runtime, simulated


class Point(NamedTuple):
    x: Any
    y: Any


Old = namedtuple("Old", "a b")


class Encoding(UserDict[str, Any]):
    """As the tokenisers' batches are: a mapping that is also asked by attribute."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self.data[name]
        except KeyError as error:
            raise AttributeError(name) from error


def moving(batches: Iterator[Any], device: Device) -> Moving:
    return Moving(batches, device, device.stream())


def ones() -> torch.Tensor:
    return torch.ones(2)


@pytest.fixture
def runtime() -> Iterator[Runtime]:
    """A simulated GPU."""
    with simulated() as made:
        yield made
        made.gpu.finish()
        assert made.gpu.problems == []


@pytest.fixture(params=["host", "simulated", pytest.param("cuda", marks=pytest.mark.cuda)])
def place(request: pytest.FixtureRequest) -> Device:
    if request.param == "simulated":
        request.getfixturevalue("runtime")
    return HostDevice() if request.param == "host" else device_of("cuda")


BATCHES = [
    ones(),
    [ones(), ones()],
    (ones(), 3, "text", None),
    {"image": ones(), "label": [1, 2], "inner": {"mask": ones()}},
    OrderedDict(b=ones(), a=ones()),
    defaultdict(list, boxes=[ones()]),
    Encoding(ids=ones()),
    MappingProxyType({"a": ones()}),
    Point(ones(), [ones()]),
    Old(ones(), "b"),
    [],
    (),
    {},
    "a string",
    b"bytes",
    3.5,
    None,
]


def flat(batch: Any) -> list[Any]:
    if isinstance(batch, dict | UserDict | MappingProxyType):
        return [item for key in batch for item in (key, *flat(batch[key]))]
    if isinstance(batch, list | tuple):
        return [item for value in batch for item in flat(value)]
    return [batch]


@pytest.mark.parametrize("batch", BATCHES, ids=lambda batch: type(batch).__name__)
def test_every_structure_arrives_as_it_was(batch: Any, device: torch.device) -> None:
    moved = move(batch, device_of(device))
    assert isinstance(moved, type(batch))
    for ours, theirs in zip(flat(moved), flat(batch), strict=True):
        if isinstance(theirs, torch.Tensor):
            assert ours.device.type == device.type and torch.equal(ours.cpu(), theirs)
        else:
            assert ours == theirs


def test_what_else_the_mapping_knows_stays() -> None:
    batch = defaultdict(list, a=ones())
    assert move(batch, HostDevice())["missing"] == []
    assert torch.equal(move(Encoding(ids=ones()), HostDevice()).ids, ones())


def test_the_batch_that_was_given_is_not_changed(device: torch.device) -> None:
    inner = [ones()]
    batch = {"a": inner}
    move(batch, device_of(device))
    assert list(batch) == ["a"]
    assert batch["a"] is inner
    assert inner[0].device.type == "cpu"


def test_a_packed_sequence_arrives(device: torch.device) -> None:
    """Its lengths must stay on the CPU, so it moves itself."""
    packed = pack_sequence([torch.ones(3), torch.ones(2)])
    moved = move([packed], device_of(device))[0]
    assert isinstance(moved, PackedSequence)
    assert moved.data.device.type == device.type
    assert moved.batch_sizes.device.type == "cpu"


def test_a_batch_class_of_ones_own_moves_itself(device: torch.device) -> None:
    """As torch's pinning asks a batch for ``pin_memory``, moving asks it for ``to``."""

    class Graph:
        def __init__(self, nodes: torch.Tensor) -> None:
            self.nodes = nodes

        def to(self, device: torch.device, non_blocking: bool = False) -> "Graph":
            return Graph(self.nodes.to(device, non_blocking=non_blocking))

    assert move(Graph(ones()), device_of(device)).nodes.device.type == device.type


# ---- pinned memory ----


@pytest.mark.parametrize("batch", BATCHES, ids=lambda batch: type(batch).__name__)
def test_every_structure_is_pinned_as_it_was(batch: Any, runtime: Runtime) -> None:
    found = pinned(batch, CudaDevice(0))
    assert isinstance(found, type(batch))
    for ours, theirs in zip(flat(found), flat(batch), strict=True):
        if isinstance(theirs, torch.Tensor):
            assert ours.is_pinned() and not theirs.is_pinned()
            assert torch.equal(ours, theirs)
        else:
            assert ours == theirs


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.bfloat16, torch.int64, torch.complex128])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 4), (2, 3, 4)])
def test_any_tensor_is_pinned(dtype: torch.dtype, shape: tuple[int, ...], runtime: Runtime) -> None:
    tensor = torch.ones(shape).to(dtype)
    assert torch.equal(pinned(tensor, CudaDevice(0)), tensor)
    if tensor.ndim == 3:
        permuted = tensor.permute(2, 0, 1)
        assert torch.equal(pinned(permuted, CudaDevice(0)), permuted)


def test_nothing_is_pinned_for_the_host() -> None:
    batch = [ones()]
    assert pinned(batch, HostDevice()) is batch


@pytest.mark.cuda
def test_pinned_memory_is_page_locked() -> None:
    found = pinned({"a": ones(), "b": [ones().cuda()], "c": "text"}, device_of("cuda"))
    assert found["a"].is_pinned()
    assert found["b"][0].is_cuda


# ---- the stream of batches ----


class Failing(Dataset[int]):
    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> int:
        if index == 2:
            raise KeyError("sample 2")
        return index


def outcomes(batches: Iterator[Any]) -> list[Any]:
    collected: list[Any] = []
    for _ in range(20):
        try:
            collected.append(int(next(batches)))
        except StopIteration:
            break
        except KeyError:
            collected.append("error")
    return collected


class TestOrder:
    """Batches of ints, so that nothing is copied."""

    def test_all_arrive_in_order(self, place: Device) -> None:
        for count in range(5):
            assert list(moving(iter(range(count)), place)) == list(range(count))

    def test_one_ahead_at_most(self, place: Device) -> None:
        asked: list[int] = []
        batches = moving((asked.append(i) or i for i in range(9)), place)  # type: ignore[func-returns-value]
        assert asked == []
        for delivered in batches:
            assert len(asked) <= delivered + 2

    def test_an_error_comes_in_its_turn_and_ends_nothing(self, place: Device) -> None:
        """As of torch's loader, which goes on when it is asked for the next batch."""
        torchs = TorchDataLoader(Failing(), batch_size=None)
        assert outcomes(iter(torchs)) == [0, 1, "error", 3, 4]
        assert outcomes(iter(moving(iter(torchs), place))) == [0, 1, "error", 3, 4]

    def test_so_does_an_error_of_a_batch_that_moves_itself(self, place: Device) -> None:
        class Stuck:
            def to(self, device: torch.device, non_blocking: bool = False) -> None:
                raise KeyError("stuck")

        assert outcomes(moving(iter([0, 1, Stuck(), 3]), place)) == [0, 1, "error", 3]

    def test_an_error_that_was_handled_is_gone(self, place: Device, no_collector: None) -> None:
        class Error(Exception):
            pass

        def batches() -> Iterator[int]:
            yield 0
            error = Error()
            errors.append(weakref.ref(error))
            try:
                raise error
            finally:
                del error

        errors: list[weakref.ref[Error]] = []
        stream = moving(batches(), place)
        assert next(stream) == 0
        with contextlib.suppress(Error):
            next(stream)
        assert [error() for error in errors] == [None]
        assert list(stream) == []

    def test_one_that_is_dropped_is_freed_at_once(self, place: Device, no_collector: None) -> None:
        class Source:
            def __iter__(self) -> Iterator[int]:
                return iter(range(9))

            def __next__(self) -> int:
                return 0

        source = Source()
        stream, gone = moving(source, place), weakref.ref(source)
        assert next(stream) == 0
        del stream, source
        assert gone() is None


def batches_of(count: int) -> Iterator[dict[str, torch.Tensor]]:
    return ({"x": torch.full((1000,), number).pin_memory()} for number in range(count))


def test_no_more_memory_than_for_the_batches_at_hand(runtime: Runtime) -> None:
    """However far the host is ahead of the device, which does nothing here that nobody waits for."""
    runtime.gpu.pace = (0,)
    sums = [batch["x"].sum() for batch in moving(batches_of(30), device_of("cuda"))]
    small = sum(size < 1000 for size in runtime.memories[0].live.values())  # the sums
    assert runtime.memories[0].made - small <= AHEAD + 2
    assert runtime.gpu.waits == []
    assert [int(total) for total in sums] == [1000 * number for number in range(30)]


def test_batches_keep_their_strides(runtime: Runtime) -> None:
    images = torch.arange(240).view(2, 4, 5, 6).permute(0, 3, 1, 2).pin_memory()
    moved = next(moving(iter([images]), device_of("cuda")))
    assert moved.stride() == images.stride()
    assert torch.equal(moved.cpu(), images)


def test_what_is_more_than_its_elements_moves_itself(runtime: Runtime) -> None:
    class Boxes(torch.Tensor):
        pass

    boxes = torch.ones(3).as_subclass(Boxes)
    boxes.format = "xyxy"
    asked: list[Any] = []
    boxes.to = lambda device, non_blocking: asked.append(device) or boxes  # type: ignore[method-assign]
    assert next(moving(iter([[boxes]]), device_of("cuda")))[0].format == "xyxy"
    assert asked == [torch.device("cuda", 0)]


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork")
@pytest.mark.parametrize("workers", [0, 1])
def test_a_loader_goes_on_after_an_error(workers: int) -> None:
    loader = DataLoader(Failing(), batch_size=None, num_workers=workers, device="cpu")
    assert outcomes(iter(loader)) == [0, 1, "error", 3, 4]


@pytest.mark.cuda
def test_a_slow_consumer_sees_each_batch_whole() -> None:
    device = device_of("cuda")
    batches = ({"x": torch.full((1 << 20,), i).pin_memory()} for i in range(12))
    sums = []
    for batch in moving(batches, device):
        torch.cuda._sleep(20_000_000)
        sums.append((batch["x"].min(), batch["x"].max()))
    assert [(int(low), int(high)) for low, high in sums] == [(i, i) for i in range(12)]
