"""Whatever is changed of torchvision's objects, classes and functions, or of Pillow's, counts as in torch.

Introspective: each function that runs in a call is replaced in turn by one that does the same and says so; each
attribute is set to values of many kinds.
"""

import inspect
import itertools
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torchvision import transforms as v1, tv_tensors
from torchvision.transforms import functional as F1, v2
from torchvision.transforms.v2 import functional as F2

from gpuload.recipes.draws import TorchDraws
from gpuload.transforms.hand import Form, Hand
from gpuload.transforms.lifted import MAKERS, lifted
from gpuload.transforms.program import flat, program_of
from gpuload.transforms.torchvision.containers import CONTAINERS
from tests.conftest import make_photo
from tests.test_lifted import ARGUMENTS, names

Case = tuple[Any, Hand]
PHOTO = make_photo(40, 30)
MODES = v1.InterpolationMode
VALUES = [
    None, True, 0, 1, -1, 7, 30, 0.0, 1.0, 0.5, 2.5, "", "bilinear", "edge", [], [9], (9, 11), [1, 2, 3], (1, 2, 3, 4),
    (1.0, 1.0), (3.0, 1.0), {}, {"others": 3}, {Image.Image: 5}, MODES.NEAREST, MODES.BOX, Image.Resampling.BICUBIC,
    np.float32(1.0), np.array([9, 11]), torch.tensor(9), torch.tensor([9, 11]), torch.float16, torch.uint8, object,
]  # fmt: skip


def cases() -> Iterator[Case]:
    """Each transform that is lifted, and all that it is lifted for."""
    hands = [Hand(form, floats, 3) for form, floats in itertools.product(Form, (False, True))]
    for module in (v1, v2):
        for name, cls in names(module).items():
            if (
                f"{cls.__module__}.{name}" in MAKERS | CONTAINERS
                and name != "Compose"
                and not (module is v2 and name == "ToTensor")
            ):  # it warns
                transform = cls(*ARGUMENTS.get(name, ()))
                yield from ((transform, hand) for hand in hands if lifted(transform, hand) is not None)


every_case = pytest.mark.parametrize(
    ("make", "hand"),
    [(lambda transform=transform: copied(transform), hand) for transform, hand in cases()],
    ids=[f"{type(one).__module__.split('.')[2]}.{type(one).__name__}-{hand.form.name}" for one, hand in cases()],
)


def copied(transform: Any) -> Any:
    made = type(transform)(*ARGUMENTS.get(type(transform).__name__, ()))
    if isinstance(getattr(made, "p", None), float):
        made.p = 1.0  # else it may do nothing
    return made


def given(hand: Hand) -> Any:
    """An image that a transform might have in hand."""
    return v1.Compose(start(hand))(PHOTO)


def start(hand: Hand) -> list[Any]:
    """What makes that of a PIL image."""
    first: dict[Form, list[Any]] = {Form.PIL: [], Form.IMAGE: [v2.ToImage()], Form.TENSOR: [v2.PILToTensor()]}
    return first[hand.form] + ([v2.ToDtype(torch.float32, scale=True)] if hand.floats else [])


def spy(value: Any, calls: list[Any]) -> Any:
    function = value.__func__ if isinstance(value, staticmethod | classmethod) else value

    @wraps(function)
    def spying(*arguments: Any, **options: Any) -> Any:
        calls.append(function)
        return function(*arguments, **options)

    return type(value)(spying) if isinstance(value, staticmethod | classmethod) else spying


# ---- functions ----


def places(transform: Any) -> Iterator[tuple[Any, str]]:
    """Where functions stand that a call may run: in the classes, and in torchvision's public modules of functions."""
    for base in type(transform).__mro__[:-1]:
        yield from ((base, name) for name, value in vars(base).items() if callable(getattr(value, "__func__", value)))
    for module in (F1, F2):
        yield from (
            (module, name) for name, value in vars(module).items() if inspect.isfunction(value) and name[0] != "_"
        )


@every_case
def test_a_function_that_was_replaced_is_called(make: Callable[[], Any], hand: Hand) -> None:
    transform, image, ran = make(), given(hand), 0
    for owner, name in [*places(transform)]:
        value, calls = vars(owner)[name], list[Any]()
        if isinstance(value, type) or (owner is nn.Module and name == "__setattr__"):
            continue
        with mock.patch.object(owner, name, spy(value, calls)):
            try:
                transform(image)
            except ValueError:  # v2 finds kernels by function
                calls.append(name)
            ran += bool(calls)
            assert not calls or lifted(transform, hand) is None, f"{owner.__name__}.{name}"
    assert ran > 0 and lifted(transform, hand) is not None


