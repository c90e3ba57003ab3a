"""RandomErasing: torchvision's draws and values in ``dataset[i]``; in the loader the same bits by every engine."""

import random
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms as v1
from torchvision.transforms import v2

from gpuload import ArgumentError, ArgumentTypeError, DataLoader, ImageFolder, transforms as T
from gpuload.compilers import compiler
from gpuload.native import Status
from gpuload.recipes.draws import CounterDraws, TorchDraws
from gpuload.recipes.erase import LEVELS, Cover, Erase, levels, levels_of
from gpuload.recipes.fuse import fuse
from gpuload.transforms.hand import Form, Hand
from gpuload.transforms.lifted import lifted
from gpuload.transforms.plan import Plan
from gpuload.transforms.program import program_of
from tests.cases import cases
from tests.cuda_on_cpu import cuda_on_cpu
from tests.native_batch import Batch
from tests.recipes import random_picture

SEED = 11
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
FLOATS = v2.ToDtype(torch.float32, scale=True)
LEVELS_DIGEST = "1cfbba1e07e34386a57626f82aeb43e6ed54ba70a3ea6b7d964dc66a841074a8"
needs_compiler = pytest.mark.skipif(compiler() is None, reason="no C++ compiler")


# ---- dataset[i] ----


def drawn(rng: random.Random, values: tuple[Any, ...]) -> dict[str, Any]:
    """Arguments."""
    return {
        "p": rng.choice((0.5, 0.9, 1.0)),
        "scale": rng.choice(((0.02, 0.33), [0.2, 0.9], (0, 1))),
        "ratio": rng.choice(((0.3, 3.3), (0.1, 0.2), [1, 1])),
        "value": rng.choice(values),
        "inplace": rng.random() < 0.3,
    }


def around(rng: random.Random, module: Any, on_bytes: bool) -> list[Any]:
    """A transform of torchvision's with RandomErasing at one of the places where it may stand."""
    values = (0, 0.0, 3.7, 200, (1.0, 2.0, 3.0), [9], *(() if on_bytes else ("random", "random", -5.5)))
    erasing = module.RandomErasing(**drawn(rng, values))
    if on_bytes:
        before = [v2.ToImage() if module is v2 else v1.PILToTensor()]
        return [erasing, v1.ToTensor()] if module is v2 and rng.random() < 0.4 else [*before, erasing, FLOATS]
    half = v2.ToDtype(rng.choice((torch.float16, torch.bfloat16)), scale=True)
    return rng.choice(
        (
            [v1.ToTensor(), erasing],
            [v1.ToTensor(), v1.Normalize(MEAN, STD), erasing],
            [v2.PILToTensor(), half, erasing, v2.Normalize(MEAN, STD)],
            [v1.ToTensor(), erasing, v2.Normalize(MEAN, STD), module.RandomErasing(0.5, value="random")],
        )
    )


@pytest.mark.parametrize("on_bytes", [False, True], ids=["floats", "bytes"])
@pytest.mark.parametrize("module", [v1, v2], ids=["v1", "v2"])
def test_the_same_seed_gives_torchvisions_values(module: Any, on_bytes: bool) -> None:
    rng = random.Random(f"{module.__name__} {on_bytes}")
    for seed in range(cases(100)):
        transforms, image = around(rng, module, on_bytes), Image.fromarray(random_picture(rng, 60))
        program = program_of(transforms)
        assert program.is_native, transforms
        torch.manual_seed(seed)
        theirs, after = v2.Compose(transforms)(image), torch.rand(1)
        torch.manual_seed(seed)
        ours = program(image, TorchDraws())
        assert torch.equal(torch.rand(1), after), transforms
        assert type(ours) is type(theirs) and ours.dtype == theirs.dtype and torch.equal(ours, theirs), transforms


def test_gpuloads_own_draws_as_torchvisions_v2() -> None:
    rng = random.Random(0)
    for seed in range(cases(50)):
        arguments, image = drawn(rng, (7.5, [1, 2, 3], "random")), Image.fromarray(random_picture(rng, 60))
        ours = T.Compose([T.ToDtype(torch.float32, scale=True), T.RandomErasing(**arguments), T.ToImage()])
        theirs = v2.Compose([v2.ToImage(), FLOATS, v2.RandomErasing(**arguments)])
        torch.manual_seed(seed)
        wanted = theirs(image)
        torch.manual_seed(seed)
        assert torch.equal(ours(image), wanted)


