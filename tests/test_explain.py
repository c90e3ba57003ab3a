"""A loader names what it really does: engine, threads, decoder, sizes, and which recipes fuse into the kernel."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import PIL
import pytest
import torch
from PIL import Image
from torch.utils.data import BatchSampler, Dataset, IterableDataset, RandomSampler

from gpuload import DataLoader, ImageFolder, SequentialSampler, TensorDataset, transforms as T
from gpuload.compilers import compiler
from gpuload.decoders.jpeg import jpeg_decoder
from gpuload.device import HostDevice
from gpuload.recipes.ops import Flip, Fusing, Mask
from gpuload.stage import CALLER, WIDTH, Stage, lay_out

VALUES = [T.ToDtype(torch.float32, scale=True), T.Normalize([0.5] * 3, [0.25] * 3)]
needs_compiler = pytest.mark.skipif(compiler() is None, reason="needs a C++ compiler")


class Squares(Dataset[int]):
    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> int:
        return index * index


class Stream(IterableDataset[int]):
    def __iter__(self) -> Iterator[int]:
        return iter(range(10))


def images(photos: Path, *transforms: Any, **options: Any) -> DataLoader:
    settings: dict[str, Any] = {"batch_size": 6, "device": "cpu", "seed": 7, **options}
    return DataLoader(ImageFolder(photos, transform=T.Compose(transforms)), **settings)


def described(loader: DataLoader) -> dict[str, Stage]:
    return {stage.name: stage for stage in loader.stages()}


# ---- images ----


@needs_compiler
def test_images_follow_the_path_of_the_design(photos: Path) -> None:
    transforms = [T.RandomResizedCrop(32), T.RandomHorizontalFlip(), T.Grayscale(3), *VALUES]
    loader = images(photos, *transforms, shuffle=True, num_workers=2, drop_last=True, memory_format=torch.channels_last)
    loader.set_epoch(4)
    found = described(loader)
    assert list(found) == ["order", "read", "draw", "decode", "render", "deliver"]
    assert found["order"].facts == (
        "RandomSampler: 24 samples an epoch, from seed 7 and the epoch alone",
        "batches of 6, only full ones",
    )
    assert {found[name].where for name in ("order", "read", "draw", "decode", "render")} == {"CPU, 2 threads"}
    assert found["read"].facts == (f"24 files in 2 classes below {photos}",)
    assert found["draw"].facts == (
        "RandomResizedCrop, RandomHorizontalFlip, Grayscale",
        "from seed 7, epoch 4 and position alone",
    )
    assert found["render"].facts == (
        "engine cpu: the kernel, built for this CPU, once a sample",
        "all 64 recipes of the first images fuse into it",
        "values by a table of 256 a channel: ToDtype, Normalize",
        "to float32, channels_last, 3 channels, 32 x 32 pixels",
    )
    assert found["deliver"] == (
        "deliver",
        "CPU",
        ("[images, labels], in order", "3 batches in flight"),
    )


def test_no_workers_is_the_callers_thread(photos: Path) -> None:
    found = described(images(photos, T.CenterCrop(32)))
    assert {found[name].where for name in ("read", "draw", "decode", "render")} == {CALLER}
    assert found["deliver"].facts[-1] == "1 batch in flight"


def test_one_worker_is_one_thread(photos: Path) -> None:
    assert described(images(photos, T.CenterCrop(32), num_workers=1))["decode"].where == "CPU, 1 thread"


def test_decoders_are_named_with_versions(photos: Path) -> None:
    decoder = jpeg_decoder()
    facts = described(images(photos, T.CenterCrop(32)))["decode"].facts
    assert f"Pillow {PIL.__version__}" in facts[-1]
    assert decoder is None or facts[0] == f"ordinary JPEGs by {decoder.describe()}, just the region that is needed"


def test_pillow_decodes_all_without_nvimagecodec(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpuload.decoders.DECODERS", [])
    facts = described(images(photos, T.CenterCrop(32)))["decode"].facts
    assert facts == (f"all by Pillow {PIL.__version__}; nvImageCodec, which is faster, is not installed",)


def test_the_pillow_engine_has_pillow_decode(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "0.jpg").write_bytes(b"no image, and so no recipe either")
    facts = described(images(tmp_path, T.CenterCrop(32), engine="pillow"))["decode"].facts
    assert facts == (f"all by Pillow {PIL.__version__}",)


def test_exif_is_mentioned(photos: Path) -> None:
    dataset = ImageFolder(photos, transform=T.CenterCrop(32), exif_transpose=True)
    assert "turned as their EXIF orientation says" in described(DataLoader(dataset, device="cpu"))["decode"].facts


def test_pillow_engine_has_no_kernel(photos: Path) -> None:
    loader = images(photos, T.Resize(50), T.RandomResizedCrop(32), T.Grayscale(), engine="pillow", dtype=torch.float16)
    facts = described(loader)["render"].facts
    assert facts[0] == f"engine pillow: Pillow {PIL.__version__} and torch, operation by operation"
    assert facts[-1] == "to float16, contiguous, 1 channel, 32 x 32 pixels"
    assert not any("fuse" in fact for fact in facts)


class Odd(Flip):
    def fuse(self, fusing: Fusing, where: Mask) -> None:
        fusing.refuse(where)


class OfNarrowOnes(T.Transform):
    def steps(self, height: Any, width: Any, draws: Any) -> Any:
        return [(Odd(True), width == 50)]  # of the first 8 photos, numbers 1, 4 and 7


@needs_compiler
def test_recipes_that_do_not_fuse_are_counted(photos: Path) -> None:
    loader = images(photos, OfNarrowOnes(), T.Resize(32))
    facts = described(loader)["render"].facts
    assert "24 of 64 recipes of the first images do not fuse into it, at Odd:" in facts
    assert "Pillow runs the operations of such a sample while decoding, the engine only its values" in facts


def test_different_sizes_are_warned_of(photos: Path) -> None:
    loader = images(photos, T.Resize(32))
    warning = "sizes differ, so batches will not stack: end the transform with a fixed size, or pass collate_fn"
    *_, sizes, said = described(loader)["render"].facts
    assert sizes.endswith(", 32 x 32 to 48 x 32 pixels")
    assert said == warning
    assert warning not in described(images(photos, T.Resize(32), collate_fn=list))["render"].facts
    assert warning not in described(images(photos, T.Resize((32, 32))))["render"].facts


def test_callables_of_the_tail_are_ordinary_code(photos: Path) -> None:
    found = described(images(photos, T.CenterCrop(32), *VALUES, torch.nn.Identity(), num_workers=2))
    assert list(found)[-2:] == ["call", "deliver"]
    assert found["call"].where == "CPU, 2 threads"
    (said,) = found["call"].facts
    assert re.fullmatch(r"Identity: ordinary code on a tensor, \d+\.\d ms an image; its result is delivered", said)


def test_ordinary_code_between_is_named_where_it_stands(photos: Path) -> None:
    loader = images(photos, T.Resize(40), torch.nn.Identity(), T.CenterCrop(32), *VALUES)
    names = [stage.name for stage in loader.stages()]
    assert names == ["order", "read", "draw", "decode", "render", "call", "render", "deliver"]
    assert described(loader)["draw"].facts[0] == "Resize, CenterCrop"
    assert described(loader)["call"].facts[0].endswith("; what it returns goes on natively")


def test_an_image_that_fails_is_shown(photos: Path) -> None:
    said = described(images(photos, T.RandomCrop(600)))["render"].facts[-1]
    assert said.startswith("an image fails: a crop of 600 x 600 pixels is larger than the image (60 x 80)")


def test_a_broken_file_is_shown(tmp_path: Path, make_photo: Callable[..., Image.Image]) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "0.jpg").write_bytes(b"no image")
    make_photo(40, 50).save(tmp_path / "a" / "1.png")
    *_, sizes, said = described(images(tmp_path, T.CenterCrop(32)))["render"].facts
    assert said.startswith(f"an image fails: sample 0 ({tmp_path / 'a' / '0.jpg'}): not an image")
    assert sizes.endswith(", 32 x 32 pixels")


def test_an_empty_folder_is_looked_at_as_if_of_photos(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    dataset = ImageFolder(tmp_path, transform=T.Resize(75), allow_empty=True)
    found = described(DataLoader(dataset, sampler=SequentialSampler(dataset), device="cpu"))
    assert found["render"].facts[-1].endswith(", 75 x 100 pixels")


def test_a_collate_of_ones_own_is_named(photos: Path) -> None:
    def my_collate(samples: list[Any]) -> Any:
        return samples

    said = described(images(photos, T.CenterCrop(32), collate_fn=my_collate))["deliver"].facts[0]
    assert said.startswith("what ")
    assert said.endswith("my_collate makes, in order")


def test_explaining_changes_nothing(photos: Path) -> None:
    loader = images(photos, T.RandomResizedCrop(32), *VALUES, shuffle=True)
    state, epoch = torch.get_rng_state(), loader.epoch
    assert loader.stages() == loader.stages()
    assert torch.equal(torch.get_rng_state(), state)
    assert loader.epoch == epoch


class Batches(BatchSampler):
    """One of the user's."""