@every_case
def test_a_method_that_was_put_into_a_transform_is_called(make: Callable[[], Any], hand: Hand) -> None:
    ran = 0
    for name in dir(make()):
        transform, calls = make(), list[Any]()
        if name.startswith("__") or not callable(getattr(transform, name)):
            continue
        vars(transform)[name] = spy(getattr(transform, name), calls)
        transform(given(hand))
        ran += bool(calls)
        assert not calls or lifted(transform, hand) is None, name
    assert ran > 0 or not isinstance(make(), nn.Module)


HOOKED: dict[str, Callable[[nn.Module], Any]] = {
    "register_forward_hook": lambda module: module.register_forward_hook(lambda *_: None),
    "register_forward_pre_hook": lambda module: module.register_forward_pre_hook(lambda *_: None),
    "register_full_backward_hook": lambda module: module.register_full_backward_hook(lambda *_: None),
    "register_full_backward_pre_hook": lambda module: module.register_full_backward_pre_hook(lambda *_: None),
    "register_module_forward_hook": lambda _: register_module_forward_hook(lambda *_: None),
    "register_module_forward_pre_hook": lambda _: register_module_forward_pre_hook(lambda *_: None),
}


@pytest.mark.parametrize("hook", HOOKED)
@pytest.mark.parametrize("make", [lambda: v1.Resize(9), lambda: v2.Resize(9), lambda: nn.Sequential(v1.Resize(9))])
def test_hooks(make: Callable[[], Any], hook: str) -> None:
    transform, hand = make(), Hand(Form.PIL, False, 3)
    handle = HOOKED[hook](transform)
    try:
        assert not program_of([*flat(transform)]).is_native
    finally:
        handle.remove()
    assert program_of([*flat(transform)]).is_native and (
        isinstance(transform, nn.Sequential) or lifted(transform, hand) is not None
    )


def test_a_compiled_transform() -> None:
    transform = v1.Resize(9)
    transform._compiled_call_impl = transform._call_impl  # as `Module.compile` does
    assert lifted(transform, Hand(Form.PIL, False, 3)) is None


# ---- attributes ----


def outcome(call: Callable[[], Any]) -> Any:
    """What it returns, twice, as tensors; or what it raises."""
    made = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        try:
            result = call()
        except Exception as error:
            return error
        made.append(F2.pil_to_tensor(result) if isinstance(result, Image.Image) else result)
    return made


def check_outcomes(ours: Any, theirs: Any) -> None:
    if isinstance(theirs, Exception) or isinstance(ours, Exception):
        assert isinstance(theirs, Exception) and isinstance(ours, Exception), (ours, theirs)
        return
    assert ours[0].dtype == theirs[0].dtype and ours[0].shape == theirs[0].shape
    is_fixed = theirs[0].shape == theirs[1].shape and torch.equal(*theirs)
    assert not is_fixed or torch.equal(ours[0], theirs[0])


@pytest.mark.filterwarnings("ignore::UserWarning")
@every_case
def test_attributes_of_any_value(make: Callable[[], Any], hand: Hand) -> None:
    own = vars(nn.Module()) if isinstance(make(), nn.Module) else {}
    attributes = [name for name in vars(make()) if name not in own and name != "inplace"]
    for name, value in itertools.product(attributes, VALUES):
        transform = make()
        setattr(transform, name, value)
        if "size" in name and value is True and hand.form is not Form.PIL:
            continue  # torchvision fails at it, or not, as the image is
        program = program_of([*start(hand), transform])
        theirs = outcome(lambda: transform(given(hand)))  # noqa: B023
        check_outcomes(outcome(lambda: program(PHOTO, TorchDraws())), theirs)  # noqa: B023


@pytest.mark.parametrize("types", [(), (str,), (tv_tensors.Mask,), (torch.Tensor,), (Image.Image,), None], ids=str)
@pytest.mark.parametrize("cls", [v2.Resize, v2.Pad, v2.RandomHorizontalFlip])
def test_the_types_that_v2_transforms(cls: Any, types: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def check() -> None:
        program = program_of([transform, v2.CenterCrop(60)])
        theirs = outcome(lambda: v2.Compose([transform, v2.CenterCrop(60)])(PHOTO))
        check_outcomes(outcome(lambda: program(PHOTO, TorchDraws())), theirs)

    transform = cls(*((1.0,) if cls is v2.RandomHorizontalFlip else (9,)))
    transform._transformed_types = types
    check()
    del transform._transformed_types
    monkeypatch.setattr(v2.Transform, "_transformed_types", types)
    check()
