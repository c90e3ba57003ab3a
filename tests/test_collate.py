"""Rows of different size: filled up as torch's pad_sequence does, one behind the other as its nested tensors have them.

The CUDA kernel is also compiled for this CPU.
"""

import itertools
import pickle
from collections import OrderedDict, UserDict
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader as TorchDataLoader, Dataset, default_collate
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from gpuload import (
    ArgumentError,
    ArgumentTypeError,
    CollateError,
    DataLoader,
    ImageFolder,
    TensorDataset,
    transforms as T,
)
from gpuload.collate import LeftPadded, Pad, Padded, Ragged, Rows, pad, ragged
from gpuload.collate.padded import CHUNK, DIMS, FILLING
from gpuload.device import device_of
from tests.cases import THOROUGH, cases
from tests.cuda_on_cpu import cuda_on_cpu
from tests.simulation.runtime import simulated

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork"),
    pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors is in prototype stage"),
]
DTYPES = [
    torch.bool,
    torch.uint8,
    torch.int16,
    torch.float16,
    torch.bfloat16,
    torch.int32,
    torch.float32,
    torch.int64,
    torch.float64,
    torch.complex128,
]


class Sample(NamedTuple):
    tokens: torch.Tensor
    label: int


def rows(shapes: list[tuple[int, ...]], dtype: torch.dtype, device: torch.device | str = "cpu") -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(len(shapes))
    return [torch.randint(1, 100, shape, generator=generator).to(dtype).to(device) for shape in shapes]


def filled(tensors: list[torch.Tensor], value: float, left: bool = False) -> torch.Tensor:
    """Of torchvision's detectors: each row is copied into a corner of a full tensor."""
    shape = [max(sizes) for sizes in zip(*(tensor.shape for tensor in tensors), strict=True)]
    whole = torch.full((len(tensors), *shape), value, dtype=tensors[0].dtype)
    for target, tensor in zip(whole, tensors, strict=True):
        corner = (slice(b - a, b) if left else slice(a) for a, b in zip(tensor.shape, shape, strict=True))
        target[tuple(corner)] = tensor.cpu()
    return whole


def same(ours: Any, theirs: Any) -> bool:
    """The same types, and the same tensors in them."""
    if isinstance(ours, torch.Tensor):
        return ours.dtype == theirs.dtype and torch.equal(ours.cpu(), theirs)
    if isinstance(ours, dict | UserDict):
        return type(ours) is type(theirs) and [*ours] == [*theirs] and all(same(ours[k], theirs[k]) for k in ours)
    if isinstance(ours, list | tuple):
        return type(ours) is type(theirs) and all(same(a, b) for a, b in zip(ours, theirs, strict=True))
    return bool(ours == theirs)


# ---- filled up: laws, on the host and by the kernel on a simulated GPU ----


@st.composite
def shapes_of_a_batch(draw: st.DrawFn) -> list[tuple[int, ...]]:
    """Up to four dimensions, of which any differ; of none, one or many elements."""
    dims = draw(st.integers(1, 4))
    extents = [st.just(draw(st.integers(0, 9))) if draw(st.booleans()) else st.integers(0, 9) for _ in range(dims)]
    extents[-1] = draw(st.sampled_from([extents[-1], st.integers(0, 70)]))
    return draw(st.lists(st.tuples(*extents), min_size=1, max_size=6))


@settings(max_examples=cases(150))
@given(
    shapes=shapes_of_a_batch(),
    dtype=st.sampled_from(DTYPES),
    left=st.booleans(),
    value=st.sampled_from([0, 1, 7]),
    on_gpu=st.booleans(),
)
def test_rows_lie_in_a_corner_of_what_is_filled(
    shapes: list[tuple[int, ...]], dtype: torch.dtype, left: bool, value: int, on_gpu: bool
) -> None:
    collate = Pad(value=value, padding_side="left" if left else "right", lengths=True)
    with simulated() if on_gpu else nullcontext() as runtime:
        tensors = rows(shapes, dtype, "cuda" if on_gpu else "cpu")
        got, sizes = collate(tensors)
        assert got.dtype == dtype and got.is_contiguous()
        assert torch.equal(got.cpu(), filled(tensors, value, left))
        assert sizes.tolist() == [list(shape) for shape in shapes]
        assert sizes.device == got.device == tensors[0].device
        del got, sizes, tensors
        if on_gpu:
            runtime.gpu.finish()
            assert runtime.gpu.problems == []


