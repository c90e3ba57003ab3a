"""`explain` names what a loader really does: engine, threads, decoder, sizes, and which recipes the kernel takes."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import PIL
import pytest
import torch
from hypothesis import given, settings, strategies as st
from PIL import Image
from torch.utils.data import BatchSampler, Dataset, IterableDataset, RandomSampler

from gpuload import DataLoader, ImageFolder, SequentialSampler, TensorDataset, explain, oracle, transforms as T
from gpuload.compilers import compiler
from gpuload.decode import jpeg_decoder
from gpuload.geometry import fold
from tests.recipes import random_recipe

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


def described(loader: DataLoader) -> dict[str, explain.Stage]:
    return {stage.name: stage for stage in explain.stages(loader)}


# ---- images ----


@needs_compiler
def test_images_follow_the_path_of_the_design(photos: Path) -> None:
    transforms = [T.RandomResizedCrop(32), T.RandomHorizontalFlip(), T.Grayscale(3), *VALUES]
    loader = images(photos, *transforms, shuffle=True, num_workers=2, drop_last=True, memory_format=torch.channels_last)
    loader.set_epoch(4)
    found = described(loader)
    assert list(found) == ["order", "read", "draw", "decode", "render", "deliver"]
    assert found["order"].what == "RandomSampler: 24 samples an epoch, from seed 7 and the epoch alone\n" + (
        "batches of 6, only full ones"
    )
    assert found["order"].where == explain.CALLER
    assert {found[name].where for name in ("read", "draw", "decode", "render")} == {"CPU, 2 threads"}
    assert found["read"].what == f"24 files in 2 classes below {photos}"
    assert found["draw"].what == "RandomResizedCrop, RandomHorizontalFlip, Grayscale\n" + (
        "from seed 7, epoch 4 and position alone"
    )
    assert found["render"].what.splitlines() == [
        "engine cpu: the kernel, built for this CPU, once a sample",
        "all 64 recipes drawn for the first images fold into it",
        "values by a table of 256 a channel: ToDtype, Normalize",
        "to float32, channels_last, 3 channels, 32 x 32 pixels",
    ]
    assert found["deliver"] == ("deliver", "CPU", f"[images, labels], in order\n{loader.route.depth} batches under way")


def test_no_workers_is_the_callers_thread(photos: Path) -> None:
    found = described(images(photos, T.CenterCrop(32)))
    assert {found[name].where for name in ("read", "draw", "decode", "render")} == {explain.CALLER}
    assert found["deliver"].what.endswith("1 batch under way")


def test_one_worker_is_one_thread(photos: Path) -> None:
    assert described(images(photos, T.CenterCrop(32), num_workers=1))["decode"].where == "CPU, 1 thread"


def test_decoders_are_named_with_versions(photos: Path) -> None:
    decoder = jpeg_decoder()
    what = described(images(photos, T.CenterCrop(32)))["decode"].what
    assert f"Pillow {PIL.__version__}" in what
    assert (decoder is None) == ("is not installed" in what)
    assert decoder is None or f"nvImageCodec {decoder.version}" in what


def test_pillow_decodes_all_without_nvimagecodec(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explain, "jpeg_decoder", lambda: None)
    what = described(images(photos, T.CenterCrop(32)))["decode"].what
    assert what == f"all by Pillow {PIL.__version__}; nvImageCodec, which is faster, is not installed"


def test_exif_is_mentioned(photos: Path) -> None:
    dataset = ImageFolder(photos, transform=T.CenterCrop(32), exif_transpose=True)
    assert "turned as their EXIF orientation says" in described(DataLoader(dataset, device="cpu"))["decode"].what


def test_pillow_engine_has_no_kernel(photos: Path) -> None:
    loader = images(photos, T.Resize(50), T.RandomResizedCrop(32), T.Grayscale(), engine="pillow", dtype=torch.float16)
    lines = described(loader)["render"].what.splitlines()
    assert lines[0] == "engine pillow: Pillow and torch, step by step, no kernel"
    assert lines[-1] == "to float16, contiguous, 1 channel, 32 x 32 pixels"
    assert not any("fold" in line for line in lines)


def test_a_missing_compiler_is_named(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert "there is no C++ compiler" in described(images(photos, T.CenterCrop(32)))["render"].what


@needs_compiler
def test_recipes_that_do_not_fold_are_counted(photos: Path) -> None:
    # of the first 8 photos, numbers 1, 4 and 7 are 50 pixels wide and get padded, which a resize cannot follow
    loader = images(photos, T.RandomCrop(55, pad_if_needed=True), T.Resize(32))
    what = described(loader)["render"].what
    assert "24 of 64 recipes drawn for the first images do not fold into it, at Resize:" in what
    assert "Pillow runs the steps of such a sample while decoding" in what


def test_different_sizes_are_warned_of(photos: Path) -> None:
    loader = images(photos, T.Resize(32))
    what = described(loader)["render"].what
    assert "32 x 32 to 48 x 32 pixels" in what
    assert "sizes differ, so batches will not stack" in what
    assert "sizes differ" not in described(images(photos, T.Resize(32), collate_fn=list))["render"].what
    assert "sizes differ" not in described(images(photos, T.Resize((32, 32))))["render"].what


def test_callables_of_the_tail_are_ordinary_code(photos: Path) -> None:
    found = described(images(photos, T.CenterCrop(32), *VALUES, torch.nn.Identity()))
    assert list(found)[-2:] == ["call", "deliver"]
    assert found["call"].where == explain.CALLER
    assert found["call"].what == "Identity: ordinary code, not in the kernel, on one image after the other"


def test_an_image_that_fails_is_shown(photos: Path) -> None:
    assert "an image fails: a crop of 600 x 600 pixels" in described(images(photos, T.RandomCrop(600)))["render"].what


def test_a_broken_file_is_shown(tmp_path: Path, make_photo: Callable[..., Image.Image]) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "0.jpg").write_bytes(b"no image")
    make_photo(40, 50).save(tmp_path / "a" / "1.png")
    what = described(images(tmp_path, T.CenterCrop(32)))["render"].what
    assert f"an image fails: sample 0 ({tmp_path / 'a' / '0.jpg'}): not an image" in what
    assert "32 x 32 pixels" in what


def test_an_empty_folder_is_looked_at_as_if_of_photos(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    dataset = ImageFolder(tmp_path, transform=T.Resize(75), allow_empty=True)
    found = described(DataLoader(dataset, sampler=SequentialSampler(dataset), device="cpu"))
    assert "75 x 100 pixels" in found["render"].what


def test_a_collate_of_ones_own_is_named(photos: Path) -> None:
    def my_collate(samples: list[Any]) -> Any:
        return samples

    assert "my_collate makes" in described(images(photos, T.CenterCrop(32), collate_fn=my_collate))["deliver"].what


def test_explaining_changes_nothing(photos: Path) -> None:
    loader = images(photos, T.RandomResizedCrop(32), *VALUES, shuffle=True)
    state, epoch = torch.get_rng_state(), loader.epoch
    assert explain.stages(loader) == explain.stages(loader)
    assert torch.equal(torch.get_rng_state(), state)
    assert loader.epoch == epoch


def test_a_batch_sampler_is_not_iterated(photos: Path) -> None:
    dataset = ImageFolder(photos, transform=T.CenterCrop(32))
    sampler = SequentialSampler(dataset)
    loader = DataLoader(dataset, batch_sampler=BatchSampler(sampler, 4, False), seed=3, device="cpu")
    assert described(loader)["order"] == ("order", explain.CALLER, "the batches of BatchSampler")
    assert sampler.epoch == 0


def test_without_batches_samples_come_one_by_one(photos: Path) -> None:
    found = described(images(photos, T.CenterCrop(32), batch_size=None))
    assert found["order"].what.endswith("one by one")
    assert found["deliver"].what.startswith("single samples, in order")


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_size_shown_is_the_oracles(seed: int) -> None:
    rng = random.Random(seed)
    height, width = rng.randint(1, 60), rng.randint(1, 60)
    recipe = random_recipe(rng, height, width, 60)
    followed = explain._follow(recipe, height, width)
    finished = oracle.apply(Image.new("RGB", (width, height)), recipe)
    assert followed.size == (finished.height, finished.width)
    assert (followed.breaks == []) == (fold(recipe, height, width) is not None)


# ---- CUDA ----


def check_words_of_cuda(loader: DataLoader) -> None:
    found = described(loader)
    assert list(found) == ["order", "read", "draw", "decode", "stage", "render", "deliver"]
    assert found["stage"].where == "CPU -> GPU cuda:0"
    assert "one copy a batch from a pinned slab" in found["stage"].what
    assert {found[name].where for name in ("order", "render", "deliver")} == {"GPU cuda:0"}
    assert found["decode"].where == "CPU, 2 threads"
    lines = found["render"].what.splitlines()
    assert lines[0] == "engine cuda: one kernel launch a batch"
    assert "the resampling weights of 64 of these 64 come from the CPU" in lines


CUDA_EXAMPLE = T.Resize((20, 20), "lanczos"), *VALUES  # the sines of Lanczos are the host's


@pytest.mark.cuda
def test_cuda(photos: Path) -> None:
    check_words_of_cuda(images(photos, *CUDA_EXAMPLE, shuffle=True, num_workers=2, device="cuda"))


def test_the_words_for_cuda_need_no_gpu(photos: Path) -> None:
    loader = images(photos, *CUDA_EXAMPLE, shuffle=True, num_workers=2)
    loader.device, loader.engine = torch.device("cuda:0"), "cuda"
    check_words_of_cuda(loader)


# ---- tensors, and any other dataset ----


def test_tensors_stay_where_they_are(device: torch.device) -> None:
    loader = DataLoader(TensorDataset(torch.zeros(500, 8), torch.zeros(500, dtype=torch.int64), device=device), 50)
    found = described(loader)
    assert list(found) == ["order", "gather", "deliver"]
    assert found["order"].what == "SequentialSampler: 500 samples an epoch\nbatches of 50"
    assert "rows of float32 (500, 8), int64 (500,): 0.0 MB that stay there" in found["gather"].what
    place = "CPU" if device.type == "cpu" else "GPU cuda:0"
    assert found["gather"].where == found["deliver"].where == place


def test_other_datasets_go_through_torchs_workers() -> None:
    loader = DataLoader(Squares(), 2, sampler=RandomSampler(range(10)), num_workers=2, device="cpu")
    found = described(loader)
    assert list(found) == ["order", "sample", "collate", "deliver"]
    assert found["order"] == ("order", explain.CALLER, "RandomSampler, iterated\nbatches of 2")
    assert found["sample"].where == found["collate"].where == "CPU, 2 worker processes"
    assert found["sample"].what == "Squares: ordinary code, gpuload renders nothing"
    assert found["collate"].what == "torch's default_collate"
    assert found["deliver"].what.endswith("4 batches prepared ahead")


@pytest.mark.cuda
def test_other_datasets_are_copied_from_pinned_memory() -> None:
    found = described(DataLoader(Squares(), 2, device="cuda"))
    assert found["stage"].where == "CPU -> GPU cuda:0"
    assert "pinned memory" in found["stage"].what


def test_an_iterable_dataset_has_its_own_order() -> None:
    found = described(DataLoader(Stream(), 2, device="cpu"))
    assert found["order"].what == "as Stream yields"
    assert found["sample"].where == explain.CALLER


def test_a_foreign_transform_is_said_to_be_foreign(photos: Path) -> None:
    class Theirs:
        def __call__(self, image: Any) -> Any:
            return image

    what = described(DataLoader(ImageFolder(photos, transform=Theirs()), device="cpu"))["sample"].what
    assert "the transform" in what
    assert "which is not one of gpuload's: ordinary code, gpuload renders nothing" in what
    what = described(DataLoader(ImageFolder(photos), device="cpu"))["sample"].what
    assert what.startswith("ImageFolder without a transform, PIL images")


# ---- text ----


def test_the_text_is_aligned_and_narrow() -> None:
    stages = [
        explain.Stage("order", "CPU, 8 threads", "short\n" + "long " * 60),
        explain.Stage("gather", "GPU", "more"),
    ]
    lines = explain.format(stages).splitlines()
    assert lines[0] == "order   CPU, 8 threads  short"
    assert lines[1].startswith(" " * 24 + "long")
    assert lines[-1] == "gather  GPU             more"
    assert all(len(line) <= explain.WIDTH for line in lines)
    assert "".join(lines).count("long") == 60


def test_the_text_is_of_the_stages(photos: Path) -> None:
    loader = images(photos, T.CenterCrop(32))
    assert explain.text(loader) == explain.format(explain.stages(loader))
