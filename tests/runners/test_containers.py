"""Tasks in containers.

podman-hpc is the one of PyPI, and Podman is Debian's, with an image made of this machine's files; a program between them
adds what Podman needs on this machine. Shifter and Apptainer are stand-ins on ``PATH`` that take the options of the
manuals and no others, and then run what they were given without a container.
"""

from __future__ import annotations

import configparser
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from conftest import skip_or_fail
from helpers import wait_for
from stage import Stage, read_record, staged

from taskfarmer_mpi.common.values import replace
from taskfarmer_mpi.errors import OptionError
from taskfarmer_mpi.lives import owner as owners
from taskfarmer_mpi.runners.containers import ApptainerRunner, PodmanHPCRunner, ShifterRunner, shell_text

DOCUMENTED = """
[reco22]
Runner = taskfarmer.runners.ShifterRunner
image = zlmarshall/atlas-grid-centos7:20191110
setup = source ${ATLAS_LOCAL_ROOT_BASE}/user/atlasLocalSetup.sh && source ${AtlasSetup}/scripts/asetup.sh Athena,22.2,latest
modules = cvmfs
tempdir = True
"""
"""The example of PyTaskFarmer's documentation."""

_RECORDER = """
import argparse, csv, json, os, sys
parser = argparse.ArgumentParser(allow_abbrev=False)
"""
_SHIFTER = """
parser.add_argument("--image", required=True)
parser.add_argument("-V", "--volume", action="append", default=[])
parser.add_argument("-m", "--module", action="append", default=[])
parser.add_argument("--workdir")
parser.add_argument("command", nargs="+")
given = parser.parse_args()
variables = {}
folder = given.workdir
"""
_APPTAINER = """
parser.add_argument("verb", choices=["exec"])
parser.add_argument("--nv", action="store_true")
parser.add_argument("--rocm", action="store_true")
parser.add_argument("--cleanenv", action="store_true")
parser.add_argument("--env", action="append", default=[])
parser.add_argument("--bind", action="append", default=[])
parser.add_argument("--pwd")
parser.add_argument("image")
parser.add_argument("command", nargs=argparse.REMAINDER)
given = parser.parse_args()
variables = {}
for item in given.env:  # as the flag is parsed there: one pair as it is, several as a line of a CSV file
    pairs = [item.strip('"')] if item.count("=") == 1 else next(csv.reader([item], strict=True))
    variables |= dict(pair.split("=", 1) for pair in pairs)
folder = given.pwd
"""
_RUN = """
record = {"argv": sys.argv[1:], "options": vars(given), "variables": variables, "BASH_ENV": os.environ.get("BASH_ENV")}
with open(os.environ["RECORD"], "w") as file:
    json.dump(record, file)
if folder:
    os.chdir(folder)
os.execvpe(given.command[0], given.command, os.environ | variables)
"""


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """Return a stage with stand-ins for Shifter and Apptainer."""
    temporary = tmp_path / "temporary files"
    temporary.mkdir()
    with staged(tmp_path, monkeypatch, RECORD=str(tmp_path / "record"), TMPDIR=str(temporary)) as stage:
        stage.program("shifter", _RECORDER + _SHIFTER + _RUN)
        stage.program("apptainer", _RECORDER + _APPTAINER + _RUN)
        yield stage


def options_of(ini: str) -> dict[str, str]:
    """Return the options of the only section of an INI file, without the class."""
    config = configparser.ConfigParser(interpolation=None)
    config.optionxform = str  # type: ignore[assignment,method-assign]
    config.read_string(ini)
    (section,) = config.sections()
    return {key: value for key, value in config[section].items() if key not in ("Runner", "TaskList")}