@settings(max_examples=cases(60))
@given(
    lengths=st.lists(st.integers(0, 40), min_size=1, max_size=8),
    features=st.sampled_from([(), (1,), (3,), (4,), (5, 2)]),
    dtype=st.sampled_from(DTYPES),
    side=st.sampled_from(["left", "right"]),
    value=st.sampled_from([0, 1, -1, 3.5]),
    on_gpu=st.booleans(),
)
def test_sequences_are_as_of_pad_sequence(
    lengths: list[int], features: tuple[int, ...], dtype: torch.dtype, side: str, value: float, on_gpu: bool
) -> None:
    sequences = rows([(length, *features) for length in lengths], dtype)
    try:
        wanted = pad_sequence(sequences, True, value, side)
    except RuntimeError:  # the value does not fit, -1 into uint8, say
        if len(set(lengths)) > 1:
            with pytest.raises(CollateError, match="does not fit"):
                Pad(value=value, padding_side=side)(sequences)
        return
    with simulated() if on_gpu else nullcontext():
        given = [sequence.to("cuda") for sequence in sequences] if on_gpu else sequences
        assert torch.equal(Pad(value=value, padding_side=side)(given).cpu(), wanted)


@pytest.mark.parametrize("divisible", [1, 8, 32])
def test_images_are_as_in_torchvisions_detectors(divisible: int, device: torch.device) -> None:
    images = rows([(3, 33, 50), (3, 40, 17), (3, 1, 64)], torch.float32, device)
    theirs = GeneralizedRCNNTransform(1, 1, [0.0], [1.0]).batch_images([image.cpu() for image in images], divisible)
    assert torch.equal(Pad(multiple_of=divisible)(images).cpu(), theirs)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shapes", [[(0,), (5,)], [(0, 4), (3, 4)], [(0, 4), (0, 4)], [(2, 0), (0, 3)], [(7, 1)]])
def test_rows_without_elements(dtype: torch.dtype, shapes: list[tuple[int, ...]], device: torch.device) -> None:
    boxes = rows(shapes, dtype, device)
    assert torch.equal(pad(boxes).cpu(), filled(boxes, 0))


def test_views_are_no_different(device: torch.device) -> None:
    """Rows that are not contiguous, and that start where no wide access is aligned."""
    memory = torch.arange(1000, device=device)
    views = [memory[1:31].view(5, 6), memory[:60].view(6, 10)[:, 1:8], memory[3:24].view(7, 3).t()]
    assert torch.equal(pad(views).cpu(), filled(views, 0))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e-8, -100])
def test_any_value(value: float, device: torch.device) -> None:
    got = Pad(value=value)(rows([(1,), (3,)], torch.float32, device)).cpu()
    torch.testing.assert_close(got[0, 1:], torch.full((2,), value, dtype=torch.float32), rtol=0, atol=0, equal_nan=True)


def test_what_is_filled_up_has_no_gradient() -> None:
    assert not pad([torch.ones(2, requires_grad=True), torch.ones(3)]).requires_grad
    assert not pad.pack([torch.ones(2, requires_grad=True), torch.ones(3)]).elements.requires_grad


# ---- options ----


@pytest.mark.parametrize(
    ("multiple_of", "shapes", "shape"),
    [
        (8, [(3,), (9,)], (16,)),
        (8, [(8,), (8,)], (8,)),
        (8, [(7,), (7,)], (8,)),
        (8, [(3, 5), (9, 5)], (16, 5)),
        (8, [(3, 5, 6), (3, 9, 6)], (3, 16, 8)),
        (4, [(2, 3, 5, 6), (1, 3, 9, 6)], (2, 3, 12, 8)),
        ((1, 4), [(3, 5), (2, 5)], (3, 8)),
        ([2, 1], [(3, 5), (2, 5)], (4, 5)),
        ((1, 32, 32), [(3, 5), (2, 5)], (3, 5)),
    ],
)
def test_multiples(
    multiple_of: Any, shapes: list[tuple[int, ...]], shape: tuple[int, ...], device: torch.device
) -> None:
    assert Pad(multiple_of=multiple_of)(rows(shapes, torch.int32, device)).shape == (len(shapes), *shape)


