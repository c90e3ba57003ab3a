"""Training recipes by name: each a function that gives a dataset's transform and a loader's batch transform.

```python
transform, batch_transform = presets.torchvision_2021(num_classes=1000)
loader = DataLoader(ImageFolder(root, transform=transform), 256, shuffle=True, batch_transform=batch_transform)
```

What they are made of is `gpuload.transforms` and `gpuload.batch_transforms`: copy one to change it.
"""

from collections.abc import Callable

from gpuload.presets.base import Preset
from gpuload.presets.classification import (
    augmix,
    auto_augment,
    cifar,
    deit,
    imagenet,
    imagenet_eval,
    rand_augment,
    torchvision_2021,
    torchvision_2021_eval,
)
from gpuload.presets.selfsupervised import byol, dino, simclr

__all__ = [
    "PRESETS",
    "Preset",
    "augmix",
    "auto_augment",
    "byol",
    "cifar",
    "deit",
    "dino",
    "imagenet",
    "imagenet_eval",
    "rand_augment",
    "simclr",
    "torchvision_2021",
    "torchvision_2021_eval",
]

PRESETS: dict[str, Callable[..., Preset]] = {  # all take num_classes and size
    preset.__name__.replace("_", "-"): preset
    for preset in (
        imagenet,
        imagenet_eval,
        torchvision_2021,
        torchvision_2021_eval,
        rand_augment,
        auto_augment,
        augmix,
        deit,
        cifar,
        simclr,
        byol,
        dino,
    )
}
