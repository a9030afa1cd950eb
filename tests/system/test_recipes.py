"""Every shell recipe of the documentation does what it says: each is run, in a fresh directory.

A recipe is an indented block, or a part of one, that begins with one of our commands or those that go with them, or
has a line after a ``$``. What the pages show as INI sections is there when the recipes after it are run, and what
they show by ``$ cat FILE`` for the next one. Slurm, containers and programs of the user's own are stand-ins. A block
below ``<!-- not run: WHY -->`` is left out.
"""

from __future__ import annotations

import gzip
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from conftest import skip_or_fail
from helpers import MPIEXEC, ROOT, Site

PAGES = [ROOT / "README.md", *sorted(page for page in (ROOT / "docs").glob("*.md") if page.name != "design.md")]
NOT_RUN = re.compile(r"<!-- not run: (.+) -->")
FORMS = "it shows the forms of commands"
OURS = r"(?:taskfarmer-ctl|taskfarmer-mpi|python -m taskfarmer_mpi\S*|srun|sbatch|mpiexec)\b"
FIRST_WORDS = re.compile(
    rf"(?:{OURS}|#SBATCH|pip|parallel|sqlite3|scontrol|scancel|eval|git|scripts/|source|export|[A-Z_]+=\S+ \S)"
)
SYNOPSIS = [
    (re.compile(r" \[OPTIONS\]"), ""),
    (re.compile(r"\[tasklist\]"), "mywork.tasks"),
    (re.compile(r" \[(-[^]]*)\]"), r" \1"),
    (re.compile(r"(?<=--)(\w+) FILE\b"), r"\1 made.\1"),
    (re.compile(r" (N|SECONDS)\b"), " 3"),
    (re.compile(r"\bWORKDIR\b"), "mywork.tasks_workdir"),
    (re.compile(r"\{(\w+)(?:,\w+)+\}"), r"\1"),
]
"""What stands for something in a recipe, and what is put there; of several choices the first one is taken."""

STAND_INS = {
    "srun": "ranks=1; while [[ $1 == -* ]]; do case $1 in -N[2-9]*) ranks=2 ;; esac; shift; done\n"
    f'if [ "$ranks" = 1 ]; then exec "$@"; fi; exec {MPIEXEC} -n "$ranks" "$@"',
    "sbatch": 'while [[ $1 == -* ]]; do shift; done; export SLURM_JOB_ID=7; exec bash "$@"',
    "scontrol": 'echo "scontrol $*" >> said',
    "mail": "cat >> said",
    "apptainer": 'while [ "$1" != /bin/bash ]; do shift; done; exec "$@"',
    "shifter": 'while [ "$1" != /bin/bash ]; do shift; done; exec "$@"',
    "simulate": "echo simulated",
    "fit": "echo fitted",
    "sqlite3": f'exec {sys.executable} asked-sqlite "$@"',
    "pip": f'exec {sys.executable} checked-pip "$@"',
}
ASKED_SQLITE = "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute(sys.argv[2]).fetchall())"
CHECKED_PIP = """import configparser, re, sys
config = configparser.ConfigParser()
config.read({setup!r})
extras = [extra for group in re.findall(r"\\[(.*)\\]", sys.argv[2]) for extra in group.split(",")]
sys.exit(sys.argv[1] != "install" or not all(extra in config["options.extras_require"] for extra in extras))
"""


@dataclass(frozen=True)
class Recipe:
    """Commands, and what is there before them."""

    page: Path
    line: int
    commands: list[str]
    shown: list[list[str]]
    """For each command the lines of its output that the page shows."""
    files: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Where it is."""
        return f"{self.page.name}-{self.line}"


def _blocks(page: Path) -> Iterator[tuple[int, list[str], str | None]]:
    """Yield the indented blocks of a page: number of the first line, lines without the indentation, why it is not run."""
    reason: str | None = None
    block: list[str] = []
    first = 0
    for number, line in enumerate([*page.read_text().split("\n"), "end"], 1):
        if re.match(r" {4,}\S", line) or (block and not line.strip()):
            first = first if block else number
            block.append(line)
            continue
        if block:
            width = min(len(row) - len(row.lstrip()) for row in block if row.strip())
            yield first, [row[width:] for row in block], reason
            block, reason = [], None
        if line.strip():
            mark = NOT_RUN.fullmatch(line.strip())
            reason = mark[1] if mark else None


def _parts(lines: list[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield what blank lines separate, with its place in the block."""
    part: list[str] = []
    for place, line in enumerate([*lines, ""]):
        if line.strip():
            part.append(line)
        elif part:
            yield place - len(part), part
            part = []


