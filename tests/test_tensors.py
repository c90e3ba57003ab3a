"""Tensors: rows of any dtype, shape and alignment, the user's own indices, and who waits for what.

The CUDA kernel is also compiled for this CPU.
"""

import itertools
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch.utils.data import (
    BatchSampler,
    DataLoader as TorchDataLoader,
    TensorDataset as TorchTensorDataset,
    default_collate,
    default_convert,
)

from gpuload import (
    ArgumentError,
    ArgumentTypeError,
    DataLoader,
    MissingError,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    nvrtc,
)
from gpuload.device import Device, device_of
from gpuload.lifting import Rows
from gpuload.loading.course import Settings
from gpuload.loading.order import Order
from gpuload.loading.tensors import WORDS, TensorPath, gather_rows, widest_word
from tests.cuda_on_cpu import cuda_on_cpu
from tests.simulation.runtime import simulated

DTYPES = [
    torch.bool,
    torch.uint8,
    torch.int8,
    torch.int16,
    torch.float16,
    torch.bfloat16,
    torch.int32,
    torch.float32,
    torch.int64,
    torch.float64,
    torch.complex64,
    torch.complex128,
]
SHAPES = [(), (1,), (2,), (3,), (4,), (5, 7), (16,), (3, 5, 1), (33,), (0,), (2, 0, 3)]


