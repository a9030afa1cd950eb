"""Real farms whose slots have cores and GPUs of their own, as tasks see them."""

from __future__ import annotations

import os
import re
import signal
from collections import Counter
from pathlib import Path

import pytest
from helpers import Site, settled, wait_for

CPUS = sorted(os.sched_getaffinity(0))
PINS = "taskset -pc $$; echo CPUS=$TASKFARMER_CPUS OMP=$OMP_NUM_THREADS SLOT=$TASKFARMER_NODE_SLOT; sleep 0.2"
GPUS = (
    "echo GPU=$CUDA_VISIBLE_DEVICES AMD=${ROCR_VISIBLE_DEVICES-unset} ZE=${ZE_AFFINITY_MASK-unset}"
    " SLOT=$TASKFARMER_NODE_SLOT"
)
needs_two = pytest.mark.skipif(len(CPUS) < 2, reason="needs two CPUs")


def _logs(workdir: Path) -> list[str]:
    return [path.read_text() for path in sorted((workdir / "logs").glob("log_*"))]


def _cpus(log: str) -> str:
    found = re.search(r"affinity list: ([\d,-]+)", log)
    assert found is not None, log
    return found[1]


@needs_two
@pytest.mark.parametrize("ranks", [0, 2])
def test_no_two_slots_of_a_node_share_a_core(ranks: int, site: Site) -> None:
    lines = [PINS] * 8
    tasks = site.tasklist(lines)
    more = () if ranks == 0 else ("-n", "1")
    site.farm("--pin", *more, "--progress", "none", tasks, ranks=ranks).succeed(60)
    settled(Path(f"{tasks}_workdir"), lines)
    logs = _logs(Path(f"{tasks}_workdir"))
    cpus = {re.findall(r"SLOT=(\d+)", log)[0]: _cpus(log) for log in logs}
    assert len(cpus) >= 2
    assert len(set(cpus.values())) == len(cpus)
    assert all("CPUS=1 OMP=1 " in log for log in logs) or len(CPUS) > 2


@needs_two
def test_one_slot_has_all_cores_and_the_number_of_threads_is_the_users(site: Site) -> None:
    tasks = site.tasklist([PINS])
    site.farm("--pin", "-n", "1", "--progress", "none", tasks, environ=site.environ(OMP_NUM_THREADS="3")).succeed(60)
    (log,) = _logs(Path(f"{tasks}_workdir"))
    assert f"CPUS={len(CPUS)} OMP=3 " in log


@needs_two
def test_farmers_that_mpi_does_not_connect_have_different_cores(site: Site) -> None:
    seen = []
    for rank in range(2):
        tasks = site.tasklist([PINS], name=f"tasks{rank}")
        environ = site.environ(
            SLURM_STEP_ID="0",
            SLURM_PROCID=str(rank),
            SLURM_LOCALID=str(rank),
            SLURM_NODEID="1",
            SLURM_STEP_TASKS_PER_NODE="1,2",
        )
        site.farm("--mpi", "off", "--pin", "-n", "1", "--progress", "none", tasks, environ=environ).succeed(60)
        seen += [_cpus(log) for log in _logs(Path(f"{tasks}_workdir"))]
    assert len(set(seen)) == 2


def test_pins_are_kept_for_the_next_run_also_after_a_kill(site: Site) -> None:
    lines = [f"{PINS}; echo up >>{site.path}/up; sleep 0.5"] * 2 * len(CPUS)
    tasks = site.tasklist(lines)
    workdir = Path(f"{tasks}_workdir")
    farm = site.farm("--pin", "--progress", "none", tasks)
    wait_for((site.path / "up").exists, deadline=30, what="a task")
    farm.kill(signal.SIGKILL)
    farm.wait(20)
    site.farm("--progress", "none", "--workdir", workdir).succeed(60)
    settled(workdir, lines)
    assert all("," not in _cpus(log) and "-" not in _cpus(log) for log in _logs(workdir)) or len(CPUS) != 2
    refused = site.farm("--proc", "1000", "--workdir", workdir)
    refused.succeed(20, code=2)
    assert re.search(r"^taskfarmer-mpi: --pin: 1,000 slots on \S+ for \d+ cores: --proc auto", refused.stderr, re.MULTILINE)
    site.farm("--no-pin", "--proc", "3", "--progress", "none", "--workdir", workdir).succeed(60)


def test_more_slots_than_cores_are_refused_before_anything_is_made(site: Site) -> None:
    tasks = site.tasklist(["true"])
    refused = site.farm("--pin", "--proc", "1000", tasks)
    refused.succeed(20, code=2)
    assert len(refused.stderr.strip().splitlines()) == 1
    assert not Path(f"{tasks}_workdir").exists()


