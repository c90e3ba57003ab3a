"""Batch transforms called with a batch: torchvision's bits and draws; what is drawn by key; what is refused."""

import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torchvision import tv_tensors
from torchvision.transforms import v2

from gpuload import ArgumentError, ArgumentTypeError
from gpuload.batch_transforms import BatchTransform, Compose, CutMix, LabelSmoothing, MixUp, OneHot, Part, RandomChoice
from gpuload.batch_transforms.base import Ordinary
from gpuload.batch_transforms.draws import KeyedDraws
from gpuload.batch_transforms.lifted import lifted
from gpuload.device import HostDevice
from tests.cases import cases

DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64]
CLASSES = 7


def keyed(number: int, seed: int = 0, epoch: int = 0, rank: int = 0, world_size: int = 1) -> KeyedDraws:
    return KeyedDraws(seed, epoch, number, rank, world_size, HostDevice())


def batch_of(
    count: int, seed: int = 0, dtype: torch.dtype = torch.float32, size: Any = (5, 6)
) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(count, 3, *size, generator=generator)
    images = (images * 255).byte() if dtype is torch.uint8 else images.to(dtype)
    return images, torch.randint(CLASSES, (count,), generator=generator)


def same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and all(
        type(a) is type(b) and a.dtype == b.dtype and torch.equal(a, b) for a, b in zip(one, other, strict=True)
    )


def both(kind: str, alpha: float, p: Any) -> tuple[Any, Any]:
    """gpuload's and torchvision's."""
    if kind != "RandomChoice":
        ours = {"MixUp": MixUp, "CutMix": CutMix}[kind]
        return ours(alpha=alpha, num_classes=CLASSES), getattr(v2, kind)(alpha=alpha, num_classes=CLASSES)
    (mixup, theirs_mixup), (cutmix, theirs_cutmix) = both("MixUp", alpha, p), both("CutMix", alpha, p)
    return RandomChoice([mixup, cutmix], p), v2.RandomChoice([theirs_mixup, theirs_cutmix], p)


# ---- as torchvision ----


