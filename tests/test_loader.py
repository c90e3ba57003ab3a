"""DataLoader: one signature, three paths, the same batches however they are made."""

import inspect
import pickle
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import (
    DataLoader as TorchDataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    TensorDataset as TorchTensorDataset,
)

import gpuload
from gpuload import (
    ArgumentError,
    ArgumentTypeError,
    CollateError,
    DataLoader,
    ImageFolder,
    MissingError,
    SampleError,
    transforms as T,
)
from gpuload.libraries import host_library
from gpuload.loading.tensors import TensorPath
from gpuload.loading.workers import WorkerPath
from gpuload.samplers.permutation import permute
from tests.fake_codec import needs_codec
from tests.simulation.runtime import simulated

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
TRAIN = T.Compose(
    [T.RandomResizedCrop(24), T.RandomHorizontalFlip(), T.ToDtype(torch.float32, scale=True), T.Normalize(MEAN, STD)]
)
EXACT_SIZE = T.Compose([T.Resize(20), T.CenterCrop(16)])


@pytest.fixture
def folder(photos: Path) -> ImageFolder:
    return ImageFolder(photos, transform=TRAIN)


def batches(loader: Any) -> list[Any]:
    return [[part.cpu() if isinstance(part, torch.Tensor) else part for part in batch] for batch in loader]


def same(one: list[Any], other: list[Any]) -> bool:
    pairs = [(a, b) for left, right in zip(one, other, strict=True) for a, b in zip(left, right, strict=True)]
    return all(torch.equal(a, b) for a, b in pairs)


# ---- the class itself ----


def test_signature_is_torchs_and_more() -> None:
    ours = inspect.signature(DataLoader.__init__).parameters
    theirs = inspect.signature(TorchDataLoader.__init__).parameters
    assert list(ours)[: len(theirs)] == list(theirs)
    for name, parameter in theirs.items():
        assert ours[name].kind == parameter.kind
        assert ours[name].default == parameter.default
    extras = set(ours) - set(theirs)
    assert all(ours[name].kind is inspect.Parameter.KEYWORD_ONLY for name in extras)


def test_every_argument_is_an_attribute(folder: ImageFolder) -> None:
    loader = DataLoader(folder, batch_size=3, num_workers=1)
    assert isinstance(loader, TorchDataLoader)
    names = set(inspect.signature(DataLoader.__init__).parameters) - {"self", "shuffle"}  # torch keeps no shuffle
    assert {name for name in names if not hasattr(loader, name)} == set()


@pytest.mark.parametrize("name", ["decoder", "device", "dtype", "engine", "memory_format", "seed"])
def test_attributes_that_stay(folder: ImageFolder, name: str) -> None:
    for loader in (DataLoader(folder), pickle.loads(pickle.dumps(DataLoader(folder)))):
        with pytest.raises(ArgumentError, match=f"{name} attribute should not be set after DataLoader is initialized"):
            setattr(loader, name, getattr(loader, name))


# ---- images ----


def engines() -> list[Any]:
    cpu = [] if host_library() is None else ["cpu"]
    return [*cpu, "pillow", pytest.param("cuda", marks=pytest.mark.cuda)]


@pytest.mark.parametrize("engine", engines())
@pytest.mark.parametrize("workers", [0, 1, 3])
def test_batches_depend_on_the_seed_alone(folder: ImageFolder, engine: str, workers: int) -> None:
    reference = batches(DataLoader(folder, 5, shuffle=True, seed=7, device="cpu", engine="pillow"))
    device = "cuda" if engine == "cuda" else "cpu"
    loader = DataLoader(folder, 5, shuffle=True, seed=7, num_workers=workers, device=device, engine=engine)
    assert same(batches(loader), reference)


@pytest.mark.parametrize("engine", engines())
def test_loader_delivers_what_it_drew(folder: ImageFolder, engine: str) -> None:
    loader = DataLoader(folder, 4, shuffle=True, seed=1, num_workers=2, engine=engine)
    loader.set_epoch(3)
    recipes = list(loader.recipes(3))
    images = torch.cat([images.cpu() for images, _ in loader])
    assert len(recipes) == len(images) == len(folder)
    for image, (index, recipe) in zip(images, recipes, strict=True):
        assert torch.equal(image, folder.apply(index, recipe))


