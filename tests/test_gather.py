"""Rows of a tensor: index_select, for any dtype, shape and alignment; the CUDA kernel also as built for the CPU."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from gpuload import (
    ArgumentError,
    DataLoader,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)
from gpuload.compilers import host_library
from gpuload.gather import WORDS, gather_rows, widest_word

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
        got = gather_rows(source, chosen)
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
    assert torch.equal(gather_rows(source, indices), source[indices])


def test_the_result_is_a_copy(device: torch.device) -> None:
    source = rows(5, (3,), torch.float32, device)
    before = source.clone()
    gather_rows(source, torch.tensor([1, 2], device=device)).fill_(-1)
    assert torch.equal(source, before)


@pytest.mark.cuda
def test_a_tensor_of_more_than_4_gib() -> None:
    source = torch.zeros(70_000, 65_536, dtype=torch.uint8, device="cuda")
    source[-1] = 7
    source[33_000] = 5
    got = gather_rows(source, torch.tensor([69_999, 33_000, 0], device="cuda"))
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
    library = host_library()
    if library is None:
        pytest.skip("no C++ compiler")
    rng = np.random.default_rng(seed)
    source = torch.from_numpy(rng.integers(0, 256, (count, row_words * word), np.uint8))
    indices = torch.from_numpy(rng.integers(0, count, picks))
    out = torch.full((picks * row_words * word + 16,), 99, dtype=torch.uint8)
    library.cuda_gather(source.data_ptr(), indices.data_ptr(), picks, row_words, word, out.data_ptr())
    assert torch.equal(out[:-16], source[indices].flatten())
    assert out[-16:].tolist() == [99] * 16


# ---- indices of a user's own ----


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