@settings(max_examples=cases(300))
@given(
    kind=st.sampled_from(["MixUp", "CutMix", "RandomChoice"]),
    alpha=st.sampled_from([0.05, 0.2, 0.8, 1.0, 1.5, 8.0]),
    p=st.sampled_from([None, [1, 3], [0.5, 0], [0, 2]]),
    count=st.integers(1, 9),
    size=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    dtype=st.sampled_from([*DTYPES, torch.uint8]),
    last=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_torchvisions_bits_and_draws(
    kind: str, alpha: float, p: Any, count: int, size: Any, dtype: torch.dtype, last: bool, seed: int
) -> None:
    ours, theirs = both(kind, alpha, p)
    images, labels = batch_of(count, seed, dtype, size)
    images = images.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
    given = images.clone(), labels.clone()
    torch.manual_seed(seed)
    try:
        wanted = theirs(images, labels)
    except RuntimeError:  # torch multiplies no bytes with floats
        torch.manual_seed(seed)
        with pytest.raises(ArgumentTypeError, match="got torch.uint8"):
            ours(images, labels)
        return
    after = torch.rand(1)
    torch.manual_seed(seed)
    made = ours(images, labels)
    assert same(made, wanted)
    assert made[0].stride() == images.stride()
    assert torch.equal(torch.rand(1), after)
    assert same((images, labels), given), "a batch is not written to"


@pytest.mark.parametrize("kind", ["MixUp", "CutMix"])
@pytest.mark.parametrize(
    "structure",
    [
        lambda images, labels: (images, labels, ["a"] * len(images)),
        lambda images, labels: [images, {"Labels": labels, "other": images[:, 0]}],
        lambda images, labels: {"image": images, "my_label": labels, "name": "x"},
        lambda images, labels: {"extra": labels, "image": tv_tensors.Image(images), "labels": labels.clone()},
        lambda images, labels: (tv_tensors.Video(images[:, None]), torch.eye(CLASSES)[labels]),
        lambda images, labels: (images, torch.eye(CLASSES, dtype=torch.int64)[labels]),
        lambda images, labels: (images, torch.eye(CLASSES, dtype=torch.float16)[labels]),
    ],
)
def test_what_a_batch_may_be(kind: str, structure: Callable[..., Any]) -> None:
    (ours, theirs), batch = both(kind, 1.0, None), structure(*batch_of(4))
    torch.manual_seed(3)
    wanted = theirs(batch)
    torch.manual_seed(3)
    leaves, expected = (torch.utils._pytree.tree_flatten(one) for one in (ours(batch), wanted))
    assert leaves[1] == expected[1]
    for one, other in zip(leaves[0], expected[0], strict=True):
        assert type(one) is type(other)
        assert torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


def test_a_labels_getter() -> None:
    images, labels = batch_of(4)
    batch = {"a": images, "b": labels}
    torch.manual_seed(3)
    wanted = v2.MixUp(num_classes=CLASSES, labels_getter=lambda batch: batch["b"])(batch)
    torch.manual_seed(3)
    made = MixUp(num_classes=CLASSES, labels_getter=lambda batch: batch["b"])(batch)
    assert same([*made.values()], [*wanted.values()])


def test_compose_is_torchvisions() -> None:
    (mixup, theirs_mixup), (cutmix, theirs_cutmix) = both("MixUp", 1.0, None), both("CutMix", 0.5, None)
    torch.manual_seed(3)
    wanted = v2.Compose([theirs_mixup, theirs_cutmix])(*batch_of(5))
    torch.manual_seed(3)
    assert same(Compose([mixup, cutmix])(*batch_of(5)), wanted)


# ---- labels alone ----


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_smoothed_labels_have_the_loss_of_torchs_smoothing(smoothing: float) -> None:
    images, labels = batch_of(6)
    kept, smooth = LabelSmoothing(CLASSES, smoothing)(images, labels)
    assert kept is images
    logits = torch.randn(6, CLASSES, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    wanted = torch.nn.functional.cross_entropy(logits, labels, label_smoothing=smoothing)
    torch.testing.assert_close(torch.nn.functional.cross_entropy(logits, smooth.double()), wanted, rtol=1e-6, atol=1e-6)


def test_one_hot() -> None:
    images, labels = batch_of(6)
    made = OneHot(CLASSES)([images, labels])
    assert type(made) is list
    assert torch.equal(made[1], torch.eye(CLASSES)[labels])
    assert torch.equal(OneHot()(made)[1], made[1])


# ---- by key ----


def test_what_is_drawn_by_key_depends_on_the_key_alone() -> None:
    def drawn(draws: KeyedDraws) -> list[Any]:
        return [draws.beta(0.2), draws.below(1000), draws.choice([0.3, 0.7]), draws.beta(3.0), draws.below(1000)]

    first = drawn(keyed(7, 1, 2))
    assert drawn(keyed(7, 1, 2, rank=1, world_size=4)) == first, "ranks share it"
    assert first == [0.9999983906745911, 349, 1, 0.6403985023498535, 775]  # on all machines
    others = [drawn(keyed(8, 1, 2)), drawn(keyed(7, 2, 2)), drawn(keyed(7, 1, 3))]
    assert len({tuple(one) for one in (first, *others)}) == 4


@pytest.mark.parametrize("alpha", [0.05, 0.2, 0.4, 0.8, 1.0, 1.2, 2.0, 8.0, 100.0])
def test_beta(alpha: float) -> None:
    """Kolmogorov's and Smirnov's test, of the half near 0, which float32 does not round together; and both halves."""
    beta, count = pytest.importorskip("scipy.stats").beta(alpha, alpha), cases(2000)
    drawn = np.array([keyed(number, 5).beta(alpha) for number in range(count)])
    assert drawn.min() >= 0 and drawn.max() <= 1
    low = np.sort(drawn[drawn < 0.5])
    assert abs(len(low) - count / 2) < 3.3 * math.sqrt(count) / 2
    assert distance(2 * beta.cdf(low)) < 1.95 / math.sqrt(len(low))  # one of a thousand is not, by chance
    if alpha != 100:
        assert distance(2 * pytest.importorskip("scipy.stats").beta(alpha * 2, alpha * 2).cdf(low)) > 0.1
    assert np.abs(np.var(drawn) * 4 * (2 * alpha + 1) - 1) < 6 / math.sqrt(count)


def distance(below: Any) -> float:
    """The largest, of the shares of sorted numbers that are below each, to what they should be."""
    steps = np.arange(len(below) + 1) / len(below)
    return float(max(np.abs(below - steps[1:]).max(), np.abs(below - steps[:-1]).max()))


def test_choices_have_their_weights() -> None:
    p = [0.25, 0.0, 0.6, 0.15]
    counted = np.bincount([keyed(number).choice(p) for number in range(4000)], minlength=4) / 4000
    assert counted[1] == 0
    assert np.abs(counted - p).max() < 0.03


class Fixed:
    """Numbers that are given."""

    def __init__(self, *numbers: Any) -> None:
        self.numbers = list(numbers)

    def _next(self, _: Any) -> Any:
        return self.numbers.pop(0)

    beta = below = choice = _next

    def call(self, function: Callable[..., Any], *inputs: Any) -> Any:
        return function(*inputs)


@pytest.mark.parametrize("transform", [MixUp(num_classes=CLASSES), CutMix(num_classes=CLASSES)])
@pytest.mark.parametrize("reach", [1, 2])
def test_a_part_of_a_batch(transform: BatchTransform, reach: int) -> None:
    images, labels = batch_of(8)
    whole = transform.of(Part([images, labels]), Fixed(0.3, 2, 3)).batch
    before = [images[4 - reach : 4], labels[4 - reach : 4]]
    made = transform.of(Part([images[4:], labels[4:]], before), Fixed(0.3, 2, 3))
    assert same(made.batch, [one[4:] for one in whole])
    if reach == 2:
        assert same(made.before, [one[3:4] for one in whole])


def test_how_far_they_reach() -> None:
    mix, hot = MixUp(num_classes=2), OneHot(2)
    assert (mix.reach, hot.reach, RandomChoice([hot, mix]).reach, Compose([mix, hot, mix]).reach) == (1, 0, 1, 2)
    assert lifted(Compose([mix, print, mix])).reach == 1


# ---- lifted ----


def test_torchvisions_are_lifted_as_they_are() -> None:
    given = v2.RandomChoice([v2.MixUp(alpha=0.2, num_classes=3), v2.CutMix(num_classes=3)], p=[1, 3])
    made = lifted(given)
    assert type(made) is RandomChoice
    assert made.describe() == "one of 0.25 MixUp(alpha=0.2, num_classes=3) or 0.75 CutMix(alpha=1.0, num_classes=3)"
    assert [type(one) for one in lifted(v2.Compose([v2.MixUp(num_classes=3), print])).transforms] == [MixUp, Ordinary]


def test_what_is_not_torchvisions_own_is_called() -> None:
    class Own(v2.MixUp):
        pass

    changed = v2.MixUp(num_classes=3)
    changed.alpha = 0.5  # torchvision goes on drawing from the distribution that it has made
    hooked = v2.MixUp(num_classes=3)
    hooked.register_forward_hook(lambda *_: None)
    for transform in (Own(num_classes=3), changed, hooked, print):
        assert type(lifted(transform)) is Ordinary


def test_what_is_changed_later_does_not_count() -> None:
    for make in (lambda one: one, lambda one: RandomChoice([one])):
        given = MixUp(num_classes=3)
        made = lifted(make(given))
        given.alpha = 0.5
        assert "alpha=1.0" in made.describe()


def test_ordinary_code_draws_by_key(device: torch.device) -> None:
    from gpuload.device import device_of

    def drawn(rank: int) -> Any:
        draws = KeyedDraws(1, 2, 3, rank, 2, device_of(device))
        return [draws.call(lambda: (float(torch.rand(1)), np.random.rand())) for _ in range(2)]

    torch.manual_seed(5)
    first = drawn(0)
    assert torch.equal(torch.rand(1), torch.rand(1, generator=torch.Generator().manual_seed(5))), "it goes on"
    assert drawn(0) == first != drawn(1)
    assert first[0] != first[1]


# ---- pickles, words, refusals ----


def test_pickles() -> None:
    given = Compose([RandomChoice([MixUp(num_classes=3), CutMix(num_classes=3)]), LabelSmoothing(3)])
    assert repr(pickle.loads(pickle.dumps(given))) == repr(given)


def test_words() -> None:
    given = Compose([RandomChoice([MixUp(num_classes=3), np.copy]), LabelSmoothing(3), OneHot()])
    assert given.describe() == (
        "one of 0.5 MixUp(alpha=1.0, num_classes=3) or 0.5 copy, ordinary code, "
        "then LabelSmoothing(num_classes=3, smoothing=0.1), then OneHot()"
    )


IMAGES, LABELS = batch_of(4)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: MixUp(alpha=0), ArgumentError, "alpha must be above 0, got 0"),
        (lambda: MixUp(alpha="1"), ArgumentTypeError, "alpha must be a number, got '1'"),
        (lambda: CutMix(num_classes=0), ArgumentError, "num_classes must be at least 1, got 0"),
        (lambda: CutMix(labels_getter=3), ArgumentTypeError, "labels_getter must be 'default' or a function"),
        (lambda: LabelSmoothing(3, 2), ArgumentError, "smoothing must be a number from 0 to 1, got 2"),
        (lambda: RandomChoice([]), ArgumentError, "transforms must be one at least"),
        (lambda: RandomChoice(MixUp()), ArgumentTypeError, "transforms must be a list of functions of a batch, got"),
        (lambda: Compose([3]), ArgumentTypeError, r"transforms must be a list of functions of a batch, got \[3\]"),
        (lambda: RandomChoice([OneHot()], [1, 2]), ArgumentError, "p must be as long as transforms, 1, got 2"),
        (lambda: RandomChoice([OneHot()], [0]), ArgumentError, r"p must be numbers from 0 on, not all 0, got \[0\]"),
        (lambda: MixUp()(IMAGES, LABELS), ArgumentError, "num_classes must be given where labels are indices"),
        (lambda: MixUp(num_classes=3)(IMAGES, torch.eye(4)), ArgumentError, "num_classes=3, but labels are .* of 4"),
        (lambda: MixUp(num_classes=3)(IMAGES, LABELS.int()), ArgumentTypeError, "must be int64, .*got torch.int32"),
        (lambda: MixUp(num_classes=3)(IMAGES, LABELS[:2]), ArgumentError, "got 4 images and 2 labels"),
        (lambda: MixUp(num_classes=3)(IMAGES, LABELS[:, None, None]), ArgumentError, r"got the shape \(4, 1, 1\)"),
        (lambda: MixUp(num_classes=3)(IMAGES, "label"), ArgumentTypeError, "labels must be a tensor, got str"),
        (lambda: MixUp(num_classes=3)([IMAGES]), ArgumentError, "the batch has 1 members, and labels are the second"),
        (
            lambda: MixUp(num_classes=3)({"a": IMAGES}),
            ArgumentError,
            "no labels under the keys 'a': pass labels_getter",
        ),
        (lambda: MixUp(num_classes=3)(LABELS, LABELS.clone()), ArgumentError, r"\(B, C, H, W\), got .*shape \(4,\)"),
        (lambda: MixUp(num_classes=3)([*IMAGES], LABELS), ArgumentError, r"got a tensor of shape \(3, 5, 6\): let the"),
        (
            lambda: MixUp(num_classes=CLASSES)(IMAGES.byte(), LABELS),
            ArgumentTypeError,
            "MixUp takes images of floats, got",
        ),
        (
            lambda: MixUp(num_classes=3)({"label": LABELS, "image": IMAGES}),
            ArgumentError,
            "takes the first tensor of a batch for its images, and its labels are there",
        ),
        (
            lambda: MixUp(num_classes=3, labels_getter=lambda batch: batch[1].clone())((IMAGES, LABELS)),
            ArgumentError,
            "labels_getter must give MixUp a tensor that is in the batch",
        ),
        (
            lambda: CutMix(num_classes=3)(tv_tensors.Image(IMAGES), LABELS, tv_tensors.Mask(IMAGES[:, 0])),
            ArgumentTypeError,
            "CutMix takes batches of images and labels, got Mask in one",
        ),
        (
            lambda: CutMix(num_classes=7)(tv_tensors.Image(IMAGES), LABELS, tv_tensors.Image(IMAGES[..., 1:])),
            ArgumentError,
            r"CutMix takes images of one size, got \[\(5, 5\), \(5, 6\)\]",
        ),
    ],
)
def test_what_is_refused(make: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


def test_pil_images_are_refused() -> None:
    image = v2.functional.to_pil_image(torch.zeros(3, 2, 2))
    with pytest.raises(ArgumentTypeError, match="got PIL images in one"):
        MixUp(num_classes=3)([image] * 4, LABELS)