def test_labels_come_with_their_images(folder: ImageFolder) -> None:
    loader = DataLoader(folder, 4, shuffle=True, seed=1, num_workers=2)
    indices = [index for index, _ in loader.recipes(0)]
    labels = torch.cat([labels.cpu() for _, labels in loader])
    assert labels.dtype == torch.int64
    assert labels.tolist() == folder.targets[indices].tolist()


def test_epochs_differ_and_can_be_chosen(folder: ImageFolder) -> None:
    loader = DataLoader(folder, 4, shuffle=True, seed=1)
    first, second = batches(loader), batches(loader)
    assert not same(first, second)
    assert loader.epoch == 2
    loader.set_epoch(0)
    assert same(batches(loader), first)


def test_a_sample_drawn_twice_is_augmented_twice(folder: ImageFolder) -> None:
    loader = DataLoader(folder, 4, sampler=[2, 2, 2, 2], seed=1)
    ((images, _),) = batches(loader)
    assert len({tuple(image.flatten().tolist()) for image in images}) == 4


def test_without_a_seed_torchs_generator_decides(folder: ImageFolder) -> None:
    torch.manual_seed(5)
    first = DataLoader(folder, 4, shuffle=True).seed
    torch.manual_seed(5)
    assert DataLoader(folder, 4, shuffle=True).seed == first
    assert DataLoader(folder, 4, shuffle=True).seed != first
    generator = torch.Generator().manual_seed(5)
    assert DataLoader(folder, 4, shuffle=True, generator=generator).seed == first


