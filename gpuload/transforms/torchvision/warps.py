"""torchvision's transforms that turn, shear, move and tilt."""

from typing import Any

from gpuload.transforms.hand import Form, Hand, Maker, Native
from gpuload.transforms.torchvision.common import V1, V2, fills_of, is_v1
from gpuload.transforms.warp import FirstRandomAffine, RandomAffine, RandomPerspective, RandomRotation

__all__ = ["MAKERS"]


def _warping(make: Maker) -> Maker:
    """torchvision does it to tensors in another way; v1 takes no strings."""

    def made(transform: Any, hand: Hand) -> Native | None:
        is_string = isinstance(transform.interpolation, str)
        return None if hand.form is not Form.PIL or (is_v1(transform) and is_string) else make(transform, hand)

    return made


def _rotation(transform: Any, hand: Hand) -> Native:
    low, high = transform.degrees  # what is one number was made two
    look = transform.interpolation, transform.expand, transform.center, fills_of(transform, hand)
    return [RandomRotation((low, high), *look)]


def _affine(transform: Any, hand: Hand) -> Native:
    (low, high), shear = transform.degrees, transform.shear
    moves = transform.translate, transform.scale, shear if shear is None else tuple(shear)
    look = transform.interpolation, fills_of(transform, hand), transform.center
    kind = FirstRandomAffine if is_v1(transform) else RandomAffine
    return [kind((low, high), *moves, *look)]


def _perspective(transform: Any, hand: Hand) -> Native:
    look = transform.interpolation, fills_of(transform, hand)
    return [RandomPerspective(transform.distortion_scale, transform.p, *look)]


BY_NAME: dict[str, Maker] = {
    "RandomRotation": _warping(_rotation),
    "RandomAffine": _warping(_affine),
    "RandomPerspective": _warping(_perspective),
}
MAKERS = {f"{module}{name}": maker for module in (V1, f"{V2}_geometry.") for name, maker in BY_NAME.items()}
