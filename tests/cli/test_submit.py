"""A farm is submitted in one line: whose the words are, what the job asks for, and what goes to sbatch."""

from __future__ import annotations

import os
import subprocess
import sys
from argparse import ArgumentTypeError
from pathlib import Path

import pytest
from helpers import Process, Site

from taskfarmer_mpi.cli.submission.request import Known, Wish, ask_site, choose
from taskfarmer_mpi.cli.submission.request import Site as Nodes
from taskfarmer_mpi.cli.submission.times import encode_time, job_time
from taskfarmer_mpi.cli.submission.words import Words, split_words, values_of
from taskfarmer_mpi.common.programs import AskError

FEW_RIGHTS = "setpriv --bounding-set -dac_override,-dac_read_search,-sys_admin" if os.geteuid() == 0 else ""
SBATCH = 'printf "%s\\n" "$@" > asked; cat > script; [ "$1" != "" ] || exit 3; echo "4242;cluster"'
SINFO = 'echo "debug* 16 00:30:00 (null)"; echo "big 64 infinite cpu"; echo "big 128 infinite gpu,hbm"'


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("my.tasks", Words([], [], "my.tasks", [])),
        ("-N 5 -t 8h my.tasks -n 4", Words(["-N", "5", "-t", "8h"], [], "my.tasks", ["-n", "4"])),
        ("-N5 --time=1 -pdebug my.tasks", Words(["-N5", "--time=1"], ["-pdebug"], "my.tasks", [])),
        (
            "-p debug --account m1 --exclusive my.tasks",
            Words([], ["-p", "debug", "--account", "m1", "--exclusive"], "my.tasks", []),
        ),
        (
            "-H --gpus=4 --until-done my.tasks --until-done",
            Words(["--until-done"], ["-H", "--gpus=4"], "my.tasks", ["--until-done"]),
        ),
        ("-N 2 -- -odd.tasks -v", Words(["-N", "2"], [], "-odd.tasks", ["-v"])),
        ("-N 2", Words(["-N", "2"], [], None, [])),
    ],
)
def test_each_word_is_somebodys(typed: str, words: Words) -> None:
    assert split_words(typed.split()) == words


def test_values_of_an_option_are_found_in_each_form() -> None:
    words = ["-p", "a", "-pb", "--partition=c", "--partition", "d", "--hold", "-C", "p"]
    assert values_of(words, "-p", "--partition") == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("8h", 28800),
        ("90m", 5400),
        ("1d12h", 129600),
        ("1.5h", 5400),
        ("30", 1800),
        ("2:30", 150),
        ("8:00:00", 28800),
        ("1-12", 129600),
        ("1-0:30", 88200),
        ("2-00:00:01", 172801),
    ],
)
def test_times_are_read_in_words_and_as_slurm_has_them(text: str, seconds: float) -> None:
    assert job_time(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "30s", "8x", "-5", "h", "1:2:3:4", "soon", "nan", "8 h"])
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="is not a time for a job, one minute at least"):
        job_time(text)


def test_a_time_is_given_in_whole_minutes() -> None:
    assert [encode_time(seconds) for seconds in (60, 61, 90000)] == ["00:01:00", "00:02:00", "25:00:00"]


def _sinfo(*_command: str) -> str:
    return subprocess.run(["bash", "-c", SINFO], stdout=subprocess.PIPE, text=True, check=True).stdout


@pytest.mark.parametrize(
    ("partitions", "features", "nodes"),
    [
        ([], [], Nodes(16, 1800.0)),
        (["big"], [], Nodes(64, None)),
        (["debug,big"], [], Nodes(16, 1800.0)),
        ([], ["gpu"], Nodes(128, None)),
        (["big"], ["cpu"], Nodes(64, None)),
    ],
)
def test_slurm_says_what_nodes_have(partitions: list[str], features: list[str], nodes: Nodes) -> None:
    assert ask_site(partitions, features, _sinfo) == nodes


def test_where_slurm_says_nothing_nothing_is_known() -> None:
    def refuse(*_command: str) -> str:
        raise AskError("sinfo: no")

    assert ask_site([], [], refuse) == Nodes(None, None)


KNOWN = Known([12.0] * 899 + [40.0], nodes=3)


def _wish(
    nodes: str | None = None, seconds: float | None = None, array: str | None = None, slots: int | None = None
) -> Wish:
    return Wish(nodes, seconds, 10, array, False, slots)


@pytest.mark.parametrize(
    ("wish", "nodes", "time"),
    [
        (_wish(), "3", "00:10:00"),  # 900 tasks of 12 s on 30 slots are 360 s, and the last one is longer
        (_wish(nodes="1"), "1", "00:25:00"),
        (_wish(slots=5), "3", "00:17:00"),
        (_wish(slots=-50), "3", "00:17:00"),
        (_wish(seconds=1800), "1", "00:30:00"),
        (_wish(seconds=600), "3", "00:10:00"),
        (_wish(seconds=60), "90", "00:01:00"),
        (_wish(nodes="2-4", seconds=60), "2-4", "00:01:00"),
    ],
)
def test_what_is_not_said_is_what_the_earlier_run_tells(wish: Wish, nodes: str, time: str) -> None:
    asked = choose(wish, Nodes(None, None), KNOWN)
    assert asked.directives == {"nodes": nodes, "time": time, "cpus-per-task": "10"}
    assert len(asked.sentences) == (1 if wish.nodes and wish.seconds else 2)


def test_an_array_asks_for_its_elements() -> None:
    asked = choose(_wish(array="0-5"), Nodes(None, None), KNOWN)
    assert asked.kind == "array"
    assert asked.directives == {"array": "0-5", "time": "00:07:00", "cpus-per-task": "10"}