def _steps(part: list[str]) -> tuple[list[str], list[list[str]]]:
    """Return the commands after each ``$``, and what the page shows of the output of each."""
    commands: list[str] = []
    shown: list[list[str]] = []
    for line in part:
        if line.startswith("$ "):
            commands.append(line[2:])
            shown.append([])
        else:
            shown[-1].append(line)
    return commands, shown


def _recipes(page: Path) -> Iterator[Recipe]:
    ini = ""
    files: dict[str, str] = {}
    for first, lines, reason in _blocks(page):
        if reason is not None:
            continue
        found = []
        for place, part in _parts(lines):
            if re.match(r"\[\w+\]$", part[0]):
                ini += "\n".join(part) + "\n\n"
            elif part[0].startswith("$ cat "):
                files[part[0].split()[2]] = "\n".join(part[1:]) + "\n"
            elif part[0].startswith("$ "):
                found.append((first + place, *_steps(part)))
            elif FIRST_WORDS.match(part[0]):
                found.append((first + place, ["\n".join(part)], [[]]))
        for number, commands, shown in found:
            yield Recipe(page, number, commands, shown, {**files, "page.ini": ini})
            files.clear()


RECIPES = [recipe for page in PAGES for recipe in _recipes(page)]


LEFT_OUT = (
    "CI does it",
    "it needs a published release",
    "tests/system/test_slurm.py starts the cluster",
    "scripts/snakemake-farm does it",
    "the programs are made up",
    *(f"there is no {scheduler} here" for scheduler in ("PBS", "LSF", "Grid Engine", "Flux")),
)
"""Why each recipe that is not run is not."""


def test_recipes_are_found_and_few_are_left_out() -> None:
    assert len(RECIPES) >= 18
    left_out = [reason for page in PAGES for _, _, reason in _blocks(page) if reason not in (None, FORMS)]
    assert sorted(left_out) == sorted(LEFT_OUT)
    for page in PAGES:
        for first, lines, reason in _blocks(page):
            for place, part in _parts(lines):
                is_run = any(recipe.page == page and recipe.line == first + place for recipe in RECIPES)
                is_ours = any(re.match(rf"(?:\$ )?{OURS}", line) for line in part)
                assert is_run or reason is not None or not is_ours, f"{page.name}:{first + place}: {part[0]}"


def _prepare(recipe: Recipe, site: Site) -> dict[str, str]:
    """Make what the recipe finds; return its environment."""
    folder = site.path
    for name, text in STAND_INS.items():
        (folder / "bin" / name).parent.mkdir(exist_ok=True)
        (folder / "bin" / name).write_text(f"#!/bin/bash\n{text}\n")
        (folder / "bin" / name).chmod(0o755)
    (folder / "checked-pip").write_text(CHECKED_PIP.format(setup=str(ROOT / "setup.cfg")))
    (folder / "asked-sqlite").write_text(ASKED_SQLITE)
    (folder / "train").write_text("#!/bin/sh\n")
    (folder / "train").chmod(0o755)
    (folder / "data").mkdir()
    (folder / "data" / "a.bin").write_bytes(b"a")
    (folder / "data" / "b.gz").write_bytes(gzip.compress(b"x\n"))
    (folder / "analyse.py").write_text("import sys\nopen(sys.argv[-1])\n")
    (folder / "points.csv").write_text("mass,seed\n100,1\n200,2\n")
    for name in ("mywork.tasks", "tasks"):
        (folder / name).write_text("true\necho 2\n")
    for name, text in recipe.files.items():
        (folder / name).write_text(text.replace("/var/lib/node_exporter/textfile", str(folder)))
    return site.environ(
        PATH=f"{folder}/bin:{site.environ()['PATH']}", CUDA_VISIBLE_DEVICES="0,1,2,3", SLURM_TMPDIR=str(folder)
    )


