"""Images and what moves with them: masks, boxes, keypoints."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from gpuload.datasets.base import ImageDataset
from gpuload.errors import ArgumentTypeError
from gpuload.recipes.draws import TorchDraws
from gpuload.recipes.ops import Recipe
from gpuload.recipes.recipes import Recipes
from gpuload.targets import joint
from gpuload.transforms.base import Transform
from gpuload.transforms.program import Program

__all__ = ["JointDataset"]


class JointDataset(ImageDataset):
    """Base of datasets whose transform is of image and target together: give it `__len__`, `path` and `loaded`.

    ``dataset[i]`` is (image, target): what ``transforms`` makes of the RGB PIL image and `loaded`. What is drawn of
    geometry is drawn once, from torch's generator, call for call as torchvision's v2 draws it.

    Args:
        transforms: a gpuload or torchvision v2 transform, which the loader compiles, or any callable on (image,
            target); None: samples are as they were loaded.

    Attributes:
        has_masks: targets are masks of classes, one byte a pixel, which the loader renders as images: `mask` has them.
    """

    has_masks = False

    def __init__(self, transforms: Callable[..., Any] | None = None) -> None:
        super().__init__()
        if transforms is not None and not callable(transforms):
            raise ArgumentTypeError(f"transforms must be a transform, a callable or None, got {transforms!r}")
        self.transforms = transforms

    @abstractmethod
    def loaded(self, index: int, height: int, width: int) -> Any:
        """The target of sample ``index``, as it is before any transform.

        Args:
            index: from 0 on.
            height, width: of its image, in pixels.
        """

    @abstractmethod
    def followed(self, loaded: Any, recipes: Recipes) -> Any:
        """What becomes of a loaded target with what was drawn for its image: recipes of that one sample."""

    def mask(self, index: int, height: int, width: int) -> NDArray[np.uint8]:
        """The mask of sample ``index``, where they are masks: (height, width) uint8. Arguments as of `loaded`."""
        raise NotImplementedError(f"{type(self).__name__} has no masks")

    def form(self, program: Program) -> torch.Tensor:
        """A mask of one pixel, of the dtype, class and number of dimensions that ``dataset[i]`` has, with a program."""
        raise NotImplementedError(f"{type(self).__name__} has no masks")

    # ---- what follows from these ----

    def target(self, index: int) -> Any:
        return self.loaded(index, *self.size(index))

    @property
    def program(self) -> Program | str:
        return joint(self.transforms)

    def apply(self, index: int, recipe: Recipe) -> tuple[Any, Any]:
        """Sample ``index`` with these operations, on the CPU with Pillow and torchvision: (image, target)."""
        image = self.image(self.position(index))
        recipes = Recipes.of([recipe], [image.height], [image.width])
        return self._made(self.position(index), image, recipes)

    def _made(self, index: int, image: Image.Image, recipes: Recipes) -> tuple[Any, Any]:
        with self.naming(index):
            target = self.followed(self.loaded(index, image.height, image.width), recipes)
            return self._program.leaves.wrapped(self._program.legs[0].plan.apply(image, recipes[0])), target

    @property
    def _program(self) -> Program:
        self.require_recipes()
        program = self.program
        assert isinstance(program, Program)
        return program

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        index = self.position(index)
        image = self.image(index)
        if isinstance(self.transforms, Transform):
            recipes = self._program.legs[0].plan.recipes([image.height], [image.width], TorchDraws())
            return self._made(index, image, recipes)
        with self.naming(index):
            target = self.loaded(index, image.height, image.width)
            return (image, target) if self.transforms is None else self.transforms(image, target)