@pytest.mark.parametrize(("batch_size", "drop_last"), [(4, False), (4, True), (7, True), (1000, False), (1000, True)])
def test_length_is_exact(folder: ImageFolder, batch_size: int, drop_last: bool) -> None:
    loader = DataLoader(folder, batch_size, drop_last=drop_last, num_workers=1)
    sizes = [len(images) for images, _ in loader]
    assert len(sizes) == len(loader)
    assert sum(sizes) == (len(folder) // batch_size * batch_size if drop_last else len(folder))
    assert all(size == batch_size for size in sizes[:-1])


@pytest.mark.parametrize("engine", engines())
def test_dtype_and_memory_format(folder: ImageFolder, engine: str) -> None:
    plain = batches(DataLoader(folder, 4, seed=1, engine=engine))
    loader = DataLoader(
        folder, 4, seed=1, dtype=torch.bfloat16, memory_format=torch.channels_last, engine=engine, num_workers=1
    )
    for (images, _), (wanted, _) in zip(loader, plain, strict=True):
        assert images.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(images.cpu(), wanted.to(torch.bfloat16))


def test_own_sampler_and_batch_sampler(folder: ImageFolder) -> None:
    plain = DataLoader(ImageFolder(folder.root, transform=EXACT_SIZE), 1)
    every = [images[0] for images, _ in batches(plain)]
    dataset = plain.dataset
    by_sampler = batches(DataLoader(dataset, 2, sampler=[3, 1, 2]))
    assert same(
        by_sampler, [[torch.stack([every[3], every[1]]), _labels(dataset, 3, 1)], [every[2][None], _labels(dataset, 2)]]
    )
    by_batches = batches(DataLoader(dataset, batch_sampler=[[4], [0, 5]], num_workers=2))
    assert [len(images) for images, _ in by_batches] == [1, 2]
    assert torch.equal(by_batches[1][0], torch.stack([every[0], every[5]]))


@pytest.mark.parametrize("index", ["a", 1.5, None])
def test_a_sampler_must_give_integers(folder: ImageFolder, index: Any) -> None:
    with pytest.raises(ArgumentTypeError, match=r"sampler must give integers, got .*\((str|float|NoneType)\)"):
        list(DataLoader(folder, 2, sampler=[0, index]))


def _labels(dataset: Any, *indices: int) -> torch.Tensor:
    return torch.as_tensor(dataset.targets[list(indices)])


def test_batch_size_none_gives_single_samples(folder: ImageFolder) -> None:
    samples = list(DataLoader(folder, batch_size=None, seed=0))
    assert len(samples) == len(folder)
    image, label = samples[0]
    assert image.shape == (3, 24, 24)
    assert label == 0


def test_batch_size_none_moves_on_one_epoch_a_time() -> None:
    loader = DataLoader(TorchTensorDataset(torch.arange(10)), batch_size=None, shuffle=True, seed=0, device="cpu")
    for epoch in range(2):
        assert loader.epoch == epoch
        assert [int(row) for (row,) in loader] == permute(range(10), 10, 0, epoch).tolist()


def test_images_of_different_size(photos: Path) -> None:
    dataset = ImageFolder(photos, transform=T.Resize(20))
    ragged = DataLoader(dataset, 6, num_workers=2, collate_fn=lambda pairs: pairs)
    (first, *_) = ragged
    assert all(min(image.shape[1:]) == 20 for image, _ in first)
    assert torch.equal(first[0][0].cpu(), dataset[0][0])
    with pytest.raises(CollateError, match=r"images of this batch have \d shapes .*CenterCrop.*or pass collate_fn"):
        list(DataLoader(dataset, 6))


def test_own_callables_run_after_the_kernel(photos: Path) -> None:
    dataset = ImageFolder(photos, transform=T.Compose([T.CenterCrop(8), T.ToDtype(torch.float32), torch.neg]))
    ((images, _), *_) = batches(DataLoader(dataset, 3, num_workers=1))
    assert torch.equal(images, torch.stack([dataset[i][0] for i in range(3)]))


def test_target_transform(photos: Path) -> None:
    dataset = ImageFolder(photos, transform=EXACT_SIZE, target_transform=lambda label: label / 2)
    ((_, labels), *_) = batches(DataLoader(dataset, 3))
    assert labels.tolist() == [0.0, 0.0, 0.0]


def test_torchs_loader_takes_the_dataset(photos: Path) -> None:
    dataset = ImageFolder(photos, transform=EXACT_SIZE)
    assert same(batches(TorchDataLoader(dataset, 4, num_workers=2)), batches(DataLoader(dataset, 4, num_workers=2)))


def test_a_bad_sample_raises_at_its_turn_and_loses_nothing(tmp_path: Path, photos: Path) -> None:
    good = [path.read_bytes() for path in sorted(photos.rglob("*.jpg"))[:5]]
    (tmp_path / "only").mkdir()
    for number in range(9):
        (tmp_path / "only" / f"{number}.jpg").write_bytes(b"no image" if number == 4 else good[number % 5])
    dataset = ImageFolder(tmp_path, transform=EXACT_SIZE)
    loader = DataLoader(dataset, 2, num_workers=2)
    iterator = iter(loader)
    delivered = [next(iterator), next(iterator)]
    with pytest.raises(SampleError, match=r"sample 4 \(.*4\.jpg\): not an image that Pillow can read") as caught:
        next(iterator)
    assert caught.value.index == 4
    assert caught.value.path == str(tmp_path / "only" / "4.jpg")
    assert all(len(images) == 2 for images, _ in delivered)
    rest = list(iterator)
    assert [len(images) for images, _ in rest] == [2, 1]


def test_a_crop_that_does_not_fit_names_the_sample(photos: Path) -> None:
    dataset = ImageFolder(photos, transform=T.RandomCrop(4000))
    with pytest.raises(SampleError, match=r"sample 0 \(.*jpg\): a crop of 4000 x 4000 pixels is larger than the image"):
        next(iter(DataLoader(dataset, 2)))


def test_early_break_stops_the_threads(folder: ImageFolder) -> None:
    before = threading.active_count()
    for _ in DataLoader(folder, 2, num_workers=3):
        break
    assert threading.active_count() == before


def test_two_iterators_at_once(folder: ImageFolder) -> None:
    loader = DataLoader(folder, 4, seed=0, num_workers=2)
    one, other = [], []
    for a, b in zip(loader, loader, strict=True):  # epochs 0 and 1
        one.append(a)
        other.append(b)
    loader.set_epoch(0)
    assert same(batches(loader), batches(one))
    assert same(batches(loader), batches(other))


def test_kept_batches_stay_as_they_were(folder: ImageFolder) -> None:
    loader = DataLoader(folder, 3, seed=0, num_workers=2)
    kept = list(loader)
    copies = [[part.clone() for part in batch] for batch in kept]
    for _ in range(3):
        list(loader)
    assert all(
        torch.equal(a, b) for left, right in zip(kept, copies, strict=True) for a, b in zip(left, right, strict=True)
    )


def test_the_epoch_is_the_one_that_the_sampler_was_told(folder: ImageFolder) -> None:
    """As Lightning tells torch's DistributedSampler: in a run that is resumed, crops are those of that epoch, too."""

    def loader_of() -> tuple[DataLoader, Any]:
        sampler = DistributedSampler(folder, num_replicas=1, rank=0, seed=1)
        return DataLoader(folder, 8, sampler=sampler, seed=3, device="cpu"), sampler

    (unbroken, told), (resumed, other) = loader_of(), loader_of()
    epochs = []
    for epoch in range(4):
        told.set_epoch(epoch)
        epochs.append(batches(unbroken))
    other.set_epoch(2)
    assert resumed.epoch == 2
    assert same(batches(resumed), epochs[2])
    again = batches(resumed)  # not told: the same order, as in torch, and crops of the next epoch
    assert all(torch.equal(labels, wanted) for (_, labels), (_, wanted) in zip(again, epochs[2], strict=True))
    assert not same(again, epochs[2])
    resumed.set_epoch(1)
    assert (resumed.epoch, other.epoch) == (1, 1)
    assert same(batches(resumed), epochs[1])


def test_the_batch_samplers_sampler_decides(folder: ImageFolder) -> None:
    """As in torch, where a framework puts another one there."""
    loader = DataLoader(folder, 8, shuffle=True, seed=3, device="cpu")
    loader.batch_sampler.sampler = range(5, 15)  # type: ignore[union-attr]
    assert [index for index, _ in loader.recipes(0)] == [*range(5, 15)]


# ---- tensors ----


@pytest.fixture
def rows(device: torch.device) -> Any:
    return gpuload.TensorDataset(torch.arange(120).view(40, 3).float(), torch.arange(40), device=device)


def test_tensors_are_gathered_on_their_device(rows: Any, device: torch.device) -> None:
    loader = DataLoader(rows, batch_size=4, shuffle=True, seed=3)
    assert loader.device.type == device.type
    got = list(loader)
    assert [len(labels) for _, labels in got] == [4] * 10
    for features, labels in got:
        assert features.device.type == labels.device.type == device.type
        assert torch.equal(features, rows.tensors[0][labels])
    order = torch.cat([labels for _, labels in got]).tolist()
    assert order == gpuload.RandomSampler(rows, seed=3).order(0).indices(0, 40).tolist()


def test_tensors_with_own_sampler_and_collate(rows: Any) -> None:
    (batch,) = DataLoader(rows, 4, sampler=[5, 3], collate_fn=lambda pairs: [int(label) for _, label in pairs])
    assert batch == [5, 3]
    assert len(list(DataLoader(rows, batch_size=None))) == 40
    assert [len(y) for _, y in DataLoader(rows, batch_sampler=[[1, 2], [3]])] == [2, 1]


def test_torchs_tensor_dataset_takes_the_same_path() -> None:
    dataset = TorchTensorDataset(torch.arange(6).view(3, 2), torch.arange(3))
    ours, theirs = DataLoader(dataset, 2), TorchDataLoader(dataset, 2)
    assert same(batches(ours), batches(theirs))


def test_tensors_with_a_worker_init_fn_have_torchs_workers(caplog: pytest.LogCaptureFixture) -> None:
    reason = "worker_init_fn wants workers; rows stay on the device without it, or with num_workers=0"
    options: dict[str, Any] = {"num_workers": 1, "worker_init_fn": print, "device": "cpu"}
    loader = DataLoader(TorchTensorDataset(torch.arange(4)), **options)
    assert isinstance(loader.path, WorkerPath)
    assert [record.getMessage() for record in caplog.records] == [f"torch's own workers read TensorDataset: {reason}"]
    assert [stage.facts[-1] for stage in loader.stages() if stage.name == "sample"] == [reason]
    loader.num_workers = 0
    loader.stages()
    assert isinstance(loader.path, TensorPath)


def test_batches_are_copies(rows: Any) -> None:
    before = rows.tensors[0].clone()
    for features, _ in DataLoader(rows, 4):
        features.zero_()
    assert torch.equal(rows.tensors[0], before)


# ---- any other dataset ----


class Squares(Dataset[dict[str, Any]]):
    def __len__(self) -> int:
        return 7

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"n": index, "square": torch.tensor([float(index * index)])}


