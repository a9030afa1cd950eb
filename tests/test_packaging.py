"""Recipes, changelog and release workflow say the same as the package."""

import configparser
import re
import tomllib

import pytest
from helpers import ROOT

import taskfarmer_mpi

PACKAGING = ROOT / "docs" / "packaging"
RECIPES = sorted(path for path in PACKAGING.rglob("*") if path.is_file() and not path.name.startswith("."))
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg")


def _bounds(requirement: str) -> tuple[str, list[str]]:
    """Return the name and the numbers of a requirement: filelock, ["4", "5"]."""
    name = re.match(r"[\w-]+", requirement)
    assert name is not None
    return name[0], re.findall(r"[\d.]+", requirement[name.end() :])


def test_there_is_a_recipe_for_each_way_of_packaging() -> None:
    folders = {path.parent.name for path in RECIPES}
    assert folders == {"spack", "conda-forge", "easybuild", "module", "apptainer", "docker"}


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.parent.name)
def test_a_recipe_has_the_version_of_the_package(recipe: object) -> None:
    text = f"{recipe}\n" + (PACKAGING / str(recipe)).read_text()
    assert taskfarmer_mpi.__version__ in text
    versions = set(re.findall(r"(?:taskfarmer[-_]mpi[^ \n']*?[-=/]|[Vv]ersion[:\s=(]+['\"]?)(\d+\.\d+\.\d+)", text))
    assert versions <= {taskfarmer_mpi.__version__}


@pytest.mark.parametrize("requirement", SETUP["options"]["install_requires"].split())
def test_recipes_have_the_dependencies_of_the_package(requirement: str) -> None:
    name, bounds = _bounds(requirement)
    spack = (PACKAGING / "spack" / "package.py").read_text()
    assert re.search(rf'depends_on\("py-{name}@{bounds[0]}:', spack)
    conda = (PACKAGING / "conda-forge" / "recipe.yaml").read_text()
    assert f"- {name} {requirement.removeprefix(name)}\n" in conda
    (easybuild,) = (PACKAGING / "easybuild").glob("*.eb")
    assert re.search(rf"\('{name}', '{bounds[0]}\.", easybuild.read_text())


def test_recipes_want_the_python_of_the_package() -> None:
    oldest = SETUP["options"]["python_requires"].removeprefix(">=")
    assert f'depends_on("python@{oldest}:"' in (PACKAGING / "spack" / "package.py").read_text()
    assert f'python_min: "{oldest}"' in (PACKAGING / "conda-forge" / "recipe.yaml").read_text()


def test_recipes_in_python_can_be_read() -> None:
    (easybuild,) = (PACKAGING / "easybuild").glob("*.eb")
    for recipe in (PACKAGING / "spack" / "package.py", easybuild):
        compile(recipe.read_text(), str(recipe), "exec")


def test_the_entry_points_of_conda_are_those_of_the_package() -> None:
    scripts = [line for line in SETUP["options.entry_points"]["console_scripts"].splitlines() if line]
    conda = (PACKAGING / "conda-forge" / "recipe.yaml").read_text()
    assert scripts
    assert [script for script in scripts if f"- {script}\n" not in conda] == []


def test_fragments_of_the_changelog_are_of_known_kinds_and_their_place_is_there() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["towncrier"]
    kinds = {kind["directory"] for kind in settings["type"]}
    names = [path.name for path in (ROOT / settings["directory"]).iterdir() if not path.name.startswith(".")]
    assert [name for name in names if not re.fullmatch(rf"[+\w-]+\.({'|'.join(kinds)})\.md", name)] == []
    assert (ROOT / settings["filename"]).read_text().count(settings["start_string"]) == 1
