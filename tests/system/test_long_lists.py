"""What a long list costs a farmer: memory, counted by the kernel."""

import sys

from helpers import Site

_FARMER = """\
import atexit, sys
from taskfarmer_mpi.cli.main import main
from taskfarmer_mpi.machine.own_memory import own_peak_memory
atexit.register(lambda: print("peak:", own_peak_memory(), file=sys.stderr))
main(sys.argv[1:])
"""
FEW, MANY = 10_000, 200_000
WORDS = "--input data/simulation/sample --output results/analysis --iterations 1000 --tolerance 0.001 --verbose"


def peaks(site: Site, count: int) -> list[float]:
    """Return the peak memory of a farmer that begins a list, and of one that goes on with it [MiB]; both halt soon."""
    (site.path / str(count)).mkdir()
    tasklist = site.tasklist((f"false {WORDS} --seed {i}" for i in range(count)), f"{count}/tasks")
    found = []
    for failed in (1, 2):
        options = ("--mpi", "off", "--proc", "1", "--halt", f"now,fail={failed}")
        farmer = site.start(sys.executable, "-c", _FARMER, *options, tasklist)
        farmer.succeed(120, code=75)
        found.append(int(farmer.stderr.rpartition("peak:")[2]) / 1024)
    return found


def test_a_long_list_costs_a_farmer_little_memory(site: Site) -> None:
    few, many = peaks(site, FEW), peaks(site, MANY)
    assert (site.path / f"{MANY}/tasks").stat().st_size > 20e6
    for small, large in zip(few, many, strict=True):
        assert large < 1.5 * small, f"few tasks: {few} MiB, many: {many} MiB"
