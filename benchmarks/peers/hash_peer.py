"""No loader: threads that hash buffers without Python's lock. What two of them gain over one, the machine can give."""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from benchmarks.peers.protocol import Peer, Task, serve

BUFFER = bytes(1 << 20)
BUFFERS = 128  # of a thread in an epoch


def make(task: Task) -> Peer:
    threads = ThreadPoolExecutor(task.workers)

    def work(_: int) -> int:
        for _ in range(BUFFERS):
            hashlib.sha256(BUFFER).digest()
        return BUFFERS

    def epoch() -> Iterator[int]:
        yield from threads.map(work, range(task.workers))

    return Peer("hashlib, MiB", epoch)


if __name__ == "__main__":
    serve(make)
