"""The committed completion files, in the shells that they are for."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from helpers import ROOT, Site, wait_for
from terminal import on_terminal

FISH = ROOT / "share" / "fish" / "vendor_completions.d"
ZSH = ROOT / "share" / "zsh" / "site-functions"
LINES = [
    ("taskfarmer-ctl", "taskfarmer-ctl sta", "status"),
    ("taskfarmer-ctl", "taskfarmer-ctl watch --pla", "--plain"),
    ("taskfarmer-mpi", "taskfarmer-mpi --task-gr", "--task-grace"),
]


def _shell(name: str) -> str:
    """Return the path of a shell; leave the test out where it is not installed."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


@pytest.mark.parametrize(("program", "line", "word"), LINES)
def test_fish_completes(program: str, line: str, word: str) -> None:
    code = f'source "$argv[1]"; complete -C "{line}"'
    command = [_shell("fish"), "--no-config", "-c", code, str(FISH / f"{program}.fish")]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    assert [offer.split("\t")[0] for offer in said.splitlines()] == [word]


@pytest.mark.parametrize("program", ["taskfarmer-ctl", "taskfarmer-mpi"])
def test_zsh_understands_the_file(program: str) -> None:
    subprocess.run([_shell("zsh"), "-n", str(ZSH / f"_{program}")], check=True, timeout=120)


@pytest.mark.parametrize(("program", "line", "word"), LINES)
def test_zsh_completes_at_the_tabulator(program: str, line: str, word: str, site: Site) -> None:
    zsh = _shell("zsh")
    (site.path / ".zshrc").write_text(
        f"fpath=({ZSH} $fpath)\nautoload -Uz compinit\ncompinit -u -D\nPROMPT='ready> '\nunset zle_bracketed_paste\n"
        "zstyle ':completion:*' insert-tab false\n"
    )
    environ = site.environ(TERM="dumb", ZDOTDIR=str(site.path), COLUMNS="200")
    with on_terminal(site, [zsh, "-i"], environ) as terminal:
        wait_for(lambda: b"ready> " in terminal.read(), deadline=120, what="a prompt")
        terminal.press(f"{line}\t".encode())
        wait_for(
            lambda: line.split()[-1].encode() in terminal.read() and word.encode() in terminal.read(),
            deadline=120,
            what=f"{program} {word}",
        )
        assert word.encode() in terminal.read()
        terminal.press(b"\x15exit\n")
        terminal.process.wait(120)
