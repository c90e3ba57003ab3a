"""Several ranks of one program, as torchrun starts them: forked once the program has imported what it needs."""

import gc
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["ranks"]


@contextmanager
def ranks(count: int) -> Iterator[int]:
    """The block runs once for each rank, in a process of its own; the first one waits for the others.

    They meet on this machine, at a port that is free, and share no seed.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    world = {"WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    world["OMP_NUM_THREADS"] = 1  # as torchrun does
    gc.freeze()  # else each end would look through all that was imported
    others: list[int] = []
    rank = 0
    for number in range(1, count):
        process = os.fork()
        if process == 0:
            rank, others = number, []
            break
        others.append(process)
    world |= {"RANK": rank, "LOCAL_RANK": rank, "TORCHELASTIC_RUN_ID": "tests"}
    os.environ.update({name: str(value) for name, value in world.items()})
    yield rank
    for process in others:
        assert os.waitpid(process, 0)[1] == 0, "another rank failed"
