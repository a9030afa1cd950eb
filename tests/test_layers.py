"""The house keeps its shape: imports go down, folders and rooms stay small enough to be read."""

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import BIN, ROOT

PACKAGE = ROOT / "taskfarmer_mpi"
MODULES = sorted(PACKAGE.rglob("*.py"))
GROUND_FLOOR = 6
FOLDER = 14
"""How many modules a folder may have."""
MODULE = 300
FUNCTION = 50
"""How many lines one may have."""


def _lint(checkout: Path) -> subprocess.CompletedProcess[str]:
    environ = os.environ | {"PYTHONPATH": str(checkout), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [str(BIN / "lint-imports"), str(checkout / "setup.cfg"), "--no-cache"]
    return subprocess.run(command, cwd=checkout, env=environ, capture_output=True, text=True, check=False)


def test_imports_keep_the_contracts() -> None:
    result = _lint(ROOT)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("common/wording.py", "from taskfarmer_mpi.farmer import pool", "Folders import downwards only"),
        ("visits/pace.py", "from taskfarmer_mpi.farmer import farmer", "Modules of a folder import each other one way"),
        ("cli/main.py", "import filelock", "filelock has one door"),
    ],
)
def test_a_wrong_import_breaks_its_contract(tmp_path: Path, module: str, line: str, contract: str) -> None:
    shutil.copytree(PACKAGE, tmp_path / "taskfarmer_mpi", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "setup.cfg", tmp_path)
    with (tmp_path / "taskfarmer_mpi" / module).open("a") as file:
        file.write(f"\n{line}\n")
    result = _lint(tmp_path)
    assert result.returncode == 1, result.stdout
    assert f"{contract} BROKEN" in result.stdout


def test_folders_are_small() -> None:
    folders = {path.parent for path in MODULES}
    sizes = {folder: len([path for path in folder.glob("*.py") if path.name != "__init__.py"]) for folder in folders}
    assert len(list(PACKAGE.glob("*.py"))) <= GROUND_FLOOR
    assert {folder: size for folder, size in sizes.items() if size > FOLDER} == {}


def test_modules_are_short() -> None:
    assert {path: lines for path in MODULES if (lines := path.read_text().count("\n")) > MODULE} == {}


def _functions(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{path}:{node.lineno} {node.name}", (node.end_lineno or 0) - node.lineno + 1


def test_functions_are_short() -> None:
    assert {name: lines for path in MODULES for name, lines in _functions(path) if lines > FUNCTION} == {}


@pytest.mark.parametrize("folder", sorted(PACKAGE.rglob("__init__.py")), ids=lambda path: path.parent.name)
def test_a_folder_says_what_it_is_for(folder: Path) -> None:
    assert ast.get_docstring(ast.parse(folder.read_text()))


def test_importing_all_folders_imports_no_module_of_them() -> None:
    folders = sorted(path.parent.relative_to(ROOT).as_posix().replace("/", ".") for path in PACKAGE.rglob("__init__.py"))
    code = f"import sys, {', '.join(folders)}; print(*(name for name in sys.modules if name.startswith('taskfarmer_mpi')))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(result.stdout.split()) == {*folders, "taskfarmer_mpi.common.public_names"}


def test_each_folder_says_what_always_holds_and_where_to_begin() -> None:
    folders = [path for path in PACKAGE.iterdir() if (path / "__init__.py").exists()]
    trees = {path.name: ast.parse((path / "__init__.py").read_text()) for path in folders}
    texts = {name: " ".join((ast.get_docstring(tree) or "").split()) for name, tree in trees.items()}
    assert len(texts) > 10
    assert [name for name, text in texts.items() if "hat always holds" not in text or "Begin with" not in text] == []