# -- what is run in the container -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setup", "task", "text"),
    [
        ("source a", "reco x", "source a && reco x"),
        ("source a && source b", "reco x && rsync y z", "source a && source b && reco x && rsync y z"),
        ("source a", "x | y > z", "source a && x | y > z"),
        ("source a", "x || y", "source a && {\nx || y\n}"),
        ("source a", "x; y # z", "source a && {\nx; y # z\n}"),
        ("source a", "x & wait", "source a && {\nx & wait\n}"),
        ("", "x || y", "x || y"),
        ("", "-x y", " -x y"),
    ],
)
def test_the_shell_gets_setup_and_task(setup: str, task: str, text: str) -> None:
    assert shell_text(setup, task) == text


@pytest.mark.parametrize(
    "task",
    [
        "echo a || echo b",
        "false || echo b",
        "false; echo c",
        "echo d # e; f",
        "exit 3",
        "sleep 0 & wait; echo g",
        "echo 'h;i' \"j && k\" $((1 + 1))",
        "echo a && false",
        "(exit 4)",
        "no-such-program-anywhere",
        "-x",
    ],
)
def test_a_setup_that_works_changes_nothing_of_a_task(task: str) -> None:
    def ended(text: str) -> tuple[int, str]:
        result = subprocess.run(["/bin/bash", "-c", text], capture_output=True, text=True, check=False)
        return result.returncode, result.stdout

    assert ended(shell_text("true", task)) == ended(shell_text("", task))
    assert ended(shell_text("(exit 7)", task)) == (7, "")


# -- Shifter ----------------------------------------------------------------------------------------


def test_shifter_has_the_documented_command_line() -> None:
    launch = ShifterRunner("image:1", setup="source s").launch("reco 'a b'")
    assert launch.argv == ["shifter", "--image", "image:1", "--", "/bin/bash", "-c", "source s && reco 'a b'"]
    assert launch.environ == {"BASH_ENV": ""}
    assert launch.patience == 0


def test_shifter_gets_all_its_options(stage: Stage, tmp_path: Path) -> None:
    runner = ShifterRunner(image="image:1", setup="true", volumes="/a:/b /c:/d", modules="cvmfs gpu", tempdir="False")
    assert stage.run(runner.launch("echo $PROC_NUMBER")) == (0, "0\n")
    command = ["/bin/bash", "-c", "true && echo $PROC_NUMBER"]
    record = read_record(tmp_path / "record")
    assert record["argv"] == ["--image", "image:1", "-V/a:/b", "-V/c:/d", "-mcvmfs", "-mgpu", "--", *command]
    assert record["BASH_ENV"] == ""


def test_the_example_of_the_documentation_runs_in_its_own_directory(stage: Stage, tmp_path: Path) -> None:
    runner = ShifterRunner(**options_of(DOCUMENTED))
    code, _ = stage.run(runner.launch("reco"))
    record = read_record(tmp_path / "record")
    folder = record["options"]["workdir"]
    assert code == 1  # its setup needs what is not here
    assert Path(folder).parent == tmp_path / "temporary files"
    setup = options_of(DOCUMENTED)["setup"]
    assert record["argv"] == [
        *("--image", "zlmarshall/atlas-grid-centos7:20191110", "-mcvmfs", f"--workdir={folder}"),
        *("--", "/bin/bash", "-c", f"{setup} && reco"),
    ]


@pytest.mark.parametrize("runner", [ShifterRunner("i", tempdir="True"), ApptainerRunner("i", tempdir="yes")])
def test_each_task_has_a_directory_of_its_own_that_goes_away(stage: Stage, tmp_path: Path, runner: Any) -> None:
    seen = set()
    for code in (0, 3):
        ended, output = stage.run(runner.launch(f"pwd; stat -c %a .; touch 'a b' .c; mkdir d; exit {code}"))
        folder, mode = output.splitlines()
        assert (ended, mode) == (code, "700")
        assert Path(folder).parent == tmp_path / "temporary files"
        seen.add(folder)
    assert len(seen) == 2
    assert list((tmp_path / "temporary files").iterdir()) == []


