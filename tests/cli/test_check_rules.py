"""What `taskfarmer-ctl check` says of rules: it refuses what a farm would refuse, and shows what slots would have."""

from __future__ import annotations

import os
import re
import sys

import pytest
from helpers import Process, Site

CHECK = (sys.executable, "-m", "taskfarmer_mpi.ctl", "check")


def check(site: Site, *words: str, code: int = 0, **variables: str) -> Process:
    process = site.start(*CHECK, *words, environ=site.environ(**variables))
    process.succeed(60, code=code)
    return process


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "#TF limit=db: there is no --limit db=N"),
        (("--limit", "other=1"), "#TF limit=db: there is no --limit db=N; there is: other"),
        (("--limit", "db=2", "--retries", "many"), "--retries: 'many'"),
        (("--limit", "db=2", "--retry-delay", "5"), "--retry-delay says nothing without --retries"),
        (("--limit", "db=2", "--pin", "-n", "1000"), "--pin: 1,000 slots on "),
        (("--limit", "db=2", "--gpus", "auto"), "--gpus: there is no GPU for this job"),
    ],
)
def test_what_a_farm_would_refuse_is_refused(site: Site, options: tuple[str, ...], said: str) -> None:
    tasks = site.tasklist(["true", "#TF limit=db", "true"])
    process = check(site, str(tasks), *options, code=2, CUDA_VISIBLE_DEVICES="NoDevFiles")
    assert said in process.stderr
    assert process.stderr.count("\n") == 1
    assert not (site.path / "tasks_workdir").exists()


def test_each_slot_is_shown_with_its_cores_and_gpus(site: Site) -> None:
    tasks = site.tasklist(["true"])
    options = ("--pin", "--gpus", "auto", "--gpus-per-task", "0.5", "--memory-per-task", "64M", "-n", "1")
    said = check(site, str(tasks), *options, CUDA_VISIBLE_DEVICES="4,7").stdout
    cpus = ",".join(map(str, sorted(os.sched_getaffinity(0))))
    assert "one farmer here: 1 slot, 64 MiB of memory each\n" in said
    assert f"    slot 0: CPUs {cpus}; CUDA_VISIBLE_DEVICES=4\n" in said
    said = check(site, str(tasks), "--gpus", "auto", "-n", "2", CUDA_VISIBLE_DEVICES="4,7").stdout
    assert re.findall(r"slot (\d): (\S+)\n", said) == [("0", "CUDA_VISIBLE_DEVICES=4"), ("1", "CUDA_VISIBLE_DEVICES=7")]


def test_gpus_that_tasks_have_by_their_sizes_are_no_slots(site: Site) -> None:
    tasks = site.tasklist(["true", "#TF gpus=1", "true"])
    said = check(site, str(tasks), "--gpus", "auto", "-n", "16", CUDA_VISIBLE_DEVICES="4,7").stdout
    assert "one farmer here: 16 slots\n    for tasks that want GPUs: CUDA_VISIBLE_DEVICES=4,7\n" in said
    assert "slot 0:" not in said


def test_without_such_rules_nothing_is_said_of_slots(site: Site) -> None:
    assert "one farmer here" not in check(site, str(site.tasklist(["true"]))).stdout