class Counting(IterableDataset[int]):
    def __iter__(self) -> Iterator[int]:
        return iter(range(5))


@pytest.mark.parametrize("workers", [0, 2])
def test_any_dataset(workers: int, device: torch.device) -> None:
    loader = DataLoader(Squares(), 3, num_workers=workers, device=device)
    got = list(loader)
    assert [batch["n"].tolist() for batch in got] == [[0, 1, 2], [3, 4, 5], [6]]
    assert got[1]["square"].device.type == device.type
    assert loader.engine is None


def test_any_dataset_is_shuffled_by_the_seed() -> None:
    loader = DataLoader(Squares(), 7, shuffle=True, seed=2)
    ((first,), (second,)) = ([batch["n"].tolist() for batch in loader] for _ in range(2))
    assert sorted(first) == list(range(7))
    assert first == gpuload.RandomSampler(range(7), seed=2).order(0).indices(0, 7).tolist()
    assert second == gpuload.RandomSampler(range(7), seed=2).order(1).indices(0, 7).tolist()


def test_iterable_dataset() -> None:
    assert [batch.tolist() for batch in DataLoader(Counting(), 2)] == [[0, 1], [2, 3], [4]]


def test_foreign_transforms_go_through_torch(photos: Path) -> None:
    dataset = ImageFolder(
        photos, transform=lambda image: torch.tensor(list(image.resize((9, 9)).tobytes())).view(9, 9, 3)
    )
    loader = DataLoader(dataset, 4)
    assert loader.engine is None
    ((images, _), *_) = loader
    assert images.shape == (4, 9, 9, 3)