def test_a_task_that_is_stopped_leaves_no_directory(stage: Stage, tmp_path: Path) -> None:
    runner = ShifterRunner("i", tempdir="True")
    launch = runner.launch("trap 'echo late > file; exit 9' TERM; echo ready; sleep 100 & wait")
    task = stage.start(replace(launch, patience=60))
    wait_for(lambda: "ready" in stage.log(task), deadline=30, what="the task")
    assert len(list((tmp_path / "temporary files").iterdir())) == 1
    (run,) = stage.pool.kill(30)
    assert run.returncode == 9
    assert list((tmp_path / "temporary files").iterdir()) == []
    assert stage.processes() == []


def test_a_program_that_is_not_here_fails_the_task_only(stage: Stage) -> None:
    for name in ("shifter", "apptainer"):
        (stage.bin / name).unlink()
    assert stage.run(ShifterRunner("i").launch("true"))[0] == 127
    assert stage.run(ApptainerRunner("i", tempdir="True").launch("true"))[0] == 127


LONG_TASK = 'x={}; echo "${{#x}} $0 $# ${{x: -2}}"; exit 3'


@pytest.mark.parametrize("runner", [ShifterRunner, ApptainerRunner])
@pytest.mark.parametrize("options", [{}, {"setup": "true"}, {"tempdir": "True"}], ids=lambda options: "".join(options))
def test_a_line_of_any_length_runs_in_a_container_as_a_short_one(
    runner: Any, options: dict[str, str], stage: Stage, tmp_path: Path
) -> None:
    """The kernel takes no argument above 128 KiB, and container programs hand on no descriptor."""
    for filler, count in (("a", 100), ("é", 70_000), ("a", 320_000), ("b \\\n", 300_000)):
        task = LONG_TASK.format(f"'{filler * count}é.'")
        ended = stage.run(runner("i", **options).launch(task))
        assert ended == (3, f"{count * len(filler) + 2} /bin/bash 0 é.\n")
    assert all(len(word.encode()) < 128 * 1024 for word in read_record(tmp_path / "record")["argv"])
    assert list((tmp_path / "temporary files").iterdir()) == []


# -- Apptainer --------------------------------------------------------------------------------------


def test_apptainer_gets_all_its_options(stage: Stage, tmp_path: Path) -> None:
    runner = ApptainerRunner(
        image="/images/a b.sif",
        setup="source /dev/null",
        volumes="/data /scratch:/s:ro",
        environment="""A=1 B="x y" C=a=b,c=d D=p,q""",
        gpu="True",
        arguments="--cleanenv",
    )
    launch = runner.launch('echo "$PROC_NUMBER|$A|$B|$C|$D"')
    assert launch.argv == [
        *("apptainer", "exec", "--nv", "--env=A=1", "--env=B=x y", '--env="C=a=b,c=d"', "--env=D=p,q"),
        *("--bind=/data", "--bind=/scratch:/s:ro", "--cleanenv", "/images/a b.sif"),
        *("/bin/bash", "-c", 'source /dev/null && echo "$PROC_NUMBER|$A|$B|$C|$D"'),
    ]
    assert launch.patience > 0
    assert stage.run(launch) == (0, "0|1|x y|a=b,c=d|p,q\n")
    assert read_record(tmp_path / "record")["variables"] == {"A": "1", "B": "x y", "C": "a=b,c=d", "D": "p,q"}


def test_apptainer_works_in_a_temporary_directory(stage: Stage, tmp_path: Path) -> None:
    code, output = stage.run(ApptainerRunner("i.sif", volumes="/data", tempdir="True").launch("pwd"))
    folder = output.strip()
    record = read_record(tmp_path / "record")
    assert code == 0
    assert record["argv"] == [
        "exec",
        "--bind=/data",
        f"--bind={folder}",
        f"--pwd={folder}",
        "i.sif",
        "/bin/bash",
        "-c",
        "pwd",
    ]


