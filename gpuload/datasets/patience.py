"""Reads that fail for a moment, as those of network file systems do, are tried again."""

import errno
import logging
import time
from collections.abc import Callable
from typing import TypeVar

__all__ = ["patiently"]

logger = logging.getLogger("gpuload")

Read = TypeVar("Read")

PAUSES = 0.05, 0.2, 0.8  # seconds before the next try
TRANSIENT = {  # a file that is missing, no file or not allowed stays so
    errno.EAGAIN, errno.EBUSY, errno.ECONNABORTED, errno.ECONNREFUSED, errno.ECONNRESET, errno.EHOSTDOWN,
    errno.EHOSTUNREACH, errno.EIO, errno.EMFILE, errno.ENETDOWN, errno.ENETRESET, errno.ENETUNREACH, errno.ENFILE,
    errno.ENOBUFS, errno.ENOTCONN, errno.EREMOTEIO, errno.ESTALE, errno.ETIMEDOUT,
}  # fmt: skip


def patiently(read: Callable[[], Read]) -> Read:
    """What ``read`` gives. Where it fails in a way that may pass, it is called again, up to three times, after a pause.

    Raises:
        OSError: the last try's.
    """
    for pause in PAUSES:
        try:
            return read()
        except OSError as error:
            if error.errno not in TRANSIENT:
                raise
            logger.info("%s: read again after %g s", error, pause)
        time.sleep(pause)
    return read()