def test_each_key_has_a_value_and_a_multiple(device: torch.device) -> None:
    collate = Pad(value={"labels": -100}, multiple_of={"tokens": 4})
    samples = [{"tokens": row, "labels": (row, {"inner": row})} for row in rows([(1,), (3,)], torch.int64, device)]
    batch = collate(samples)
    assert batch["tokens"].shape == (2, 4) and batch["tokens"][0, 1:].tolist() == [0, 0, 0]
    assert batch["labels"][0].shape == (2, 3) and batch["labels"][0][0, 1:].tolist() == [-100, -100]
    assert batch["labels"][1]["inner"][0, 1:].tolist() == [0, 0]  # the key that is nearest counts


@pytest.mark.parametrize("side", ["left", "right"])
def test_masks_tell_rows_from_padding(side: str, device: torch.device) -> None:
    collate = Pad(value=0, padding_side=side, lengths=True)
    images = rows([(3, 5, 2), (3, 1, 7), (3, 0, 4)], torch.int16, device)  # no element is 0
    padded = collate(images)
    assert type(padded) is (LeftPadded if side == "left" else Padded)
    whole = padded.values.cpu() != 0
    assert torch.equal(padded.mask().cpu(), whole)
    assert torch.equal(padded.mask(1, 2).cpu(), whole.any(dim=1))
    assert torch.equal(padded.mask(-1, -2).cpu(), whole.any(dim=1))
    tokens = collate(rows([(4,), (0,), (2,)], torch.int64, device))
    assert torch.equal(tokens.mask(0).cpu(), tokens.values.cpu() != 0)
    assert tokens.lengths.tolist() == [4, 0, 2]
    with pytest.raises(ArgumentError, match="dims must be from -1 to 0, got 1"):
        tokens.mask(1)


def test_lengths_of_rows_of_one_size(device: torch.device) -> None:
    """What a batch is made of does not depend on whether its rows happen to have one size."""
    given = rows([(4,), (4,)], torch.float32, device)
    padded = Pad(lengths=True)(given)
    assert torch.equal(padded.values.cpu(), torch.stack([row.cpu() for row in given]))
    assert padded.sizes.tolist() == [[4], [4]] and padded.mask().all()


# ---- ragged ----


@settings(max_examples=cases(60))
@given(
    lengths=st.lists(st.integers(0, 9), min_size=1, max_size=8),
    features=st.sampled_from([(), (4,), (3, 2)]),
    dtype=st.sampled_from(DTYPES),
    on_gpu=st.booleans(),
)
def test_ragged_rows_lie_one_behind_the_other(
    lengths: list[int], features: tuple[int, ...], dtype: torch.dtype, on_gpu: bool
) -> None:
    with simulated() if on_gpu else nullcontext():
        given = rows([(length, *features) for length in lengths], dtype, "cuda" if on_gpu else "cpu")
        values, offsets = Ragged(nested=False)(given)
        assert values.device == offsets.device == given[0].device
        assert values.dtype == dtype and values.shape == (sum(lengths), *features)
        ends = offsets.tolist()
        assert ends[0] == 0 and len(ends) == len(lengths) + 1
        found = [values.cpu()[start:end] for start, end in itertools.pairwise(ends)]
        assert all(torch.equal(a, b.cpu()) for a, b in zip(found, given, strict=True))