@pytest.mark.parametrize("ranks", [0, 2])
def test_each_slot_sees_gpus_of_its_own(ranks: int, site: Site) -> None:
    tasks = site.tasklist([f"{GPUS}; sleep 0.2"] * 12)
    gpus = ["GPU-8932f937", "MIG-c6d4f1ef-42e4", "2", "3"]
    environ = site.environ(CUDA_VISIBLE_DEVICES=",".join(gpus), ROCR_VISIBLE_DEVICES="0,1,2,3")
    more = ("-n", "2") if ranks else ("-n", "4")
    site.farm("--gpus", "auto", *more, "--progress", "none", tasks, ranks=ranks, environ=environ).succeed(60)
    seen = {tuple(log.split()) for log in _logs(Path(f"{tasks}_workdir"))}
    assert seen == {(f"GPU={gpu}", "AMD=unset", "ZE=unset", f"SLOT={slot}") for slot, gpu in enumerate(gpus)}


def test_two_tasks_share_a_gpu_if_that_is_asked_for(site: Site) -> None:
    tasks = site.tasklist([f"{GPUS}; sleep 0.3"] * 12)
    environ = site.environ(CUDA_VISIBLE_DEVICES="4,7")
    farm = site.farm("--gpus", "auto", "--gpus-per-task", "0.5", "-n", "4", "--progress", "none", tasks, environ=environ)
    farm.succeed(60)
    slots = {tuple(re.findall(r"GPU=(\S+) .*SLOT=(\d)", log)[0]) for log in _logs(Path(f"{tasks}_workdir"))}
    assert Counter(gpu for gpu, _ in slots) == {"4": 2, "7": 2}


def test_gpus_are_those_that_a_program_lists_and_as_many_as_are_wanted(site: Site) -> None:
    program = site.path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    lines = [f"echo 'GPU {i}: NVIDIA A100 (UUID: GPU-{i}feb0cf9c)'" for i in range(4)]
    program.write_text("\n".join(["#!/bin/sh", '[ "$1" = -L ] || exit 9', *lines]) + "\n")
    program.chmod(0o755)
    environ = site.environ()
    environ["PATH"] = f"{program.parent}:{environ['PATH']}"
    tasks = site.tasklist([f"{GPUS}; sleep 0.1"] * 6)
    for choice, expected in (("1", {"0"}), ("3,", {"3"}), ("GPU-2feb0,", {"2"})):
        workdir = site.path / f"work {choice}"
        farm = site.farm("--gpus", choice, "-n", "1", "--progress", "none", "-w", workdir, tasks, environ=environ)
        farm.succeed(60)
        assert {re.findall(r"GPU=(\S*)", log)[0] for log in _logs(workdir)} == expected
    refused = site.farm("--gpus", "5,", "-w", site.path / "none", tasks, environ=environ)
    refused.succeed(20, code=2)
    assert "--gpus: 5 is none of the GPUs for this job" in refused.stderr
    refused = site.farm("--gpus", "9", "-w", site.path / "none", tasks, environ=environ)
    refused.succeed(20, code=2)
    assert "--gpus 9: there are only 4 GPUs for this job" in refused.stderr


@pytest.mark.parametrize("ranks", [0, 2])
def test_a_farm_without_a_gpu_is_refused_in_one_line(ranks: int, site: Site) -> None:
    tasks = site.tasklist(["true"])
    refused = site.farm("--gpus", "auto", tasks, ranks=ranks, environ=site.environ(CUDA_VISIBLE_DEVICES="NoDevFiles"))
    refused.succeed(60, code=2)
    said = [line for line in refused.stderr.splitlines() if line.startswith("taskfarmer-mpi: ")]
    assert len(said) == 1
    assert said[0].startswith("taskfarmer-mpi: --gpus: there is no GPU for this job on ")
    assert not Path(f"{tasks}_workdir").exists()


def test_slots_are_no_more_than_memory_is_enough_for(site: Site) -> None:
    node = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
    tasks = site.tasklist(["echo $TASKFARMER_MEMORY $TASKFARMER_SLOT; sleep 0.2"] * 8)
    size = int(node * 0.4)
    farm = site.farm("--memory-per-task", f"{size}M", "-n", "8", tasks)
    farm.succeed(60)
    seen = [log.split() for log in _logs(Path(f"{tasks}_workdir"))]
    assert {memory for memory, _ in seen} == {str(size)}
    slots = re.findall(r"1 x (\d) slots", farm.stderr)
    assert slots in (["1"], ["2"])  # a control group can allow less than the node has
    refused = site.farm("--memory-per-task", "900T", "-w", site.path / "other", tasks)
    refused.succeed(20, code=2)
    assert re.search(r"--memory-per-task \S+ GiB: a rank on \S+ has \S+ \S+ for its tasks", refused.stderr)
