"""torchvision's random transforms, called with a seed: each of them draws as it does from the global generators."""

import inspect
from typing import Any

import pytest
import torch

v1 = pytest.importorskip("torchvision.transforms")
from torchvision import tv_tensors  # noqa: E402
from torchvision.transforms import v2  # noqa: E402

from tests.conftest import make_photo  # noqa: E402
from tests.test_randomness import check_draws, first_call, restored  # noqa: E402, F401

PHOTO = make_photo(60, 48).point(lambda value: 40 + value // 2)  # or there would be no contrast to add
PIXELS = v2.functional.pil_to_tensor(PHOTO)
VALUES = PIXELS / 255
BOXES = tv_tensors.BoundingBoxes([[5, 5, 30, 40]], format="XYXY", canvas_size=(60, 48))
BATCH = (torch.stack([VALUES, 1 - VALUES]), torch.tensor([0, 1]))
SEEDS = tuple(range(7 << 40, (7 << 40) + 12))  # enough for one that draws something else, where a draw is yes or no

BOTH: dict[str, dict[str, Any]] = {  # arguments
    "AugMix": {},
    "AutoAugment": {},
    "ColorJitter": {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.2},
    "ElasticTransform": {},
    "GaussianBlur": {"kernel_size": 5},
    "RandAugment": {},
    "RandomAdjustSharpness": {"sharpness_factor": 3},
    "RandomAffine": {"degrees": 30, "translate": (0.2, 0.3), "scale": (0.5, 2), "shear": 10},
    "RandomAutocontrast": {},
    "RandomCrop": {"size": 24, "padding": 3},
    "RandomEqualize": {},
    "RandomErasing": {"value": "random"},
    "RandomGrayscale": {"p": 0.5},
    "RandomHorizontalFlip": {},
    "RandomInvert": {},
    "RandomPerspective": {},
    "RandomPosterize": {"bits": 2},
    "RandomResizedCrop": {"size": 24},
    "RandomRotation": {"degrees": 60},
    "RandomSolarize": {"threshold": 100},
    "RandomVerticalFlip": {},
    "TrivialAugmentWide": {},
}
SECOND: dict[str, dict[str, Any]] = {
    "CutMix": {"num_classes": 2},
    "GaussianNoise": {},
    "JPEG": {"quality": (5, 90)},
    "MixUp": {"num_classes": 2},
    "RandomChannelPermutation": {},
    "RandomIoUCrop": {},
    "RandomPhotometricDistort": {},
    "RandomResize": {"min_size": 20, "max_size": 40},
    "RandomShortestSize": {"min_size": [20, 30, 40]},
    "RandomZoomOut": {},
    "ScaleJitter": {"target_size": (40, 40)},
}
OF_OTHERS = {"RandomApply", "RandomChoice", "RandomOrder"}
FIXED = {"CenterCrop", "Compose", "ConvertImageDtype", "FiveCrop", "Grayscale", "Lambda", "LinearTransformation"}
FIXED |= {"Normalize", "PILToTensor", "Pad", "Resize", "TenCrop", "ToPILImage", "ToTensor", "InterpolationMode"}
FIXED |= {"AutoAugmentPolicy", "ClampBoundingBoxes", "ClampKeyPoints", "ConvertBoundingBoxFormat", "Identity", "RGB"}
FIXED |= {"SanitizeBoundingBoxes", "SanitizeKeyPoints", "SetClampingMode", "ToDtype", "ToImage", "ToPureTensor"}
FIXED |= {"Transform", "UniformTemporalSubsample"}
INPUTS = {
    "CutMix": [BATCH],
    "GaussianNoise": [VALUES],
    "MixUp": [BATCH],
    "RandomErasing": [VALUES],
    "RandomIoUCrop": [{"image": PHOTO, "boxes": BOXES}],
}


def transforms(module: Any) -> set[str]:
    return {name for name, thing in vars(module).items() if inspect.isclass(thing)}


def test_every_transform_of_torchvision_is_tested_or_known_to_draw_nothing() -> None:
    assert transforms(v1) <= {*BOTH} | OF_OTHERS | FIXED
    assert transforms(v2) <= {*BOTH, *SECOND} | OF_OTHERS | FIXED
    assert {*BOTH} <= transforms(v1)


@pytest.mark.filterwarnings("ignore:The image decoding and encoding capabilities of TorchVision:DeprecationWarning")
@pytest.mark.parametrize(
    ("module", "name"), [(v1, name) for name in BOTH] + [(v2, name) for name in (*BOTH, *SECOND)], ids=str
)
def test_torchvisions_transforms_draw_from_the_seed(module: Any, name: str) -> None:
    transform = getattr(module, name)(**(BOTH | SECOND)[name])
    for given in INPUTS.get(name, [PHOTO, PIXELS]):
        check_draws(lambda given=given: transform(given), SEEDS)


@pytest.mark.parametrize("module", [v1, v2])
def test_transforms_of_transforms_draw_from_the_seed(module: Any) -> None:
    jitter, flip = module.ColorJitter(0.4), module.RandomHorizontalFlip()
    for transform in (
        module.RandomApply([jitter]),
        module.RandomChoice([jitter, flip]),
        module.RandomOrder([jitter, flip, module.RandomRotation(20)]),
        module.Compose([jitter, module.ToTensor() if module is v1 else module.ToImage(), flip]),
    ):
        check_draws(lambda transform=transform: transform(PHOTO), SEEDS)