@pytest.mark.parametrize(
    ("gpu", "flags"),
    [("False", []), ("no", []), ("True", ["--nv"]), ("nv", ["--nv"]), ("rocm", ["--rocm"]), ("1", ["--nv"])],
)
def test_apptainer_gives_the_gpus_that_are_asked_for(gpu: str, flags: list[str]) -> None:
    launch = ApptainerRunner("i.sif", gpu=gpu, program="singularity").launch("x")
    assert launch.argv == ["singularity", "exec", *flags, "i.sif", "/bin/bash", "-c", "x"]


# -- Podman -----------------------------------------------------------------------------------------


def test_podman_gets_all_its_options(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    here = tmp_path / 'a, b"'
    here.mkdir()
    monkeypatch.chdir(here)
    runner = PodmanHPCRunner(
        image="image:1",
        setup="source s",
        volumes="/data:/data /c:/d:ro",
        environment="A='x y' HOME",
        gpu="True",
        arguments="--net host",
    )
    quoted = str(here).replace('"', '""')
    launch = runner.launch("reco")
    assert launch.argv == [
        *("podman-hpc", "run", "--rm", "--init", "--preserve-fds=1", "--entrypoint=/bin/bash"),
        *("--env=PROC_NUMBER", "--env=TASKFARMER_*", "--env=A=x y", "--env=HOME", "--gpu"),
        *("--volume=/data:/data", "--volume=/c:/d:ro"),
        *(f'--mount=type=bind,"source={quoted}","target={quoted}"', f"--workdir={here}", "--net", "host"),
        *("image:1", "-c", "source s && reco"),
    ]
    assert launch.patience > 0


class Container(NamedTuple):
    """A Podman that works here."""

    storage: list[str]
    """The command, with the options that say where its images are."""
    flags: list[str]
    """What ``run`` needs on this machine."""
    image: str

    def podman(self) -> str:
        """Return the text of a program that adds what this machine needs."""
        return f"""
import os, sys
verb = sys.argv[1:2]
command = {self.storage!r} + verb + ({self.flags!r} if verb == ["run"] else []) + sys.argv[2:]
os.execv({shutil.which("podman")!r}, command)
"""

    def clear(self) -> None:
        """Remove all containers; those whose monitor was killed only go away at the second call."""
        for _ in range(2):
            subprocess.run([*self.storage, "rm", "--all", "--force"], capture_output=True, check=False)

    def all(self, *options: str) -> list[str]:
        """Return the containers that there are."""
        result = subprocess.run([*self.storage, "ps", "-aq", *options], capture_output=True, text=True, check=True)
        return result.stdout.split()

    def running(self) -> list[str]:
        """Return the containers that Podman knows to run: it passes on no signal to others."""
        return self.all("--filter=status=running")


@pytest.fixture(scope="module")
def container() -> Iterator[Container]:
    """Return a Podman with an image of this machine's bash."""
    if shutil.which("podman") is None:
        skip_or_fail("podman is not installed")
    folder = Path(tempfile.mkdtemp(prefix="tf-"))  # Podman's sockets need short paths
    storage = ["podman", *(f"--{name}={folder}/{name}" for name in ("root", "runroot", "tmpdir"))]
    storage += ["--storage-driver=vfs", "--cgroup-manager=cgroupfs"]
    try:
        image = make_image(storage, folder)
        yield Container(storage, flags_for(storage, image), image)
    finally:
        shutil.rmtree(folder)


def make_image(storage: list[str], folder: Path) -> str:
    """Make an image of a few of this machine's programs, and the libraries that they load."""
    root = folder / "image"
    programs = ["/bin/bash", *(str(shutil.which(name)) for name in ("sleep", "env", "stat", "touch"))]
    loaded = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=True).stdout
    libraries = {word for word in loaded.replace(":", " ").split() if word.startswith("/")}
    for name in libraries | set(programs):
        target = root / name.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(name, target)
    (root / "tmp").mkdir()
    subprocess.run(["tar", "-C", root, "-cf", folder / "image.tar", "."], check=True)
    name = "localhost/test"
    subprocess.run([*storage, "import", folder / "image.tar", name], capture_output=True, check=True)
    return name