def test_a_batch_sampler_is_not_iterated(photos: Path) -> None:
    dataset = ImageFolder(photos, transform=T.CenterCrop(32))
    sampler = SequentialSampler(dataset)
    loader = DataLoader(dataset, batch_sampler=Batches(sampler, 4, False), seed=3, device="cpu")
    assert described(loader)["order"] == ("order", CALLER, ("the batches of Batches",))
    assert sampler.epoch == 0


def test_torchs_batch_sampler_is_looked_through(photos: Path) -> None:
    dataset = ImageFolder(photos, transform=T.CenterCrop(32))
    batches = BatchSampler(SequentialSampler(dataset), 4, True)
    facts = described(DataLoader(dataset, batch_sampler=batches, device="cpu"))["order"].facts
    assert facts == ("SequentialSampler: 24 samples an epoch", "batches of 4, only full ones")


def test_without_batches_samples_come_one_by_one(photos: Path) -> None:
    found = described(images(photos, T.CenterCrop(32), batch_size=None))
    assert found["order"].facts[-1] == "one by one"
    assert found["deliver"].facts[0] == "single samples, in order"


# ---- CUDA ----


class Gpu(HostDevice):
    """A device that says it launches kernels; nothing is launched here."""

    launches = True

    def prepare(self, name: str) -> None:
        pass

    def describe(self) -> str:
        return "GPU cuda:0"


