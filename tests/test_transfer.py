"""Batches of ordinary datasets: every structure arrives as it was, in order, errors in their turn."""

import contextlib
import gc
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
from gpuload.device import Device, HostDevice, device_of
from gpuload.loading.transfer import Moving, move, pinned
from tests.clocks import Clock, ClockedDevice, Moment


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
    assert type(moved) is type(batch)
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
def test_every_structure_is_pinned_as_it_was(batch: Any) -> None:
    found = pinned(batch, ClockedDevice())
    assert type(found) is type(batch)
    for ours, theirs in zip(flat(found), flat(batch), strict=True):
        if isinstance(theirs, torch.Tensor):
            assert ours.data_ptr() != theirs.data_ptr()
            assert torch.equal(ours, theirs)
        else:
            assert ours == theirs


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.bfloat16, torch.int64, torch.complex128])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 4), (2, 3, 4)])
def test_any_tensor_is_pinned(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    tensor = torch.ones(shape).to(dtype)
    assert torch.equal(pinned(tensor, ClockedDevice()), tensor)
    if tensor.ndim == 3:
        permuted = tensor.permute(2, 0, 1)
        assert torch.equal(pinned(permuted, ClockedDevice()), permuted)


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


@pytest.mark.parametrize(
    "make", [HostDevice, ClockedDevice, pytest.param(lambda: device_of("cuda"), marks=pytest.mark.cuda)]
)
class TestOrder:
    """Batches of ints, so that nothing is copied."""

    def test_all_arrive_in_order(self, make: Any) -> None:
        for count in range(5):
            assert list(moving(iter(range(count)), make())) == list(range(count))

    def test_one_ahead_at_most(self, make: Any) -> None:
        asked: list[int] = []
        batches = moving((asked.append(i) or i for i in range(9)), make())  # type: ignore[func-returns-value]
        assert asked == []
        for delivered in batches:
            assert len(asked) <= delivered + 2

    def test_an_error_comes_in_its_turn_and_ends_nothing(self, make: Any) -> None:
        """As of torch's loader, which goes on when it is asked for the next batch."""
        torchs = TorchDataLoader(Failing(), batch_size=None)
        assert outcomes(iter(torchs)) == [0, 1, "error", 3, 4]
        assert outcomes(iter(moving(iter(torchs), make()))) == [0, 1, "error", 3, 4]

    def test_so_does_an_error_of_a_batch_that_moves_itself(self, make: Any) -> None:
        class Stuck:
            def to(self, device: torch.device, non_blocking: bool = False) -> None:
                raise KeyError("stuck")

        assert outcomes(moving(iter([0, 1, Stuck(), 3]), make())) == [0, 1, "error", 3]

    def test_an_error_that_was_handled_is_gone(self, make: Any, no_collector: None) -> None:
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
        stream = moving(batches(), make())
        assert next(stream) == 0
        with contextlib.suppress(Error):
            next(stream)
        assert [error() for error in errors] == [None]
        assert list(stream) == []

    def test_one_that_is_dropped_is_freed_at_once(self, make: Any, no_collector: None) -> None:
        class Source:
            def __iter__(self) -> Iterator[int]:
                return iter(range(9))

            def __next__(self) -> int:
                return 0

        source = Source()
        stream, gone = moving(source, make()), weakref.ref(source)
        assert next(stream) == 0
        del stream, source
        assert gone() is None


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


class Copied:
    """A batch that notes when, and where, it was copied."""

    def __init__(self, device: ClockedDevice) -> None:
        self._device = device

    def to(self, device: torch.device, non_blocking: bool = False) -> tuple[Moment, Clock]:
        assert non_blocking
        return self._device.step("copy"), self._device.current_stream()


def test_copies_run_beside_the_consumers_work_and_before_its_use() -> None:
    device = ClockedDevice()
    side, other = device.stream(), device.stream()
    uses: list[Moment] = []
    batches = Moving((Copied(device) for _ in range(12)), device, side)
    for number in range(12):
        consumer = other if number % 5 == 4 else device.main
        with device.on(consumer):
            copied, stream = next(batches)
            assert stream is side
            assert consumer.is_after(copied)
            assert not device.host.is_after(copied)
            copies = [moment for name, moment in device.work if name == "copy"]
            if number < 11:
                assert not consumer.is_after(copies[number + 1])  # the one ahead
            if number >= 2:
                assert side.is_after(uses[number - 2])  # its memory may be that of a dropped one
            uses.append(device.step("use"))
    assert device.events == 3


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
