"""The command ``gpuload``: see it learn, see what is installed, see what a batch looks like and how it is made."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import gpuload
from gpuload import transforms as T
from gpuload.arguments import at_least
from gpuload.datasets import ImageFolder, JointDataset
from gpuload.errors import GpuloadError
from gpuload.loader import DataLoader
from gpuload.stage import lay_out
from gpuload.tools import bench, demo, doctor, moving, preview
from gpuload.tools.common import cores
from gpuload.tools.finding import Status, as_text

__all__ = ["main"]

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's
KEPT = 224 / 256  # of the resized image's shorter edge, by the crop that evaluates


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: its arguments; None: those of the process.

    Returns:
        The exit status: 0; 1 after an error, or where ``gpuload doctor`` misses something; 130 after Ctrl-C.
    """
    arguments = _parser().parse_args(argv)
    try:
        status: int = arguments.run(arguments)
    except (GpuloadError, OSError) as error:
        print("gpuload: error:", " ".join(str(error).split()), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return status


# ---- the subcommands ----


def _demo(arguments: argparse.Namespace) -> int:
    given = {name: getattr(arguments, name) for name in ("data", "output", "epochs", "seed", "device")}
    results = demo.run(**given, progress=True)
    _show(arguments, results, demo.report(results))
    return 0


def _doctor(arguments: argparse.Namespace) -> int:
    findings = doctor.examine()
    complete = all(finding.status is not Status.MISSING for finding in findings)
    found = {"complete": complete, "findings": [finding._asdict() for finding in findings]}
    _show(arguments, found, as_text(findings))
    return 0 if complete else 1


def _preview(arguments: argparse.Namespace) -> int:
    if arguments.masks is not None or arguments.annotations is not None:
        return _moving(arguments)
    dataset = _dataset(arguments)
    loader = _loader(arguments, dataset)
    batch = next(iter(loader))
    path = preview.contact_sheet(loader, batch, arguments.output)
    labels = batch[1].tolist()
    made = {"output": str(path), "seed": loader.seed, "classes": dataset.classes, "labels": labels}
    _show(arguments, made, f"{path}: {len(labels)} of {len(dataset)} images")
    return 0


def _moving(arguments: argparse.Namespace) -> int:
    size = 224 if arguments.size is None else arguments.size
    if arguments.masks is not None:
        dataset: JointDataset = moving.masked(arguments.folder, arguments.masks, size)
    else:
        dataset = moving.boxed(arguments.folder, arguments.annotations, size)
    at_least("num_workers", arguments.workers, 0)
    path = moving.draws(dataset, arguments.output, arguments.seed, arguments.workers, arguments.device)
    made = {"output": str(path), "seed": arguments.seed, "images": len(dataset)}
    _show(arguments, made, f"{path}: how {dataset.describe()} are moved")
    return 0


def _explain(arguments: argparse.Namespace) -> int:
    stages = _loader(arguments, _dataset(arguments)).stages()
    _show(arguments, {"stages": [stage._asdict() for stage in stages]}, lay_out(stages))
    return 0


def _bench(arguments: argparse.Namespace) -> int:
    given = {name: getattr(arguments, name) for name in ("size", "batch_size", "workers", "model", "seconds", "seed")}
    if arguments.html is not None:
        bench.check_path(arguments.html)
    results = bench.run(arguments.folder, **given, device=arguments.device)
    if arguments.html is not None:
        arguments.html.write_text(bench.page(results), encoding="utf-8")
    _show(arguments, results.as_json(), bench.report(results))
    return 0


def _show(arguments: argparse.Namespace, results: dict[str, Any], text: str) -> None:
    print(json.dumps(results) if arguments.json else text)


def _dataset(arguments: argparse.Namespace) -> ImageFolder:
    """The images, with transforms such as one trains or evaluates with."""
    size = arguments.size
    if arguments.eval:
        geometric: list[T.Transform] = [T.Resize(round(size / KEPT)), T.CenterCrop(size)]
    else:
        geometric = [T.RandomResizedCrop(size), T.RandomHorizontalFlip()]
    values = [T.ToDtype(torch.float32, scale=True), T.Normalize(MEAN, STD)]
    return ImageFolder(arguments.folder, transform=T.Compose([*geometric, *values]))


def _loader(arguments: argparse.Namespace, dataset: ImageFolder) -> DataLoader[Any]:
    at_least("batch_size", arguments.batch_size, 1)
    at_least("num_workers", arguments.workers, 0)
    return DataLoader(
        dataset,
        batch_size=arguments.batch_size,
        shuffle=True,
        num_workers=arguments.workers,
        device=arguments.device,
        seed=arguments.seed,
    )


# ---- the arguments ----


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gpuload", description="The data loader of PyTorch, GPU-native.")
    parser.add_argument("--version", action="version", version=f"gpuload {gpuload.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_demo(commands)
    _add(commands, "doctor", _doctor, "what is installed, what is missing, and the command that installs it")
    _add_preview(commands)
    _add_loader_options(_add(commands, "explain", _explain, "which stage of a loader runs where"), batch_size=256)
    _add_bench(commands)
    return parser


def _add(commands: Any, name: str, run: Any, what: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=what, description=f"{what[0].upper()}{what[1:]}.")
    parser.set_defaults(run=run)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    return parser


def _add_demo(commands: Any) -> None:
    parser = _add(commands, "demo", _demo, "watch a small network learn from photos, and check and time its loader")
    parser.add_argument("--data", type=Path, metavar="DIR", help="photos in class folders; without it, some are made")
    parser.add_argument("--output", type=Path, metavar="DIR", default=Path("demo-output"), help="default: %(default)s")
    parser.add_argument("--epochs", type=int, metavar="N", help="times to go through the photos")
    _add_seed_and_device(parser)


def _add_preview(commands: Any) -> None:
    parser = _add(commands, "preview", _preview, "a contact sheet of one batch, as a PNG file")
    parser.add_argument("--output", metavar="FILE", default="preview.png", help="default: %(default)s")
    _add_loader_options(parser, batch_size=24)
    targets = parser.add_mutually_exclusive_group()
    targets.add_argument("--masks", metavar="DIR", help="masks of the images in DIR: show how they follow their images")
    targets.add_argument("--annotations", metavar="FILE", help="COCO's boxes of the images in DIR: show the same")


def _add_bench(commands: Any) -> None:
    parser = _add(commands, "bench", _bench, "your own folder through torch with torchvision, and through gpuload")
    _add_folder(parser, batch_size=64)
    counts = "such as 0,2,8; default: 1, 2, 4, ... up to one per core"
    parser.add_argument("--workers", type=_counts, metavar="N,N,...", help=counts)
    model = "a classifier of torchvision, or the images/s that your own takes; default: a small one, on a GPU resnet50"
    parser.add_argument("--model", metavar="NAME", help=model)
    parser.add_argument(
        "--seconds", type=float, metavar="S", default=bench.SECONDS, help="of the whole run, default: %(default)s"
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="also write a page with the plot")
    _add_seed_and_device(parser)


def _counts(text: str) -> list[int]:
    try:
        return [int(count) for count in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"integers with commas between them, such as 1,2,8; got {text!r}") from None


def _add_folder(parser: argparse.ArgumentParser, batch_size: int) -> None:
    parser.add_argument("folder", metavar="DIR", help="images in class folders")
    parser.add_argument("--size", type=int, metavar="PIXELS", default=224, help="of the images, default: %(default)s")
    parser.add_argument("--batch-size", type=int, metavar="N", default=batch_size, help="default: %(default)s")


def _add_loader_options(parser: argparse.ArgumentParser, batch_size: int) -> None:
    _add_folder(parser, batch_size)
    parser.add_argument("--workers", type=int, metavar="N", default=cores(), help="threads; default: one per core")
    style = parser.add_mutually_exclusive_group()
    train = "RandomResizedCrop and RandomHorizontalFlip; the default"
    style.add_argument("--train", dest="eval", action="store_false", default=False, help=train)
    style.add_argument("--eval", action="store_true", help="Resize and CenterCrop instead")
    _add_seed_and_device(parser)


def _add_seed_and_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=int, metavar="N", default=0, help="default: %(default)s")
    parser.add_argument("--device", metavar="DEVICE", help="such as cuda:0 or cpu; default: a GPU where there is one")
