"""What a user gets who installs the wheel: man pages that man finds and renders, and completion in a real shell."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from conftest import find_tool
from helpers import ROOT, clean_environment

from taskfarmer_mpi import __version__

PROGRAMS = ("taskfarmer-mpi", "taskfarmer-ctl")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    leave_out = shutil.ignore_patterns(".*", "build", "dist", "__pycache__", "*.egg-info", "tests", "images")
    shutil.copytree(ROOT, source, ignore=leave_out)
    _run("pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(folder), str(source))
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def prefix(wheel: Path) -> Path:
    """Install it into a fresh environment."""
    folder = wheel.parent / "environment"
    _run("venv", "--without-pip", str(folder))
    _run("pip", "--python", str(folder), "install", "-q", "--no-deps", "--no-index", str(wheel))
    return folder


def _run(*words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *words], env=clean_environment(), timeout=120, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_wheel_has_all_that_is_in_share_and_the_templates(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    data = {name.partition(".data/data/")[2] for name in names if ".data/data/" in name}
    assert data == {path.relative_to(ROOT).as_posix() for path in (ROOT / "share").rglob("*") if path.is_file()}
    for name in PROGRAMS:
        assert {f"share/man/man1/{name}.1", f"share/bash-completion/completions/{name}"} <= data
        assert {f"share/zsh/site-functions/_{name}", f"share/fish/vendor_completions.d/{name}.fish"} <= data
    assert {"taskfarmer_mpi/cli/templates/batch.sh", "taskfarmer_mpi/py.typed"} <= set(names)


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_programs_start_there(program: str, prefix: Path) -> None:
    done = subprocess.run(
        [prefix / "bin" / program, "--version"],
        env=clean_environment(),
        timeout=60,
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout == f"{program} {__version__}\n"


@pytest.mark.parametrize("program", PROGRAMS)
def test_man_finds_the_page_beside_the_program_and_renders_it_without_a_warning(program: str, prefix: Path) -> None:
    environ = clean_environment(PATH=f"{prefix}/bin:{os.environ['PATH']}", MANWIDTH="100", MAN_DISABLE_SECCOMP="1")
    environ.pop("MANPATH", None)
    command = [find_tool("man"), "--warnings=w", program]
    done = subprocess.run(command, env=environ, timeout=60, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{program.upper()}(1)")
    assert "\nSYNOPSIS\n" in done.stdout
    assert (
        "--task-timeout SECONDS|N%" if program == "taskfarmer-mpi" else "taskfarmer-ctl stop [OPTIONS] WORKDIR"
    ) in done.stdout


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("taskfarmer-ctl sto\t", "taskfarmer-ctl stop"),
        ("taskfarmer-ctl st\t\t", "status  stop"),
        ("taskfarmer-ctl retry --si\t", "taskfarmer-ctl retry --since"),
        ("taskfarmer-ctl status my\t", "taskfarmer-ctl status mywork.tasks"),
        ("taskfarmer-mpi --task-time\t\t", "--task-time     --task-timeout"),
        ("taskfarmer-mpi --progress b\t", "taskfarmer-mpi --progress bar"),
    ],
)
def test_bash_completes_what_is_typed(typed: str, shown: str, prefix: Path, tmp_path: Path) -> None:
    (tmp_path / "mywork.tasks").touch()
    program = typed.split()[0]
    said = _type(f"source '{prefix}/share/bash-completion/completions/{program}'; echo re''ady\n", typed, shown, tmp_path)
    assert shown in said, said


def _type(first: str, typed: str, awaited: str, folder: Path) -> str:
    """Type into a bash once it is ready; return what the terminal shows, as soon as that has `awaited`, or 20 s later."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(folder)
        os.execvpe(
            "bash", ["bash", "--norc", "--noprofile", "-i"], clean_environment(TERM="dumb", PS1="> ", INPUTRC="/dev/null")
        )
    said = ""
    end = time.monotonic() + 20
    try:
        os.write(terminal, first.encode())
        is_typed = False
        while awaited not in said.rpartition("ready\r\n")[2] and time.monotonic() < end:
            if select.select([terminal], [], [], 0.1)[0]:
                said += os.read(terminal, 4096).decode(errors="replace")
            if not is_typed and "ready\r\n" in said:
                os.write(terminal, typed.encode())
                is_typed = True
    finally:
        os.close(terminal)  # the bash gets a SIGHUP
        os.waitpid(pid, 0)
    return said