# ---- arguments ----


def bad(photos: Path) -> list[tuple[Any, type[Exception], str]]:
    images = ImageFolder(photos, transform=EXACT_SIZE)
    tensors = TorchTensorDataset(torch.zeros(3, 2))
    make = DataLoader
    return [
        (lambda: make(images, seed=-1), ArgumentError, "seed must be from 0 to 2\\^64 - 1, got -1"),
        (lambda: make(images, seed=1.5), ArgumentTypeError, "seed must be an int or None, got 1.5"),
        (lambda: make(images, dtype=torch.int64), ArgumentTypeError, "dtype must be one of .*got torch.int64"),
        (
            lambda: make(images, memory_format=torch.preserve_format),
            ArgumentError,
            "memory_format must be torch.contiguous_format or torch.channels_last",
        ),
        (
            lambda: make(images, engine="gpu"),
            ArgumentError,
            "engine must be one of cuda, cpu, pillow, dali or None, got 'gpu'",
        ),
        (
            lambda: make(images, decoder="nvjpeg"),
            ArgumentError,
            "decoder must be one of cpu, gpu, hybrid, got 'nvjpeg'",
        ),
        (
            lambda: make(images, decoder="gpu", engine="cpu"),
            ArgumentError,
            "decoder='gpu' decodes into the buffers of engine='cuda', got engine='cpu': leave engine out, or pass",
        ),
        (
            lambda: make(images, decoder="hybrid", device="cpu"),
            ArgumentError,
            "decoder='hybrid' decodes on a GPU, got device='cpu': pass device='cuda', or decoder='cpu'",
        ),
        (lambda: make(tensors, engine="cpu"), ArgumentError, "engine is for images .*got TensorDataset"),
        (lambda: make(tensors, dtype=torch.float16), ArgumentError, "dtype is for images .*got TensorDataset"),
        (
            lambda: make(images, device="gpu"),
            ArgumentError,
            "device must be 'cpu', 'cuda' or 'cuda:N', got 'gpu'",
        ),
        (lambda: make(images, device="meta"), ArgumentError, "device must be 'cpu', 'cuda' or 'cuda:N', got 'meta'"),
        (
            lambda: make(images, device="cpu", engine="cuda"),
            ArgumentError,
            "engine='cuda' renders on a GPU, got device='cpu'",
        ),
        (
            lambda: make(TorchTensorDataset(torch.zeros(0, 2)), shuffle=True),
            ArgumentError,
            "num_samples must be at least 1, got 0: data_source is empty, and cannot be shuffled",
        ),
    ]