@pytest.mark.parametrize("place", ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
@pytest.mark.parametrize("shapes", [[(2, 4), (0, 4), (3, 4)], [(0,), (0,)], [(5,)], [(1, 2, 3), (2, 2, 3)]])
def test_ragged_batches_are_torchs_nested_tensors(place: str, shapes: list[tuple[int, ...]]) -> None:
    given = rows(shapes, torch.float32, place)
    ours, theirs = ragged(given), torch.nested.nested_tensor(given, layout=torch.jagged)
    assert ours.is_nested and ours.layout is torch.jagged and ours.device == theirs.device
    assert torch.equal(ours.values(), theirs.values()) and torch.equal(ours.offsets(), theirs.offsets())
    assert all(torch.equal(a, b) for a, b in zip(ours.unbind(), given, strict=True))
    lengths = [len(row) for row in given]
    assert (ours._min_seqlen, ours._max_seqlen) == (min(lengths), max(lengths))


def test_only_some_keys_are_ragged(device: torch.device) -> None:
    boxes, image = rows([(0, 4), (2, 4)], torch.float32, device), torch.ones(3, 2, 2, device=device)
    samples = [(image, {"boxes": box, "size": torch.tensor([2, 2])}) for box in boxes]
    images, targets = Ragged(nested=False, keys=["boxes"])(samples)
    assert images.shape == (2, 3, 2, 2) and targets["size"].tolist() == [[2, 2], [2, 2]]
    assert isinstance(targets["boxes"], Rows) and targets["boxes"].offsets.tolist() == [0, 0, 2]


# ---- samples of any structure ----


SAMPLES: list[Any] = [
    [(torch.ones(2), 1), (torch.zeros(2), 2)],
    [{"a": np.ones((2, 3)), "b": "text"}, {"a": np.zeros((2, 3)), "b": "more"}],
    [Sample(torch.ones(3), 1), Sample(torch.zeros(3), 2)],
    [OrderedDict(x=[1, 2.5], y=b"1"), OrderedDict(x=[3, 4.5], y=b"2")],
    [UserDict(x=torch.ones(1)), UserDict(x=torch.zeros(1))],
    [torch.tensor(1), torch.tensor(2)],
    [torch.ones(2), torch.ones(2, dtype=torch.float64)],
    [[torch.ones(2), (torch.ones(1), np.float32(2))], [torch.ones(2), (torch.ones(1), np.float32(3))]],
]


@pytest.mark.parametrize("samples", SAMPLES, ids=lambda samples: type(samples[0]).__name__)
def test_samples_of_one_size_are_as_of_default_collate(samples: list[Any]) -> None:
    theirs = default_collate(samples)
    assert same(pad(samples), theirs) and same(pad.pack(samples), theirs)
    assert same(Ragged(keys=())(samples), theirs)


def test_structures_are_kept() -> None:
    first, second = np.arange(3), np.arange(5)
    batch = pad([{"deep": [Sample(torch.from_numpy(row), 1), (row, "x")]} for row in (first, second)])
    wanted = filled([torch.from_numpy(first), torch.from_numpy(second)], 0)
    assert same(batch, {"deep": [Sample(wanted, torch.tensor([1, 1])), [wanted, ("x", "x")]]})


# ---- two phases ----


@pytest.mark.parametrize("collate", [pad, Pad(lengths=True, padding_side="left"), Ragged(nested=False)], ids=repr)
def test_a_batch_is_packed_and_finished(collate: Any, device: torch.device) -> None:
    samples = [(row, {"label": row[:1], "n": 3}) for row in rows([(2, 4), (5, 4), (0, 4)], torch.float32)]
    packed = collate.pack(samples)
    assert all(type(leaf) is torch.Tensor and leaf.is_contiguous() for leaf in leaves(packed))
    packed = pickle.loads(pickle.dumps(packed))
    assert same(collate.finish(moved(packed, device)), collate(samples))


def leaves(thing: Any) -> Iterator[Any]:
    if isinstance(thing, torch.Tensor):
        yield thing
    elif isinstance(thing, list | tuple | dict):
        for one in thing.values() if isinstance(thing, dict) else thing:
            yield from leaves(one)


def moved(thing: Any, device: torch.device) -> Any:
    if isinstance(thing, torch.Tensor):
        return thing.to(device)
    if isinstance(thing, dict):
        return {key: moved(value, device) for key, value in thing.items()}
    if isinstance(thing, list | tuple):
        values = [moved(value, device) for value in thing]
        return type(thing)(*values) if hasattr(thing, "_fields") else type(thing)(values)
    return thing


@pytest.mark.parametrize("collate", [pad, ragged, Pad(value={"a": 1}, multiple_of=(1, 8)), Ragged(keys=("a",))])
def test_pickles_and_words(collate: Any) -> None:
    assert pickle.loads(pickle.dumps(collate)) == collate
    assert eval(repr(collate)) == collate


# ---- loaders ----


class Sentences(Dataset[Any]):
    """(tokens, label) of 1 to 7 tokens."""

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return torch.arange(index, index + 1 + index * 3 % 7), index


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("collate", [pad, Pad(lengths=True), Ragged(nested=False)], ids=repr)
def test_ordinary_datasets(workers: int, collate: Any, device: torch.device) -> None:
    ours = list(DataLoader(Sentences(), 5, num_workers=workers, collate_fn=collate, device=device))
    wanted = [collate([Sentences()[i] for i in part]) for part in (range(5), range(5, 10), range(10, 12))]
    theirs = list(TorchDataLoader(Sentences(), 5, num_workers=workers, collate_fn=collate))
    assert all(leaf.device.type == device.type for leaf in leaves(ours))
    assert same(ours, wanted) and same(theirs, wanted)


@pytest.mark.parametrize("workers", [0, 1])
def test_nested_tensors_come_from_workers(workers: int) -> None:
    for loader in (DataLoader(Sentences(), 4, num_workers=workers, collate_fn=ragged, device="cpu"),
                   TorchDataLoader(Sentences(), 4, num_workers=workers, collate_fn=ragged)):  # fmt: skip
        found = [row for tokens, _ in loader for row in tokens.unbind()]
        assert same(found, [tokens for tokens, _ in (Sentences()[i] for i in range(12))])


@pytest.mark.skipif(not THOROUGH, reason="make sanitize runs it: such a worker imports torch anew")
def test_workers_that_are_spawned() -> None:
    loader = DataLoader(
        Sentences(), 4, num_workers=1, multiprocessing_context="spawn", collate_fn=Pad(value=-1), device="cpu"
    )
    assert same(list(loader), [Pad(value=-1)([Sentences()[i] for i in range(k, k + 4)]) for k in (0, 4, 8)])


def test_the_gpu_fills_up_what_workers_pack() -> None:
    with simulated() as runtime:
        loader = DataLoader(Sentences(), 6, collate_fn=pad, device="cuda")
        assert next(iter(loader))[0].shape == (6, 7)
        assert [name for name, *_ in runtime.launched] == ["pad_8"]
        assert {stage.name: stage.facts for stage in loader.stages()}["collate"] == ("Pad",)


def test_a_missing_compiler_is_told_of_when_the_loader_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared: list[str] = []
    with simulated():
        monkeypatch.setattr("gpuload.device.CudaDevice.prepare", lambda self, name: prepared.append(name))
        DataLoader(Sentences(), collate_fn=pad, device="cuda")
        DataLoader(Sentences(), collate_fn=ragged, device="cuda")
    assert prepared == ["pad_4"]


@pytest.mark.parametrize("workers", [0, 2])
def test_images_of_different_sizes(photos: Any, workers: int, device: torch.device) -> None:
    dataset = ImageFolder(photos, transform=T.ToDtype(torch.float32, scale=True))
    loader = DataLoader(dataset, 5, num_workers=workers, collate_fn=pad, device=device)
    for number, (images, labels) in enumerate(loader):
        chosen = range(5 * number, min(5 * number + 5, len(dataset)))
        assert images.device.type == labels.device.type == device.type
        assert torch.equal(images.cpu(), filled([dataset[i][0] for i in chosen], 0))
        assert labels.tolist() == [dataset[i][1] for i in chosen]


def test_rows_of_tensors(device: torch.device) -> None:
    features = torch.arange(30.0).view(10, 3)
    loader = DataLoader(TensorDataset(features, device=device), 4, collate_fn=Pad(multiple_of=4))
    batches = [batch.cpu() for (batch,) in loader]
    assert torch.equal(torch.cat(batches), torch.nn.functional.pad(features, (0, 1)))


# ---- errors ----


@pytest.mark.parametrize(
    ("collate", "samples", "said"),
    [
        (pad, [torch.ones(2), torch.ones(2, 3)], r"different numbers of dimensions in one place: \(2,\), \(2, 3\)$"),
        (pad, [torch.ones(2), torch.ones(3).double()], "different dtypes in one place: torch.float32, torch.float64$"),
        (ragged, [torch.ones(2), torch.ones(3).int()], "different dtypes in one place: torch.float32, torch.int32$"),
        (pad, [torch.ones(2), 3, "x"], "have tensors and int, str in one place$"),
        (Pad(value=300), [torch.ones(2).byte(), torch.ones(3).byte()], "value=300 does not fit .* torch.uint8: pass"),
        (
            ragged,
            [torch.ones(2, 3), torch.ones(2, 4)],
            r"whose first dimension alone differs, got shapes \(2, 3\), \(2, 4\): use gpuload.collate.pad$",
        ),
        (pad, [torch.ones([1] * 5), torch.ones([2] * 5)], r"at most 4 .* can differ, got shapes \(1, 1, 1, 1, 1\), "),
        (pad, [(torch.ones(i), torch.ones([2] * i)) for i in range(1, 6)], r"\(2, 2, 2\), \.\.\.$"),
    ],
)
def test_samples_that_do_not_go_together(collate: Any, samples: list[Any], said: str) -> None:
    for call in (collate, collate.pack):
        with pytest.raises(CollateError, match=said):
            call(samples)


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({"value": "0"}, ArgumentTypeError, "value must be a number, or a mapping to numbers, got '0'"),
        ({"value": {"a": None}}, ArgumentTypeError, "value must be a number, .* got {'a': None}"),
        ({"multiple_of": 0}, ArgumentError, "multiple_of must be at least 1, got 0"),
        ({"multiple_of": (1, 2.5)}, ArgumentTypeError, "multiple_of must be an int, got 2.5"),
        ({"multiple_of": {"a": "8"}}, ArgumentTypeError, "multiple_of must be an int, got '8'"),
        ({"padding_side": "top"}, ArgumentError, "padding_side must be 'left' or 'right', got 'top'"),
    ],
)
def test_arguments_of_pad(options: dict[str, Any], kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        Pad(**options)


@pytest.mark.parametrize("keys", ["boxes", 3])
def test_arguments_of_ragged(keys: Any) -> None:
    with pytest.raises(ArgumentTypeError, match=f"keys must be a collection of keys or None, got {keys!r}"):
        Ragged(keys=keys)


@pytest.mark.parametrize("samples", [[torch.ones(2).to_sparse()] * 2])
def test_what_torch_refuses_is_refused_as_torch_does(samples: list[Any]) -> None:
    with pytest.raises(RuntimeError, match="sparse tensors are not currently supported"):
        pad(samples)


# ---- the kernel, compiled for this CPU ----


@settings(max_examples=cases(100))
@given(
    extents=st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), st.integers(1, 40)),
    count=st.integers(1, 5),
    element=st.sampled_from([1, 2, 4, 8, 16]),
    offset=st.integers(0, 17),
    in_front=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_kernel(extents: tuple[int, ...], count: int, element: int, offset: int, in_front: bool, seed: int) -> None:
    """Nothing behind the output is written, whatever the alignment of the elements."""
    rng = np.random.default_rng(seed)
    sizes = np.array([[rng.integers(0, extent + 1) for extent in extents] for _ in range(count)])
    starts = offset + np.cumsum([0, *sizes.prod(axis=1)])
    kind = np.dtype(f"V{element}")
    elements = rng.integers(0, 256, starts[-1] * element, np.uint8).view(kind)
    elements = torch.from_numpy(elements.view(np.uint8)).clone().numpy().view(kind)  # aligned as torch's memory is
    places = np.column_stack([starts[:-1], sizes])
    fill = rng.integers(0, 256, element, np.uint8)
    padding = np.zeros((), FILLING)
    padding["rows"], padding["extents"], padding["in_front"] = count, extents, in_front
    padding["fill"] = np.resize(fill, CHUNK)
    wanted = np.full((count, *extents), fill.view(kind)[0])
    for target, start, size in zip(wanted, starts, sizes, strict=False):
        corner = (slice(b - a, b) if in_front else slice(a) for a, b in zip(size, extents, strict=True))
        target[tuple(corner)] = elements[start : start + size.prod()].reshape(size)
    out = torch.full((wanted.nbytes + CHUNK,), 99, dtype=torch.uint8)
    cuda_on_cpu().cuda_pad(elements.ctypes.data, places.ctypes.data, padding.ctypes.data, element, out.data_ptr())
    assert out[:-CHUNK].numpy().tobytes() == wanted.tobytes()
    assert out[-CHUNK:].tolist() == [99] * CHUNK


def test_one_launch_pads_all_rows() -> None:
    with simulated() as runtime:
        got = pad(rows([(3, 5, 2 + i) for i in range(9)], torch.uint8, "cuda"))
        assert [name for name, *_ in runtime.launched] == ["pad_1"]
        assert got.shape == (9, 3, 5, 10) and FILLING["extents"].shape == (DIMS,)
        assert device_of("cuda").launches