def rows(count: int, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    generator = torch.Generator().manual_seed(count)
    return torch.randint(0, 2 if dtype is torch.bool else 100, (count, *shape), generator=generator).to(device, dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equals_indexing(dtype: torch.dtype, shape: tuple[int, ...], device: torch.device) -> None:
    source = rows(37, shape, dtype, device)
    for indices in ([], [0], [36], [5, 5, 5], [*range(36, -1, -1)], [i * 7 % 37 for i in range(300)]):
        chosen = torch.tensor(indices, dtype=torch.int64, device=device)
        got = gather_rows(source, chosen, device_of(device))
        assert got.dtype == dtype and got.device == source.device and got.is_contiguous()
        assert got.shape == (len(indices), *shape)
        assert torch.equal(got, source[chosen])


@pytest.mark.parametrize("offset", range(5))
@pytest.mark.parametrize("row", [1, 3, 4, 12, 16, 48, 50])
def test_rows_that_start_anywhere(offset: int, row: int, device: torch.device) -> None:
    """A source that is a view need not be aligned to more than its element."""
    memory = torch.arange(offset + 40 * row, device=device).to(torch.uint8)
    source = memory[offset:].view(40, row)
    indices = torch.tensor([39, 0, 17, 17], device=device)
    assert torch.equal(gather_rows(source, indices, device_of(device)), source[indices])


def test_the_result_is_a_copy(device: torch.device) -> None:
    source = rows(5, (3,), torch.float32, device)
    before = source.clone()
    gather_rows(source, torch.tensor([1, 2], device=device), device_of(device)).fill_(-1)
    assert torch.equal(source, before)


@pytest.mark.cuda
def test_a_tensor_of_more_than_4_gib() -> None:
    source = torch.zeros(70_000, 65_536, dtype=torch.uint8, device="cuda")
    source[-1] = 7
    source[33_000] = 5
    got = gather_rows(source, torch.tensor([69_999, 33_000, 0], device="cuda"), device_of("cuda"))
    assert got.float().mean(1).tolist() == [7, 5, 0]


# ---- the width of an access ----


@given(st.integers(1, 1 << 20), st.lists(st.integers(0, 1 << 48), max_size=3))
def test_the_widest_word_that_divides_all(row_bytes: int, addresses: list[int]) -> None:
    word = widest_word(row_bytes, *addresses)
    assert word in WORDS
    divides = [w for w in (16, 4, 1) if all(value % w == 0 for value in (row_bytes, *addresses))]
    assert word == divides[0]


# ---- the kernel, compiled for this CPU ----


@settings(max_examples=60)
@given(
    word=st.sampled_from(WORDS),
    row_words=st.integers(1, 40),
    count=st.integers(1, 30),
    seed=st.integers(0, 2**32 - 1),
    picks=st.integers(0, 60),
)
def test_kernel(word: int, row_words: int, count: int, seed: int, picks: int) -> None:
    rng = np.random.default_rng(seed)
    source = torch.from_numpy(rng.integers(0, 256, (count, row_words * word), np.uint8))
    indices = torch.from_numpy(rng.integers(0, count, picks))
    out = torch.full((picks * row_words * word + 16,), 99, dtype=torch.uint8)
    cuda_on_cpu().cuda_gather(source.data_ptr(), indices.data_ptr(), picks, row_words, word, out.data_ptr())
    assert torch.equal(out[:-16], source[indices].flatten())
    assert out[-16:].tolist() == [99] * 16


# ---- the path ----


class Path(TensorPath):
    """Of rows that stay as they are."""

    def __init__(
        self,
        tensors: tuple[torch.Tensor, ...],
        sampler: Any,
        batch_size: int | None,
        device: Device,
        collate: Any = None,
    ) -> None:
        batches = None if batch_size is None else BatchSampler(sampler, batch_size, False)
        order = Order(sampler, batches, device)
        collate = collate or (default_convert if batch_size is None else default_collate)
        self.given = Rows((tensors,)), Settings(0, 2, False, collate, False, 0, None, True, None)
        super().__init__(self.given[0], order, device)

    def play(self) -> Iterator[Any]:
        return self.batches(0, *self.given)


@pytest.mark.parametrize("batch_size", [None, 1, 4, 100])
@pytest.mark.parametrize("own", [False, True])
def test_batches_are_as_torchs(batch_size: int | None, own: bool, device: torch.device) -> None:
    tensors = torch.arange(30).view(10, 3).float(), torch.arange(10), torch.zeros(10, 0)
    order = [3, 1, 4, 1, 5, 9, 2, 6] if own else range(10)
    path = Path(tensors, order if own else SequentialSampler(range(10)), batch_size, device_of(device))
    theirs = TorchDataLoader(TorchTensorDataset(*tensors), batch_size, sampler=order)
    for ours, wanted in zip(path.play(), theirs, strict=True):
        assert type(ours) is type(wanted)
        for part, wanted_part in zip(ours, wanted, strict=True):
            assert part.device.type == device.type
            assert torch.equal(part.cpu(), wanted_part)


def test_a_sampler_of_batches(device: torch.device) -> None:
    """As torch's pages advise: indexing with a list of indices is one call."""
    dataset, sampler = TorchTensorDataset(torch.arange(10) * 10, torch.arange(10)), BatchSampler([4, 1, 7], 2, False)
    theirs = list(TorchDataLoader(dataset, batch_size=None, sampler=sampler))
    ours = list(DataLoader(dataset, batch_size=None, sampler=sampler, device=device))
    assert [[part.tolist() for part in batch] for batch in ours] == [[p.tolist() for p in batch] for batch in theirs]
    assert ours[0][0].tolist() == [40, 10]


def test_pairs_for_a_collate_function_of_ones_own(device: torch.device) -> None:
    tensors = torch.arange(8).view(4, 2), torch.arange(4)
    path = Path(tensors, SequentialSampler(range(4)), 3, device_of(device), lambda pairs: pairs)
    first, second = path.play()
    assert [(x.tolist(), int(y)) for x, y in first] == [([0, 1], 0), ([2, 3], 1), ([4, 5], 2)]
    assert len(second) == 1
    single = Path(tensors, SequentialSampler(range(4)), None, device_of(device), lambda sample: int(sample[1]))
    assert list(single.play()) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "tensor", [torch.arange(20).view(4, 5).t(), torch.arange(20)[::2], torch.zeros(5, 1).expand(5, 3)]
)
def test_tensors_that_are_not_contiguous(tensor: torch.Tensor, device: torch.device) -> None:
    path = Path((tensor,), SequentialSampler(range(5)), 5, device_of(device))
    ((rows,),) = path.play()
    assert torch.equal(rows.cpu(), tensor[:5])


def test_words(device: torch.device) -> None:
    place = device_of(device)
    path = Path((torch.zeros(500_000, 8), torch.arange(500_000)), SequentialSampler(range(9)), 3, place)
    order, gather, deliver = path.stages(0, *path.given)
    assert order.name == "order"
    how = "one kernel launch per tensor" if place.launches else "torch.index_select"
    rows = "rows of float32 (500000, 8), int64 (500000,): 20.0 MB that stay there"
    assert gather == ("gather", place.describe(), (rows, how))
    assert deliver == ("deliver", place.describe(), ("a list of tensors, in order", "made when asked for"))


# ---- who waits for what ----


@pytest.mark.parametrize("seed", range(5))
def test_a_consumer_may_change_over_to_another_stream(seed: int) -> None:
    source = torch.arange(4000).view(1000, 4)
    wanted = RandomSampler(source, seed=1).order(0).indices(0, 1000)
    with simulated(seed) as runtime:
        tensors = source.to("cuda") + 0, source.t().contiguous().to("cuda").t()
        path = Path(tensors, RandomSampler(source, seed=1), 10, device_of("cuda"))
        streams, batches, found = [torch.cuda.current_stream(), torch.cuda.Stream()], path.play(), []
        runtime.gpu.waits.clear()
        for number in range(100):
            with torch.cuda.stream(streams[number % 3 == 0]):
                found.append([rows.clone() for rows in next(batches)])
        assert runtime.gpu.waits == []
        del path, batches, tensors  # the kernels may not have run
        runtime.reuse()
        runtime.gpu.finish()
        for k in range(2):
            assert torch.equal(torch.cat([rows[k].cpu() for rows in found]), source[wanted])
    assert runtime.gpu.problems == []


def test_the_users_own_indices_go_through_pinned_memory() -> None:
    with simulated() as runtime:
        path = Path((torch.arange(10),), [1, 2, -3], 2, device_of("cuda"))
        runtime.gpu.waits.clear()
        batches = list(path.play())
        assert runtime.gpu.waits == []
        assert [rows.tolist() for (rows,) in batches] == [[1, 2], [7]]
    assert runtime.gpu.problems == []


def test_what_is_missing_fails_before_the_first_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise MissingError("no CuPy")

    with simulated(), monkeypatch.context() as patch:
        patch.setattr(nvrtc, "cupy", missing)
        with pytest.raises(MissingError, match="no CuPy"):
            Path((torch.arange(10),), RandomSampler(range(10), seed=0), 2, device_of("cuda"))


def test_a_dropped_path_is_freed_at_once() -> None:
    with simulated():
        path = Path((torch.arange(10),), RandomSampler(range(10), seed=0), 2, device_of("cuda"))
        batches, gone = path.play(), weakref.ref(path)
        next(batches)
        del path, batches
        assert gone() is None


# ---- indices of a user's own ----


@pytest.mark.parametrize("sampler", [[0, 1.5], [0, "a"], [None]], ids=str)
@pytest.mark.parametrize("batch_size", [None, 2])
def test_a_users_indices_are_integers(sampler: Any, batch_size: int | None, device: torch.device) -> None:
    with pytest.raises(ArgumentTypeError, match="sampler must give integers, got"):
        list(DataLoader(TorchTensorDataset(torch.arange(4)), batch_size, sampler=sampler, device=device))


def test_a_sampler_whose_source_grows_never_reads_beyond_the_tensor(device: torch.device) -> None:
    source = [0] * 4
    loader = DataLoader(TensorDataset(torch.arange(4), device=device), 2, sampler=RandomSampler(source, seed=0))
    assert len(list(loader)) == 2
    source.append(0)
    with pytest.raises(ArgumentError, match="sampler gives indices up to 4, but the dataset has 4 samples"):
        list(loader)


@pytest.mark.parametrize("sampler", [[-1, 0, -4, 3], [4], [0, -5]], ids=str)
def test_a_users_indices_mean_what_they_mean_to_torch(sampler: list[int], device: torch.device) -> None:
    """Negative ones count from the end; others raise, and never read memory that is not the tensor's."""
    dataset = TensorDataset(torch.arange(4) * 10, device=device)
    loader: Any = DataLoader(dataset, 1, sampler=sampler, device=device)
    if all(-4 <= index < 4 for index in sampler):
        assert [batch.item() for (batch,) in loader] == [(index % 4) * 10 for index in sampler]
    else:
        with pytest.raises(IndexError, match=r"-?[45]"):
            list(itertools.islice(loader, 5))


def test_a_users_batches_may_be_tensors(device: torch.device) -> None:
    """Of any integer type, on the host or on the device; negative ones count from the end here too."""
    dataset = TensorDataset(torch.arange(6) * 10, device=device)
    batches = [torch.tensor([1, 5]), torch.tensor([-1, 0], dtype=torch.int32), torch.tensor([2], device=device)]
    loader: Any = DataLoader(dataset, batch_sampler=batches, device=device)
    assert [rows.tolist() for (rows,) in loader] == [[10, 50], [50, 0], [20]]
    for outside in (6, -7):
        with pytest.raises(IndexError, match=f"{outside}"):
            list(DataLoader(dataset, batch_sampler=[torch.tensor([0, outside])], device=device))


@pytest.mark.parametrize(
    "sampler",
    [
        SubsetRandomSampler([0, 1, 7], seed=0),
        WeightedRandomSampler([0, 0, 0, 0, 1], 3, seed=0),
        RandomSampler(range(50), seed=0),
        SequentialSampler(range(5)),
    ],
    ids=lambda sampler: type(sampler).__name__,
)
def test_a_sampler_of_another_dataset_never_reads_beyond_the_tensor(sampler: Any, device: torch.device) -> None:
    with pytest.raises((IndexError, ArgumentError)):
        list(DataLoader(TensorDataset(torch.arange(4), device=device), 2, sampler=sampler, device=device))


def test_a_subset_of_negative_indices_never_reads_before_the_tensor(device: torch.device) -> None:
    with pytest.raises((IndexError, ArgumentError), match="-5"):
        list(
            DataLoader(
                TensorDataset(torch.arange(4), device=device), sampler=SubsetRandomSampler([-5, 2]), device=device
            )
        )