def _make_workdir(recipe: Recipe, site: Site) -> None:
    """Make the work directory and the tables of a farm, where the recipe is about them; one task of it failed."""
    text = "\n".join(recipe.commands)
    if not re.search(r"WORKDIR|_workdir|joblog|farm\.db", text):
        return
    (site.path / "mywork.tasks").write_text("true\n[ -e mended ]\n")
    site.farm("mywork.tasks").succeed(60, code=1)
    if "joblog" in text or "farm.db" in text:
        words = ("export", "mywork.tasks_workdir", "--joblog", "joblog", "--sqlite", "farm.db", "--force")
        site.start(sys.executable, "-m", "taskfarmer_mpi.ctl", *words).succeed(60)
    (site.path / "mended").touch()


def _adapt(command: str) -> str:
    for pattern, text in SYNOPSIS:
        command = pattern.sub(text, command)
    return command


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_a_recipe_works(recipe: Recipe, site: Site) -> None:
    environ = _prepare(recipe, site)
    _make_workdir(recipe, site)
    for command, shown in zip(recipe.commands, recipe.shown, strict=True):
        has_failed = any(re.match(r"\d+ tasks: .*[1-9]\d* failed", line) for line in shown)
        words = _adapt(command)
        if words.startswith("parallel ") and site.start("bash", "-c", "command -v parallel").wait(10):
            skip_or_fail("GNU parallel is not installed")
        process = site.start("bash", "-o", "pipefail", "-c", words, environ=environ)
        process.succeed(90, code=1 if has_failed else 0)
        assert "Traceback" not in process.stderr
        for line in shown:
            assert not re.match(r"\d+ tasks: ", line) or line in process.stdout.splitlines()


def test_a_failed_task_runs_again_by_the_documented_command_of_parallel(site: Site) -> None:
    (recipe,) = [recipe for recipe in RECIPES if recipe.commands[0].startswith("parallel ")]
    test_a_recipe_works(recipe, site)
    rows = [line.split("\t") for line in (site.path / "joblog").read_text().splitlines()[1:]]
    assert [row[6] for row in rows if row[8].startswith("[ -e")][-1:] == ["0"]


# -- commands within a line -------------------------------------------------------------------------

INLINE = re.compile(r"`((?:taskfarmer-ctl|taskfarmer-mpi|python -m taskfarmer_mpi)\b[^`]*)`")


def _inline_options() -> dict[tuple[str, str], list[str]]:
    """Return the options that the pages name for each command, and where."""
    found: dict[tuple[str, str], list[str]] = {}
    for page in PAGES:
        if page.name == "coming-from.md":  # test_coming_from.py runs what it has
            continue
        for number, line in enumerate(page.read_text().split("\n"), 1):
            for text in INLINE.findall(line):
                words = re.split(r"[\s\[\]]+", text.replace("python -m taskfarmer_mpi", "taskfarmer-mpi"))
                command = words[1] if words[0] == "taskfarmer-ctl" and len(words) > 1 else ""
                for word in words[1:]:
                    if word.startswith("-"):
                        option = word.partition("=")[0]
                        found.setdefault((command, option), []).append(f"{page.name}:{number}")
    return found


def test_options_that_the_pages_name_are_those_of_their_commands(site: Site) -> None:
    options = _inline_options()
    assert len(options) >= 5
    helps: dict[str, str] = {}
    for (command, option), places in options.items():
        if command not in helps:
            module = ("taskfarmer_mpi.ctl", command) if command else ("taskfarmer_mpi",)
            process = site.start(sys.executable, "-m", *module, "--help")
            process.succeed(30)
            helps[command] = process.stdout
        assert re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", helps[command]), (command, option, places)


def test_the_recipe_that_packs_short_tasks_loses_none(site: Site) -> None:
    page = (ROOT / "docs" / "how-to.md").read_text().splitlines()
    (command,) = [line.strip() for line in page if line.endswith("> packed.tasks")]
    commands = [f"echo {number}" for number in range(15)]
    lines = ["# a comment", *commands[:4], "", "  ", "#TF name=x", *commands[4:]]
    (site.path / "mywork.tasks").write_text("".join(f"{line}\n" for line in lines))
    site.start("bash", "-c", command).succeed(60)
    packed = (site.path / "packed.tasks").read_text().splitlines()
    assert [line.split(" && ") for line in packed] == [commands[:10], commands[10:]]
