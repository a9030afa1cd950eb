"""What a power failure does to the journals of farmers: the last block, which was never synced, is torn or full of zeros."""

from __future__ import annotations

import random
import re
from pathlib import Path

_SYNCED = re.compile(rb'^\{"ev":"(?:farmer|taken|giving|given|recorded|visit)"[^\n]*\n', re.MULTILINE)
"""Records up to which a journal is certainly on the disk once a visit is over."""


def tear_journals(workdir: Path, chance: random.Random) -> int:
    """Damage the ends of journals where that can happen; return how many were damaged."""
    damaged = 0
    for path in sorted((workdir / "farmers").glob("*.journal")):
        data = path.read_bytes()
        safe = max((match.end() for match in _SYNCED.finditer(data)), default=len(data))
        if safe < len(data):
            end = chance.randint(safe, len(data) - 1)
            zeros = bytes(len(data) - end) if chance.random() < 0.5 else b""
            path.write_bytes(data[:end] + zeros)
            damaged += 1
    return damaged
