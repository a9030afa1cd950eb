"""Whose the words of a command line are: options of this command or of sbatch, the tasklist, and options of the farm."""

from __future__ import annotations

from collections.abc import Sequence

from taskfarmer_mpi.common.values import Value

OWN = (
    "-N",
    "--nodes",
    "-t",
    "--time",
    "-a",
    "--array",
    "-c",
    "--cpus-per-task",
    "--until-done",
    "--dry-run",
    "-h",
    "--help",
)
_NO_VALUE = """
until-done dry-run help
contiguous exclusive get-user-env hold ignore-pbs nice no-kill no-requeue overcommit oversubscribe parsable propagate quiet
reboot requeue resv-ports spread-job stepmgr test-only usage use-min-nodes verbose version wait
"""
"""Long options that no value follows as a word of its own; all other options of sbatch have one (sbatch(1), Slurm 24.11)."""
_SHORT_FLAGS = "HhIkOQsvVW"


class Words(Value):
    """The words of a command line by whose they are."""

    own: list[str]
    sbatch: list[str]
    tasklist: str | None
    farm: list[str]


def split_words(argv: Sequence[str]) -> Words:
    """Return whose each word is: the first one that is neither an option nor an option's value is the tasklist."""
    own: list[str] = []
    sbatch: list[str] = []
    place = 0
    while place < len(argv) and argv[place].startswith("-") and argv[place] not in ("-", "--"):
        word = argv[place]
        count = 2 if _needs_value(word) else 1
        (own if _name(word) in OWN else sbatch).extend(argv[place : place + count])
        place += count
    rest = list(argv[place:])
    if rest[:1] == ["--"]:
        del rest[0]
    return Words(own, sbatch, rest[0] if rest else None, rest[1:])


def _name(word: str) -> str:
    return word.partition("=")[0] if word.startswith("--") else word[:2]


def _needs_value(word: str) -> bool:
    """Whether the next word is the value of an option."""
    if word.startswith("--"):
        return "=" not in word and word[2:] not in _NO_VALUE.split()
    return len(word) == 2 and word[1] not in _SHORT_FLAGS


def values_of(words: Sequence[str], short: str, long: str) -> list[str]:
    """Return the values that an option has among words of sbatch."""
    values: list[str] = []
    for place, word in enumerate(words):
        if _name(word) in (short, long):
            following = words[place + 1 : place + 2] if _needs_value(word) else []
            attached = word.partition("=")[2] if word.startswith("--") else word[2:]
            values += [attached] if attached else following
    return values