# ---- the engines ----


def plan_of(rng: random.Random) -> Plan:
    """Colors and noise, bytes and floats, before and after a transform of values; three channels or one."""
    gray: list[Any] = [T.Grayscale(1)] if rng.random() < 0.3 else []
    often = {"p": 0.8, "scale": (0.01, 0.5)}
    bytes_first = [T.RandomErasing(value=rng.randrange(256), **often)] if rng.random() < 0.5 else []
    if rng.random() < 0.2:
        return Plan([*gray, *bytes_first])
    dtype = rng.choice((torch.float32, torch.float16, torch.bfloat16))
    noise = [T.RandomErasing(value="random", **often) for _ in range(rng.randint(0, 2))]
    values = [T.ToDtype(dtype, scale=True), *noise[:1], T.Normalize([0.5], [0.2]), *noise[1:]]
    return Plan([*gray, *bytes_first, *values, T.RandomErasing(value=rng.random(), **often)])


def check_engines(rng: random.Random, position: int) -> int:
    """Native code's and the kernel's bits are those of the plan; how many rectangles they were."""
    plan, picture = plan_of(rng), random_picture(rng, 40)
    recipes = plan.recipes([len(picture)], [picture.shape[1]], CounterDraws(SEED, 3, [position]))
    wanted = plan.apply(Image.fromarray(picture), recipes[0])
    dtype, last = rng.choice((plan.dtype, torch.float16)), rng.random() < 0.5
    bits = {1: torch.uint8, 2: torch.int16, 4: torch.int32}[dtype.itemsize]
    table, fills = (values.view(bits).numpy() for values in (plan.table(dtype), plan.fills(dtype)))
    expected = wanted.to(dtype).contiguous().view(bits).permute(1, 2, 0).numpy()
    batch = Batch(fuse(recipes), table=table, channels_last=last)
    batch.erase(fills)
    assert batch.put(0, picture) == Status.OK and batch.guards_hold()
    assert np.array_equal(batch.image(0), expected), recipes[0]

    bare = Batch(fuse(recipes), table=table, channels_last=last)
    rectangles, at = bare.fused.erasures
    assert bare.put(0, picture) == Status.OK
    records, columns, blocks = bare.fused.records.ctypes.data, fills.shape[1], rng.randint(1, 9)
    form = columns, dtype.itemsize, len(table), int(last), blocks
    addresses = rectangles.ctypes.data, at.ctypes.data, np.ascontiguousarray(fills).ctypes.data
    cuda_on_cpu().cuda_erase(records, 1, *addresses, *form, bare.out.ctypes.data)
    assert bare.guards_hold() and np.array_equal(bare.image(0), expected), recipes[0]
    return len(rectangles)


@needs_compiler
def test_native_code_and_the_kernel_give_the_plans_bits() -> None:
    rng = random.Random(SEED)
    assert sum(check_engines(rng, position) for position in range(cases(150))) > 100


@needs_compiler
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.uint8])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_another_dtype_is_the_floats_converted(photos: Path, dtype: torch.dtype, memory_format: Any) -> None:
    erasing = v1.RandomErasing(0.8, value=(1.0, 2.0, 200.0) if dtype == torch.uint8 else "random")
    after = [erasing] if dtype == torch.uint8 else [erasing, v1.Normalize(MEAN, STD)]
    dataset = ImageFolder(photos, transform=v1.Compose([v1.RandomResizedCrop(24), v1.ToTensor(), *after]))
    options: dict[str, Any] = {"batch_size": 7, "seed": 3, "device": "cpu", "num_workers": 2}
    for (floats, _), (made, _) in zip(
        DataLoader(dataset, **options), DataLoader(dataset, dtype=dtype, memory_format=memory_format, **options),
        strict=True,
    ):  # fmt: skip
        assert made.dtype == dtype and torch.equal(made, floats.to(dtype))
        assert made.is_contiguous(memory_format=memory_format)


# ---- what is drawn ----


