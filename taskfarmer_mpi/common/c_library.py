"""Calls of the C library and the kernel that Python has no function for: the only importer of ctypes."""

from __future__ import annotations

import os
import signal

_PR_SET_PDEATHSIG = 1
_KEEP_SIZE, _PUNCH_HOLE = 1, 2
_AT_FDCWD, _RENAME_NOREPLACE = -100, 1
_AT_EMPTY_PATH, _AT_STATX_FORCE_SYNC = 0x1000, 0x2000
_STATX_BASIC_STATS = 0x7FF


def system_call(number: int, *arguments: int | bytes) -> int:
    """Make a system call by its number; return -1 if the kernel refuses it."""
    import ctypes

    return int(ctypes.CDLL(None).syscall(number, *arguments))


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent dies, and die now if that has happened.

    Parameters
    ----------
    parent
        The process that made this one.
    """
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def end_process(code: int) -> None:
    """End this process as a C program ends, without Python's part: libraries do what they do at an exit."""
    import ctypes

    ctypes.CDLL(None).exit(code)


def ask_for_attributes(fd: int) -> None:
    """Have the kernel ask the file system what an open file is, its size above all, whatever it remembers of it.

    As statx(2) has it, of Linux 4.11; where the C library has no such function, nothing is done.
    """
    import ctypes

    library = ctypes.CDLL(None)
    if hasattr(library, "statx"):
        flags = _AT_EMPTY_PATH | _AT_STATX_FORCE_SYNC
        library.statx(fd, b"", flags, _STATX_BASIC_STATS, ctypes.create_string_buffer(256))


def ask_for_name(path: bytes) -> None:
    """Have the kernel ask the file system which file has a name now, whatever it remembers of it.

    A file is renamed to its own name unless that is taken, as renameat2(2) of Linux 3.15 has it: nothing comes of that, but
    the kernel looks first. Where the C library has no such function, nothing is done.
    """
    import ctypes

    library = ctypes.CDLL(None)
    if hasattr(library, "renameat2"):
        library.renameat2(_AT_FDCWD, path, _AT_FDCWD, path, _RENAME_NOREPLACE)


def punch_hole(fd: int, offset: int, length: int) -> bool:
    """Give the disk back a part of a file, which keeps its size and reads as zeros there; return whether that was done."""
    import ctypes

    fallocate = ctypes.CDLL(None).fallocate
    fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long)
    return int(fallocate(fd, _KEEP_SIZE | _PUNCH_HOLE, offset, length)) == 0