def test_bad_arguments_say_what_is_allowed(photos: Path) -> None:
    for call, kind, text in bad(photos):
        with pytest.raises(kind, match=text):
            call()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu(folder: ImageFolder) -> None:
    with pytest.raises(MissingError, match=r"device='cuda', but torch .* sees no CUDA GPU: run `gpuload doctor`"):
        DataLoader(folder, device="cuda")


@pytest.mark.parametrize("decoder", ["gpu", "hybrid"])
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu_that_could_decode(folder: ImageFolder, decoder: str) -> None:
    """Where none was asked for but by the decoder."""
    with pytest.raises(MissingError, match=rf"decoder='{decoder}' decodes on a GPU, but torch .* run `gpuload doctor`"):
        DataLoader(folder, decoder=decoder)


@needs_codec
def test_a_decoder_is_kept_by_copies(folder: ImageFolder) -> None:
    with simulated():
        loader = DataLoader(folder, device="cuda", decoder="hybrid")
        copy = pickle.loads(pickle.dumps(loader))
        assert copy.decoder == "hybrid" and copy.stages() == loader.stages()
        with pytest.raises(ArgumentError, match="decoder is for images that gpuload renders, got TensorDataset"):
            DataLoader(TorchTensorDataset(torch.zeros(3, 2)), device="cuda", decoder="gpu")


def test_recipes_need_a_plan() -> None:
    with pytest.raises(ArgumentError, match="only a loader over images whose transform gpuload renders has recipes"):
        next(DataLoader(Squares()).recipes(0))


def test_the_order_is_the_same_for_any_batch_size() -> None:
    """Whatever the batch size, the samples of an epoch come in one order."""
    rng = random.Random(0)
    dataset = TorchTensorDataset(torch.arange(101))
    orders = []
    for _ in range(5):
        loader = DataLoader(dataset, rng.randint(1, 50), shuffle=True, seed=9, device="cpu")
        orders.append(torch.cat([batch[0] for batch in loader]).tolist())
    assert all(order == orders[0] for order in orders)


@pytest.mark.parametrize("kind", ["tensors", "images", "anything"])
def test_an_empty_dataset_gives_no_batches(kind: str, tmp_path: Path) -> None:
    (tmp_path / "class").mkdir()
    datasets: dict[str, Any] = {
        "tensors": TorchTensorDataset(torch.zeros(0, 2)),
        "images": ImageFolder(tmp_path, transform=T.Resize((8, 8)), allow_empty=True),
        "anything": [],
    }
    loader = DataLoader(datasets[kind], 4, device="cpu")
    assert list(loader) == list(loader) == [] and len(loader) == 0
    loader.explain()


def test_ranks_that_are_given_one_generator_share_the_order() -> None:
    """Each draws a seed of its own, as processes do; a framework then puts the same generator into their samplers."""
    ranks = [DataLoader(TorchTensorDataset(torch.arange(40)), 8, shuffle=True, device="cpu") for _ in range(2)]
    assert ranks[0].sampler.seed == ranks[0].seed != ranks[1].seed
    for rank in ranks:
        assert rank.sampler.generator is None
        rank.sampler.generator = torch.Generator().manual_seed(3)
    orders = [[torch.cat([row for (row,) in rank]).tolist() for _ in range(2)] for rank in ranks]
    assert orders[0] == orders[1] and orders[0][0] != orders[0][1]