def test_noise_is_standard_normal() -> None:
    assert sha256(levels().numpy().tobytes()).hexdigest() == LEVELS_DIGEST  # on whatever machine
    table = levels().double()
    assert torch.equal(table, -table.flip(0)) and (table.diff() > 0).all()
    assert abs(table.square().mean() - 1) < 1e-4 and 4.1 < table[-1] < 4.4
    one = levels_of(5, (3, 60, 61))
    assert one.min() >= 0 and one.max() < LEVELS and len(np.unique(one)) > 0.9 * one.size
    assert abs((one / LEVELS).mean() - 0.5) < 6 / np.sqrt(12 * one.size)
    assert not np.isin(one[0], levels_of(6, (3, 60, 61))[0]).all()
    for channels, height, width in ((1, 60, 61), (3, 4, 5), (3, 1, 1)):  # the same numbers, wherever a rectangle ends
        assert np.array_equal(levels_of(5, (channels, height, width)), one[:channels, :height, :width])


def test_rectangles_are_those_of_the_arguments() -> None:
    count, (height, width) = 4000, (50, 80)
    plan = Plan([T.RandomErasing(0.25, (0.1, 0.2), (0.5, 2.0), 7)])
    recipes = plan.recipes(np.full(count, height), np.full(count, width), CounterDraws(SEED, 0, np.arange(count)))
    found = [op for recipe in recipes for op in recipe]
    assert abs(len(found) - count / 4) < 6 * np.sqrt(count * 0.25 * 0.75)
    top, left, high, wide = np.array([one[2:6] for one in found]).T
    assert (top >= 0).all() and (left >= 0).all() and (top + high <= height).all() and (left + wide <= width).all()
    area, ratio = high * wide / (height * width), high / wide
    assert 0.095 < area.min() < 0.105 and 0.195 < area.max() < 0.205
    assert 0.45 < ratio.min() < 0.55 and 1.9 < ratio.max() < 2.15
    assert abs(np.log(ratio).mean()) < 6 * np.log(4) / np.sqrt(12 * len(found))
    assert {one.cover for one in found} == {Cover.COLOR} and (top == 0).any() and (left + wide == width).any()


def test_a_rectangle_of_no_pixels_erases_nothing() -> None:
    plan = Plan([T.RandomErasing(1.0, (0, 1e-4), value=9)])
    assert plan.recipes([5], [5], CounterDraws(SEED, 0, [0]))[0] == ()


def test_later_rectangles_lie_over_earlier_ones() -> None:
    plan = Plan([T.RandomErasing(value=1), T.RandomErasing(value=2)])
    recipe = Erase(Cover.COLOR, 0, 1, 1, 4, 4), Erase(Cover.COLOR, 1, 3, 2, 1, 3)
    made = plan.apply(Image.new("RGB", (6, 6), (9, 9, 9)), recipe)
    assert made[0].tolist() == [
        [9, 9, 9, 9, 9, 9], [9, 1, 1, 1, 1, 9], [9, 1, 1, 1, 1, 9], [9, 1, 2, 2, 2, 9], [9, 1, 1, 1, 1, 9], [9] * 6
    ]  # fmt: skip


# ---- native code checks ----


SPOILED = {
    "top": [-1, 6, 1 << 30], "left": [-1, 3, (1 << 31) - 1], "height": [0, -1, 8, 1 << 30], "width": [0, 6, -(1 << 31)],
    "fill": [-1, 2, 1 << 30], "cover": [-1, 1, 2, 3],
}  # fmt: skip


@needs_compiler
@pytest.mark.parametrize("name", SPOILED)
def test_a_spoiled_rectangle_touches_nothing(name: str) -> None:
    """Of 3 x 2 pixels at (1, 1) in 8 x 4; one value for noise is too few."""
    picture = np.zeros((8, 4, 3), np.uint8)
    plan = Plan([T.RandomErasing(value=5), T.RandomErasing(value=6)])
    for value in (None, *SPOILED[name]):
        recipes = plan.recipes([8], [4], CounterDraws(SEED, 0, [0]))
        recipes.steps[:] = [(Erase(Cover.COLOR, 1, 5, 2, 3, 2), np.ones(1, bool))]
        batch = Batch(fuse(recipes))
        batch.erase(plan.fills().numpy())
        if value is not None:
            batch.fused.erasures.rectangles[name] = value
        assert batch.put(0, picture) == (Status.OK if value is None else Status.INVALID), value
        assert batch.untouched() == (value is not None) and batch.guards_hold()
        assert value is not None or (batch.image(0)[5:, 2:] == 6).all()


