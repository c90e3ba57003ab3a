"""Batches of ordinary datasets: every structure arrives as it was, in order, errors in their turn."""

import contextlib
from collections import OrderedDict, UserDict, defaultdict, namedtuple
from collections.abc import Iterator
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
import torch
from torch.nn.utils.rnn import PackedSequence, pack_sequence
from torch.utils.data import DataLoader as TorchDataLoader, Dataset

from gpuload import DataLoader
from gpuload.transfer import Moving, move, side_stream


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


def moving(batches: Iterator[Any], device: torch.device) -> Moving:
    return Moving(batches, device, side_stream(device))


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
    moved = move(batch, device)
    assert type(moved) is type(batch)
    for ours, theirs in zip(flat(moved), flat(batch), strict=True):
        if isinstance(theirs, torch.Tensor):
            assert ours.device.type == device.type and torch.equal(ours.cpu(), theirs)
        else:
            assert ours == theirs


def test_what_else_the_mapping_knows_stays() -> None:
    batch = defaultdict(list, a=ones())
    assert move(batch, torch.device("cpu"))["missing"] == []
    assert torch.equal(move(Encoding(ids=ones()), torch.device("cpu")).ids, ones())


def test_the_batch_that_was_given_is_not_changed(device: torch.device) -> None:
    inner = [ones()]
    batch = {"a": inner}
    move(batch, device)
    assert list(batch) == ["a"] and batch["a"] is inner and inner[0].device.type == "cpu"


def test_a_packed_sequence_arrives(device: torch.device) -> None:
    """Its lengths must stay on the CPU, so it moves itself."""
    packed = pack_sequence([torch.ones(3), torch.ones(2)])
    moved = move([packed], device)[0]
    assert isinstance(moved, PackedSequence)
    assert moved.data.device.type == device.type and moved.batch_sizes.device.type == "cpu"


def test_a_batch_class_of_ones_own_moves_itself(device: torch.device) -> None:
    """As torch's pinning asks a batch for ``pin_memory``, moving asks it for ``to``."""

    class Graph:
        def __init__(self, nodes: torch.Tensor) -> None:
            self.nodes = nodes

        def to(self, device: torch.device, non_blocking: bool = False) -> "Graph":
            return Graph(self.nodes.to(device, non_blocking=non_blocking))

    assert move(Graph(ones()), device).nodes.device.type == device.type


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


@pytest.fixture
def no_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA's streams without CUDA: what is left is the order of things."""

    class Stream:
        def __init__(self, *_: Any) -> None:
            pass

        def wait_stream(self, _: Any) -> None:
            pass

        def wait_event(self, _: Any) -> None:
            pass

        def record_event(self) -> None:
            pass

    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", contextlib.nullcontext)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)


@pytest.mark.usefixtures("no_streams")
@pytest.mark.parametrize("kind", ["cpu", "cuda"])
class TestOrder:
    """Batches of ints, so that nothing is copied."""

    def test_all_arrive_in_order(self, kind: str) -> None:
        for count in range(5):
            assert list(moving(iter(range(count)), torch.device(kind))) == list(range(count))

    def test_one_ahead_at_most(self, kind: str) -> None:
        asked: list[int] = []
        batches = moving((asked.append(i) or i for i in range(9)), torch.device(kind))  # type: ignore[func-returns-value]
        assert asked == []
        for delivered in batches:
            assert len(asked) <= delivered + 2

    def test_an_error_comes_in_its_turn_and_ends_nothing(self, kind: str) -> None:
        """As of torch's loader, which goes on when it is asked for the next batch."""
        torchs = TorchDataLoader(Failing(), batch_size=None)
        assert outcomes(iter(torchs)) == [0, 1, "error", 3, 4]
        assert outcomes(iter(moving(iter(torchs), torch.device(kind)))) == [0, 1, "error", 3, 4]


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork")
@pytest.mark.parametrize("workers", [0, 1])
def test_a_loader_goes_on_after_an_error(workers: int) -> None:
    loader = DataLoader(Failing(), batch_size=None, num_workers=workers, device="cpu")
    assert outcomes(iter(loader)) == [0, 1, "error", 3, 4]


@pytest.mark.cuda
def test_a_slow_consumer_sees_each_batch_whole() -> None:
    device = torch.device("cuda")
    batches = ({"x": torch.full((1 << 20,), i).pin_memory()} for i in range(12))
    sums = []
    for batch in moving(batches, device):
        torch.cuda._sleep(20_000_000)
        sums.append((batch["x"].min(), batch["x"].max()))
    assert [(int(low), int(high)) for low, high in sums] == [(i, i) for i in range(12)]
