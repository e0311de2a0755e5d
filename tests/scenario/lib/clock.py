"""Programs in another time: the command faketime and its library.

What their processes share is named after the first one's identifier, and stays when that one is killed; the next process
with this number then ends before it has begun.
"""

import glob
import os

_NAMES = ("/dev/shm/faketime_shm_%d", "/dev/shm/sem.faketime_sem_%d")
TAKEN = b"sem_open: File exists"  # what it says in that case


def library(name="libfaketime.so.1"):
    """To be preloaded by a program that is to get signals: the command stays in between.  None: there is none here."""
    return next(iter(glob.glob("/usr/lib/*/faketime/" + name) + glob.glob("/usr/lib/faketime/" + name)), None)


def forget(pid):
    """Take away what a process with the library has left behind."""
    for name in _NAMES:
        try:
            os.unlink(name % pid)
        except FileNotFoundError:
            pass
