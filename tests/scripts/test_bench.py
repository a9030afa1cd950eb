"""`scripts/bench` with few tasks: its table, its JSON and its plots."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.crowds import parse_notes

BENCH = Path(__file__).resolve().parents[2] / "scripts" / "bench"
SMALL = ["--tasks", "6", "--few", "1", "--repeats", "1", "--sizes", "3,6", "--slots", "1,2", "--farmers", "2"]
EACH = ["--each", "1", "--seconds", "1", "--parts", "comparison,sizes,slots,farmers"]


def bench(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCH), *map(str, words)]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=240, check=False)


def test_one_command_makes_tables_json_and_plots(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    done = bench(*SMALL, *EACH, "--dir", tmp_path, "--json", tmp_path / "all.json", "--plots", tmp_path / "plots")
    assert done.returncode == 0, done.stderr
    measured = json.loads((tmp_path / "all.json").read_text())
    ours = next(one for one in measured["contenders"] if one["name"] == "taskfarmer_mpi, 2 slots")
    assert len(ours["times_s"]) == 1
    assert "taskfarmer_mpi" in ours["command"]
    assert measured["versions"]["taskfarmer_mpi"]
    assert measured["machine"]["cpus"] >= 1
    assert [run["tasks"] for run in measured["sizes"]] == [3, 6]
    crowd = measured["crowds"][0]
    assert crowd["tries"] >= len(crowd["holds_s"]) >= 4
    assert crowd["wall_s"] > crowd["ideal_s"] == 1
    assert {path.name for path in (tmp_path / "plots").iterdir()} == {"tasks.svg", "slots.svg", "farmers.svg"}
    assert "| taskfarmer_mpi, 2 slots | 6 |" in done.stdout
    assert "left out: mpi4py.futures, HyperShell, disBatch, PyTaskFarmer 0.1.0" in done.stderr
    assert not list(tmp_path.glob("taskfarmer-bench.*"))


def test_a_part_that_there_is_not_is_refused_with_those_that_there_are() -> None:
    refused = bench("--parts", "sizes,colours")
    assert refused.returncode == 2
    assert "'colours' is no part; there are comparison, sizes, slots, farmers, watched" in refused.stderr


def test_notes_of_a_farmer_tell_how_long_it_waited_and_held_the_lock() -> None:
    use = parse_notes("+ 1.0\n/ 1.5\n- 2.0\n- 2.5\n+ 3.0\n/ 3.25\n")
    assert use.tries == 4
    assert use.waits == [0.0, 1.0]
    assert use.holds == [0.5, 0.25]
    assert use.rate == 2.0