@needs_compiler
@pytest.mark.parametrize("at", [(-1, 1), (1, 0), (0, 3), (1 << 62, 2), (0, 1 << 62)], ids=str)
def test_rectangles_that_are_not_there_touch_nothing(at: tuple[int, int]) -> None:
    recipes = Plan([T.RandomErasing(1.0, (0.1, 0.2), value=5)]).recipes([20], [20], CounterDraws(SEED, 0, [0]))
    batch = Batch(fuse(recipes))
    batch.erase(np.zeros((3, 1), np.uint8))
    batch.fused.erasures.at[:] = at
    assert batch.put(0, np.zeros((20, 20, 3), np.uint8)) == Status.INVALID and batch.untouched()


# ---- what is lifted, and what is refused ----


@pytest.mark.parametrize("module", [v1, v2], ids=["v1", "v2"])
def test_what_torchvision_would_fail_at_or_do_otherwise_is_left_to_it(module: Any) -> None:
    floats, pixels = v1.ToTensor(), v1.PILToTensor()
    assert program_of([floats, module.RandomErasing()]).is_native
    for arguments in ({"value": (1.0, 2.0)}, {"ratio": (-1.0, 1.0)}, {"value": float("nan")}):
        assert not program_of([floats, module.RandomErasing(**arguments)]).is_native, arguments
    for arguments in ({"value": "random"}, {"value": 256}, {"value": -1}):
        assert not program_of([pixels, module.RandomErasing(**arguments)]).is_native, arguments
    assert program_of([module.RandomErasing()]).is_native == (module is v2)  # of PIL images
    changed = module.RandomErasing()
    changed.value = "red" if module is v1 else "random"
    assert lifted(changed, Hand(Form.TENSOR, True, 3)) is None


def test_what_moves_pixels_after_it_is_called(photos: Path) -> None:
    transform = v2.Compose([v2.RandomErasing(1.0, value=77), v2.Resize((9, 9)), v2.ToImage()])
    program = program_of(transform.transforms)
    assert not program.is_native and program.legs[0].plan.erasers
    dataset = ImageFolder(photos, transform=transform)
    loader = DataLoader(dataset, 4, seed=1, device="cpu")
    assert all((images == 77).any() for images, _ in loader)


@pytest.mark.parametrize(
    ("make", "kind", "text"),
    [
        (lambda: T.RandomErasing(1.5), ArgumentError, "p must be a probability between 0 and 1, got 1.5"),
        (lambda: T.RandomErasing(scale=(0.5, 1.5)), ArgumentError, r"scale must be shares .* got \(0.5, 1.5\)"),
        (lambda: T.RandomErasing(scale=(0.5, 0.2)), ArgumentError, r"scale must be \(min, max\) .* got \(0.5, 0.2\)"),
        (lambda: T.RandomErasing(ratio=(0, 1)), ArgumentError, r"ratio must be \(min, max\) .* got \(0, 1\)"),
        (lambda: T.RandomErasing(value="black"), ArgumentError, "value must be a number, .* or 'random', got 'black'"),
        (lambda: T.RandomErasing(value=[]), ArgumentTypeError, r"value must be a number, .* or 'random', got \[\]"),
        (lambda: T.RandomErasing(value=None), ArgumentTypeError, "value must be a number, .* or 'random', got None"),
        (lambda: T.Compose([T.RandomErasing(value="random")]), ArgumentError, "value='random' needs floats: put ToDty"),
        (lambda: T.Compose([T.RandomErasing(value=256)]), ArgumentError, "value must be from 0 to 255 .* got 256"),
        (lambda: T.Compose([T.RandomErasing(value=(1, 2))]), ArgumentError, "value has 2 numbers, but .* 3 channel"),
        (
            lambda: T.Compose([T.RandomErasing(), T.RandomHorizontalFlip()]),
            ArgumentError,
            r"RandomHorizontalFlip\(p=0.5\) stands after RandomErasing\(.*\): put it before",
        ),
        (
            lambda: T.Compose([T.RandomErasing(), T.Grayscale()]),
            ArgumentError,
            "Grayscale.* stands after RandomErasing",
        ),
    ],
)
def test_arguments_that_are_not_allowed(make: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        make()