def test_no_more_time_is_asked_for_than_a_job_may_have() -> None:
    asked = choose(_wish(nodes="1"), Nodes(None, 600.0), KNOWN)
    assert asked.directives["time"] == "00:10:00"
    assert asked.sentences[1] == "one job may not take so long; --until-done goes on after it"


# -- the command ------------------------------------------------------------------------------------


def _submit(site: Site, *words: str | Path, prefix: str = "", **stand_ins: str) -> Process:
    folder = site.path / "bin"
    folder.mkdir(exist_ok=True)
    for name, text in stand_ins.items():
        (folder / name).write_text(f"#!/bin/bash\n{text}\n")
        (folder / name).chmod(0o755)
    (folder / "bash").symlink_to("/bin/bash")
    (folder / "cat").symlink_to("/bin/cat")
    command = (sys.executable, "-m", "taskfarmer_mpi.ctl", "submit", *words)
    return site.start(*command, environ=site.environ(PATH=str(folder)) if not prefix else None, prefix=prefix)


def test_sbatch_gets_options_and_a_script_that_a_shell_reads(site: Site) -> None:
    site.tasklist(["true"], "my 'tasks'")
    words = ("-N2", "-t", "90m", "-p", "debug", "--account=m1", "my 'tasks'", "-n", "3", "--retries", "2")
    process = _submit(site, *words, sbatch=SBATCH, sinfo=SINFO)
    process.succeed(30)
    assert (site.path / "asked").read_text().split() == ["--parsable", "-p", "debug", "--account=m1"]
    script = (site.path / "script").read_text()
    for line in ("#SBATCH --nodes=2", "#SBATCH --time=01:30:00", "#SBATCH --cpus-per-task=16"):
        assert f"{line}\n" in script
    farm = 'srun() { shift 4; printf "%s\\n" "$@"; }\n' + script
    ran = subprocess.run(["bash", "-c", farm], cwd=site.path, env=site.environ(), capture_output=True, text=True, check=True)
    assert ran.stdout.split("\n")[1:-1] == [
        *("-m", "taskfarmer_mpi", "my 'tasks'", "--proc", "auto", "-n", "3", "--retries", "2")
    ]
    assert process.stdout == (
        "asks for 2 nodes with 16 CPUs each, for 01:30:00\n"
        "submitted job 4242\n"
        "watch it: squeue -j 4242; once it has begun: taskfarmer-ctl watch 'my '\"'\"'tasks'\"'\"'_workdir'\n"
        "stop it: scancel 4242; the same command goes on with what is left\n"
    )


def test_a_dry_run_prints_the_script_and_the_command_and_makes_nothing(site: Site) -> None:
    site.tasklist(["true"])
    process = _submit(site, "--dry-run", "--until-done", "-A", "m1", "tasks", "-w", "a dir", sbatch=SBATCH)
    process.succeed(30)
    assert "\nset -- tasks -w 'a dir'\n" in process.stdout
    assert "\nworkdir='a dir'\n" in process.stdout
    assert process.stdout.splitlines()[-1] == "# sbatch --parsable -A m1 < this script"
    subprocess.run(["bash", "-n"], input=process.stdout, text=True, check=True)
    assert not {"asked", "script", "a dir", "tasks_workdir"} & {path.name for path in site.path.iterdir()}


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("-t 8x tasks", "argument -t/--time: '8x' is not a time for a job"),
        ("-N 0 tasks", "argument -N/--nodes: '0' is not a number"),
        ("-N 3-2 tasks", "argument -N/--nodes: '3-2' is not a number of nodes"),
        ("-N 3", "the following arguments are required: TASKLIST"),
        ("--array 3 -N 2 tasks", "--array and --nodes"),
        ("--array 3 --until-done tasks", "--array and --until-done"),
        ("--untl-done tasks", "--untl-done: unknown option"),
        ("--wait tasks", "--wait: not with submit: taskfarmer-ctl wait"),
        ("missing.tasks", "missing.tasks: cannot read the tasklist"),
        ("tasks --bad", "--bad: unknown option"),
        ("tasks --task-timeout x", "--task-timeout: 'x' is not a time"),
        ("-", "a batch job needs a file with the list"),
        ("tasks", "sbatch: no such program in PATH"),
    ],
)
def test_what_makes_no_sense_is_a_line_and_nothing_is_touched(typed: str, said: str, site: Site) -> None:
    site.tasklist(["true"])
    process = _submit(site, *typed.split())
    process.succeed(30, code=2)
    lines = process.stderr.splitlines()
    assert said in lines[0]
    assert len(lines) <= 2, process.said()
    assert process.stdout == ""
    assert not (site.path / "tasks_workdir").exists()


def test_what_sbatch_refuses_is_one_line(site: Site) -> None:
    site.tasklist(["true"])
    process = _submit(site, "-N1", "-t1h", "tasks", sbatch="echo sbatch: error: invalid account >&2; exit 1")
    process.succeed(30, code=2)
    assert process.stderr == "taskfarmer-ctl: not submitted: sbatch: error: invalid account\n"


def test_a_closed_work_directory_is_one_line(site: Site) -> None:
    site.tasklist(["true"])
    (site.path / "tasks_workdir").mkdir(mode=0)
    process = _submit(site, "--dry-run", "tasks", prefix=FEW_RIGHTS)
    process.succeed(30, code=2)
    assert process.stderr == "taskfarmer-ctl: tasks_workdir: cannot be used: no permission to read and write there\n"


def test_a_halted_farm_is_not_submitted(site: Site) -> None:
    site.tasklist(["false", "true"])
    site.farm("--halt", "now,fail=1", "-n", "1", "tasks").wait(60)
    process = _submit(site, "--dry-run", "tasks")
    process.succeed(30, code=2)
    assert "halted" in process.stderr
    assert process.stderr.count("\n") == 1