def check_words_of_cuda(loader: DataLoader) -> None:
    found = described(loader)
    assert list(found) == ["order", "read", "draw", "decode", "stage", "render", "deliver"]
    assert found["stage"].where == "CPU -> GPU cuda:0"
    assert found["stage"].facts == ("one copy per batch from pinned memory, on a side stream",)
    assert {found[name].where for name in ("order", "render", "deliver")} == {"GPU cuda:0"}
    assert found["decode"].where == "CPU, 2 threads"
    assert found["render"].facts[0] == "engine cuda: one kernel launch per batch"


@pytest.mark.cuda
def test_cuda(photos: Path) -> None:
    check_words_of_cuda(images(photos, T.Resize((20, 20)), *VALUES, shuffle=True, num_workers=2, device="cuda"))


def test_the_words_for_cuda_need_no_gpu(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpuload.loader.resolve", lambda device: Gpu())
    check_words_of_cuda(images(photos, T.Resize((20, 20)), *VALUES, shuffle=True, num_workers=2))


def test_images_rendered_on_the_host_are_copied(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpuload.loader.resolve", lambda device: Gpu())
    found = described(images(photos, T.Resize((20, 20)), *VALUES, engine="pillow"))
    assert list(found) == ["order", "read", "draw", "decode", "render", "stage", "deliver"]
    assert found["stage"] == (
        "stage",
        "CPU -> GPU cuda:0",
        ("copied from pinned memory on a side stream, while the batch before is in use",),
    )
    assert found["render"].where == CALLER


# ---- tensors, and any other dataset ----


def test_tensors_stay_where_they_are(device: torch.device) -> None:
    loader = DataLoader(TensorDataset(torch.zeros(500, 8), torch.zeros(500, dtype=torch.int64), device=device), 50)
    found = described(loader)
    assert list(found) == ["order", "gather", "deliver"]
    assert found["order"].facts == ("SequentialSampler: 500 samples an epoch", "batches of 50")
    assert found["gather"].facts[0] == "rows of float32 (500, 8), int64 (500,): 0.0 MB that stay there"
    assert found["deliver"].facts == ("a list of tensors, in order", "made when asked for")
    place = "CPU" if device.type == "cpu" else "GPU cuda:0"
    assert found["gather"].where == found["deliver"].where == place


def test_other_datasets_go_through_torchs_workers() -> None:
    loader = DataLoader(Squares(), 2, sampler=RandomSampler(range(10)), num_workers=2, device="cpu")
    found = described(loader)
    assert list(found) == ["order", "sample", "collate", "deliver"]
    assert found["order"] == ("order", CALLER, ("RandomSampler, iterated", "batches of 2"))
    assert found["sample"].where == found["collate"].where == "CPU, 2 worker processes"
    assert found["sample"].facts == ("Squares: ordinary code", "gpuload does not know Squares")
    assert found["collate"].facts == ("torch's default_collate",)
    assert found["deliver"].facts[-1] == "4 batches prepared ahead"


@pytest.mark.cuda
def test_other_datasets_are_copied_from_pinned_memory() -> None:
    found = described(DataLoader(Squares(), 2, device="cuda"))
    assert found["stage"].where == "CPU -> GPU cuda:0"
    assert found["stage"].facts == ("copied from pinned memory on a side stream, while the batch before is in use",)


def test_an_iterable_dataset_has_its_own_order() -> None:
    found = described(DataLoader(Stream(), 2, device="cpu"))
    assert found["order"].facts == ("as Stream yields",)
    assert found["sample"].where == CALLER


def test_a_foreign_transform_is_said_to_be_foreign(photos: Path) -> None:
    class Theirs:
        def __call__(self, image: Any) -> Any:
            return image

    fact, why = described(DataLoader(ImageFolder(photos, transform=Theirs()), device="cpu"))["sample"].facts
    assert fact.startswith("ImageFolder with the transform ")
    assert fact.endswith("Theirs: ordinary code") and why.startswith("gpuload knows no part of its transform ")
    fact, why = described(DataLoader(ImageFolder(photos), device="cpu"))["sample"].facts
    assert (fact, why) == ("ImageFolder: ordinary code", "it has no transform, so its samples are PIL images")


# ---- text ----


def test_the_text_is_aligned_and_narrow() -> None:
    stages = [Stage("order", "CPU, 8 threads", ("short", "long " * 60)), Stage("gather", "GPU", ("more",))]
    lines = lay_out(stages).splitlines()
    assert lines[0] == "order   CPU, 8 threads  short"
    assert lines[1].startswith(" " * 24 + "long")
    assert lines[-1] == "gather  GPU             more"
    assert all(len(line) <= WIDTH for line in lines)
    assert "".join(lines).count("long") == 60


def test_explain_prints_the_stages(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loader = images(photos, T.CenterCrop(32))
    loader.explain()
    assert capsys.readouterr().out == lay_out(loader.stages()) + "\n"
