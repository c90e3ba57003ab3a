"""NVIDIA DALI on the CPU, or decoding on both ("mixed"): its decoder of random crop regions, its resize, its
crop_mirror_normalize."""

from collections.abc import Iterator
from typing import Any

from benchmarks.peers.protocol import MEAN, STD, Peer, Task, serve

PREFETCH = 2


def make(task: Task) -> Peer:
    from nvidia import dali
    from nvidia.dali import fn, types

    if task.transform != "crop224":
        raise ValueError("DALI is compared on RandomResizedCrop(224) alone")
    on_cpu = task.device == "cpu"
    mixed: Any = {} if on_cpu else {"hw_decoder_load": task.load}
    pipe = dali.Pipeline(
        task.batch_size, task.workers, device_id=None if on_cpu else 0, seed=0, prefetch_queue_depth=PREFETCH
    )
    with pipe:
        files, labels = fn.readers.file(file_root=str(task.data), random_shuffle=True, initial_fill=4096, name="files")
        pixels = fn.decoders.image_random_crop(
            files,
            device="cpu" if on_cpu else "mixed",
            random_area=[0.08, 1.0],
            random_aspect_ratio=[3 / 4, 4 / 3],
            num_attempts=10,
            **mixed,
        )
        resized = fn.resize(pixels, size=[224, 224], interp_type=types.INTERP_LINEAR, antialias=True)
        images = fn.crop_mirror_normalize(
            resized,
            mirror=fn.random.coin_flip(probability=0.5),
            mean=[255 * value for value in MEAN],
            std=[255 * value for value in STD],
            dtype=types.FLOAT,
            output_layout="CHW",
        )
        pipe.set_outputs(images, labels)
    pipe.build()
    batches = pipe.epoch_size("files") // task.batch_size

    def epoch() -> Iterator[int]:
        for _ in range(batches):
            images, _ = pipe.run()
            images.as_tensor()  # one block of memory, as a training loop takes it
            yield task.batch_size

    def settle() -> None:
        """DALI makes batches ahead of any epoch; none of those that the pause has completed is part of a round."""
        for _ in range(2 * PREFETCH + 1):  # the queue, one that is in work, and then as many as those have made way for
            pipe.run()

    return Peer(f"DALI {dali.__version__}", epoch, settle)


if __name__ == "__main__":
    serve(make)