def flags_for(storage: list[str], image: str) -> list[str]:
    """Return options with which this machine can run containers at all."""
    limits = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"]  # to be root may not be enough to raise them
    tried = []
    for extra in ([], ["--cgroups=disabled"], [*limits, "--cgroups=disabled"], [*limits, "--cgroups=no-conmon"]):
        for run_time in ("crun", "runc"):
            if shutil.which(run_time) is None:
                continue
            command = [
                *storage,
                f"--runtime={run_time}",
                "run",
                "--rm",
                "--network=none",
                *extra,
                image,
                "/bin/bash",
                "-c",
                ":",
            ]
            result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
            if result.returncode == 0:
                storage.append(f"--runtime={run_time}")
                return ["--network=none", *extra]
            tried.append(result.stderr.strip()[-200:])
    pytest.skip(f"this machine does not let Podman run containers: {tried}")


@pytest.fixture
def podman_stage(tmp_path: Path, container: Container, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """Return a stage with Podman, in a folder whose name needs care."""
    here = tmp_path / 'here, "quoted"'
    here.mkdir()
    monkeypatch.chdir(here)
    modules = Path(sys.prefix) / "etc" / "podman_hpc" / "modules.d"
    if not modules.is_dir():
        skip_or_fail("podman-hpc is not installed beside this Python")
    environ = {"PODMANHPC_USE_DEFAULT_ARGS": "False", "PODMANHPC_MODULES_DIR": str(modules), "USER": "tester"}
    text = container.podman()
    with staged(tmp_path, monkeypatch, TMPDIR=str(here), VISIBLE="no", **environ) as stage:
        stage.program("podman", text)
        yield stage
    assert container.all() == []


def test_a_task_in_podman_is_where_it_would_be_without_it(podman_stage: Stage, container: Container) -> None:
    task = 'echo "$PROC_NUMBER $TASKFARMER_TASK $TASKFARMER_FARMER|$A|$HOST_NAME|$VISIBLE|$B|$PWD"; echo x > file; exit 3'
    runner = PodmanHPCRunner(container.image, setup="B=$ENABLE_GPU", environment="A='x y' HOST_NAME=h", gpu="True")
    code, output = podman_stage.run(runner.launch(task))
    assert (code, output) == (3, f"0 0 {podman_stage.farmer}|x y|h||1|{Path.cwd()}\n")
    assert Path("file").read_text() == "x\n"


def test_a_task_in_podman_has_a_directory_of_its_own(podman_stage: Stage, container: Container) -> None:
    runner = PodmanHPCRunner(container.image, tempdir="True", arguments="--init=false")
    code, output = podman_stage.run(runner.launch(f"pwd; stat -c %a .; touch 'a b'; cd {shlex.quote(os.getcwd())}"))
    folder, mode = output.splitlines()
    assert (code, mode) == (0, "700")
    assert Path(folder).parent == Path.cwd()
    assert list(Path.cwd().iterdir()) == []


def test_a_task_that_looks_like_an_option_reaches_the_shell(podman_stage: Stage, container: Container) -> None:
    code, output = podman_stage.run(PodmanHPCRunner(container.image).launch("--help"))
    assert (code, "--help: command not found" in output) == (127, True)


@pytest.mark.parametrize("tempdir", ["False", "True"])
def test_a_line_that_is_too_long_for_an_argument_runs_in_podman(
    tempdir: str, podman_stage: Stage, container: Container
) -> None:
    runner = PodmanHPCRunner(container.image, setup="true", tempdir=tempdir)
    ended = podman_stage.run(runner.launch(LONG_TASK.format("é" * 100_000 + "..")))
    assert ended == (3, "200002 /bin/bash 0 ..\n")  # it counts bytes: no locale is there


@pytest.mark.parametrize("tempdir", ["False", "True"])
def test_a_task_in_podman_that_is_stopped_ends_at_once(podman_stage: Stage, container: Container, tempdir: str) -> None:
    runner = PodmanHPCRunner(container.image, tempdir=tempdir)
    launch = runner.launch("trap 'echo told; exit 9' TERM; echo ready; sleep 100 & wait")
    task = podman_stage.start(replace(launch, patience=60))
    wait_for(lambda: "ready" in podman_stage.log(task) and container.running(), deadline=60, what="the task")
    (run,) = podman_stage.pool.kill(30)
    assert run.returncode == 9
    assert podman_stage.log(task).split() == ["ready", "told"]
    assert podman_stage.processes() == []
    assert list(Path.cwd().iterdir()) == []


def test_a_container_is_found_by_its_lock_and_its_variables(podman_stage: Stage, container: Container) -> None:
    runner = PodmanHPCRunner(container.image)
    task = podman_stage.start(runner.launch("trap '' TERM; echo ready; env -i /bin/bash -c 'while :; do sleep 1; done'"))
    wait_for(lambda: "ready" in podman_stage.log(task), deadline=60, what="the task")
    wait_for(lambda: "sleep" in names_of(podman_stage.processes()), deadline=30, what="the process that has no variables")
    assert {"podman", "conmon", "bash"} <= set(names_of(podman_stage.processes()))
    assert owners.kill_processes(podman_stage.owner, 30)
    (run,) = wait_for(podman_stage.pool.reap, deadline=30, what="the end of the task")
    assert run.returncode == -9
    assert podman_stage.processes() == []
    container.clear()


def names_of(pids: list[int]) -> list[str]:
    """Return the names of processes."""
    names = []
    for pid in pids:
        try:
            names.append(Path(f"/proc/{pid}/comm").read_text().strip())
        except OSError:
            continue
    return names


# -- bad options ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cls", "options", "message"),
    [
        (ShifterRunner, {"image": ""}, "image: is empty"),
        (ShifterRunner, {"image": "--help"}, "image: '--help' is not the name of an image"),
        (ShifterRunner, {"image": "i", "tempdir": "maybe"}, "tempdir: 'maybe' is not one of True, False"),
        (ShifterRunner, {"image": "i", "setup": "a\nb"}, "setup: has more than one line; a command has one"),
        (ApptainerRunner, {"image": "i", "gpu": "intel"}, "gpu: 'intel' is not one of True, False, nv, rocm"),
        (ApptainerRunner, {"image": "i", "environment": "1A=2"}, "environment: '1A=2' is neither NAME=VALUE nor NAME"),
        (ApptainerRunner, {"image": "i", "environment": "A='b"}, 'environment: no closing quotation in "A=\'b"'),
        (ApptainerRunner, {"image": "i", "environment": "A='\"'"}, 'Apptainer takes no double quote (") in a value'),
        (ApptainerRunner, {"image": "i", "arguments": "'"}, "arguments: no closing quotation"),
        (PodmanHPCRunner, {"image": "i", "gpu": "rocm"}, "gpu: 'rocm' is not one of True, False"),
        (PodmanHPCRunner, {"image": "i", "program": " "}, "program: is empty"),
    ],
)
def test_an_option_with_a_bad_value_is_named(cls: Any, options: Mapping[str, str], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        cls(**options)
    assert message in str(caught.value)


def test_podman_needs_a_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(Exception, match="the working directory cannot be used"):
        PodmanHPCRunner("i")
    monkeypatch.chdir(tmp_path)
    assert json.dumps(PodmanHPCRunner("i").launch("x").argv).count(os.fspath(tmp_path)) == 3
