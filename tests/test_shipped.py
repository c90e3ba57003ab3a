"""Code as its library wrote it is told from what was put in its place, whenever that was and whatever it is."""

from collections.abc import Callable
from functools import partial, wraps
from typing import Any, Sequence  # noqa: UP035  # as timm does
from unittest import mock

import pytest
import torchvision
from torch import nn
from torch.utils.data import Subset
from torchvision import transforms as v1
from torchvision.transforms import functional as F1, v2
from torchvision.transforms.v2 import functional as F2

from gpuload.shipped import is_shipped, overrides, replaced_below, replaced_in

FOLDER = torchvision.datasets.folder


def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    """As a decorator of a user's: it has the function's name and module."""

    @wraps(function)
    def called(*arguments: Any, **options: Any) -> Any:
        return function(*arguments, **options)

    return called


REPLACEMENTS = [wrapped, partial, lambda function: mock.Mock(side_effect=function), lambda function: F1.hflip]


def test_functions_of_a_library() -> None:
    assert is_shipped(FOLDER.pil_loader, "torchvision") and is_shipped(F1.resize, "torchvision", "resize")
    assert is_shipped(FOLDER.pil_loader, "torchvision.datasets.folder", "pil_loader")
    assert is_shipped(vars(v1.RandomCrop)["get_params"], "torchvision", "RandomCrop.get_params")
    assert is_shipped(vars(Subset)["__getitem__"], "torch.utils.data", "Subset.__getitem__")


@pytest.mark.parametrize("value", [None, 3, print, wrapped(F1.resize), partial(F1.resize), mock.Mock(), v1.Resize])
def test_what_is_no_function_of_a_library(value: Any) -> None:
    assert not is_shipped(value, "torchvision")


def test_a_function_of_another_library_or_name() -> None:
    assert not is_shipped(F1.resize, "torch") and not is_shipped(F1.resize, "torchvision.transforms.v2")
    assert not is_shipped(F1.resize, "torchvision", "hflip")


@pytest.mark.parametrize("make", REPLACEMENTS)
@pytest.mark.parametrize(
    ("owner", "name", "cls", "place"),
    [
        (v1.Resize, "forward", v1.Resize, "torchvision.transforms.transforms.Resize.forward"),
        (v1.RandomCrop, "get_params", v1.RandomCrop, "torchvision.transforms.transforms.RandomCrop.get_params"),
        (v2.Transform, "forward", v2.Pad, "torchvision.transforms.v2._transform.Transform.forward"),
        (nn.Module, "__call__", v2.Resize, "torch.nn.modules.module.Module.__call__"),
        (F1, "resize", v1.Resize, "torchvision.transforms.functional.resize"),
        (F1, "crop", v1.CenterCrop, "torchvision.transforms.functional.crop"),
    ],
)
def test_what_was_replaced(make: Any, owner: Any, name: str, cls: type, place: str) -> None:
    assert replaced_in(cls) is None
    original = vars(owner)[name]
    with mock.patch.object(owner, name, make(getattr(original, "__func__", original))):
        assert replaced_in(cls) == place
    assert replaced_in(cls) is None


@pytest.mark.parametrize("make", REPLACEMENTS[:-1])
def test_a_function_that_its_module_has_from_another(make: Any) -> None:
    with mock.patch.object(F2, "resize", make(F2.resize)):
        assert replaced_in(v2.Resize) == "torchvision.transforms.v2.functional.resize"


def test_a_method_that_a_class_inherits_otherwise() -> None:
    with mock.patch.object(v2.Resize, "make_params", wrapped(v2.Resize.make_params), create=True):
        assert replaced_in(v2.Resize) == "torchvision.transforms.v2._geometry.Resize.make_params"
        assert replaced_in(v2.Pad) is None


def test_an_attribute_that_became_a_property() -> None:
    with mock.patch.object(v1.Resize, "size", property(lambda self: 3), create=True):
        assert replaced_in(v1.Resize) == "torchvision.transforms.transforms.Resize.size"


@pytest.mark.parametrize("name", ["__init__", "__repr__"])
def test_what_does_not_run_in_a_call_may_be_replaced(name: str) -> None:
    with mock.patch.object(v1.Resize, name, wrapped(getattr(v1.Resize, name))):
        assert replaced_in(v1.Resize) is None


def is_listed(thing: Any) -> bool:
    return isinstance(thing, Sequence)


def test_a_name_of_typing_is_no_function() -> None:
    assert replaced_below(is_listed, __name__) is None
    with mock.patch.dict(globals(), {"Sequence": partial(list)}):
        assert replaced_below(is_listed, __name__) == f"{__name__}.Sequence"


def test_what_a_function_calls() -> None:
    assert replaced_below(FOLDER.default_loader, "torchvision") is None
    with mock.patch.object(FOLDER, "pil_loader", wrapped(FOLDER.pil_loader)):
        assert replaced_below(FOLDER.default_loader, "torchvision") == "torchvision.datasets.folder.pil_loader"


@pytest.mark.parametrize("name", ["forward", "__call__", "__iter__", "__getattr__", "_call_impl"])
def test_a_subclass_that_does_more(name: str) -> None:
    assert overrides(type("Mine", (nn.Sequential,), {name: lambda self, *arguments: None}), nn.Sequential)


def test_a_subclass_that_does_the_same() -> None:
    assert not overrides(
        type("Mine", (nn.Sequential,), {"__init__": print, "name": "mine", "more": print}), nn.Sequential
    )
    assert not overrides(nn.Sequential, nn.Sequential)
