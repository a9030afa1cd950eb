"""A module imports only from lower layers, and heavy packages have doors."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "taskfarmer_mpi"

LAYERS = (
    {
        "arguments",
        "errors",
        "filesystem",
        "guardian",
        "foreign",
        "importing",
        "launcher",
        "outside",
        "progress",
        "scheduling",
        "wording",
        "__init__",
    },
    {
        "bar",
        "slurm",
        "task",
        "walltime",
        "workdir",
        "tasklist",
        "options",
        "fields",
        "news",
        "causes",
        "advice",
        "figures",
        "steps",
        "trace_server",
        "perfetto_ui",
        "marks",
    },
    {
        "locks",
        "signals",
        "mpi",
        "runners",
        "pace",
        "book",
        "monitors",
        "registry",
        "stops",
        "events",
        "ranges",
        "axis",
        "plain_events",
    },
    {
        "config",
        "journal",
        "farm",
        "pool",
        "muster",
        "plugins",
        "containers",
        "atlas",
        "table",
        "template",
        "watcher",
        "outputs",
    },
    {"checkup", "counting", "feed", "history", "glance", "lists", "roster", "plan", "reopen"},
    {
        "visit",
        "recovery",
        "census",
        "departure",
        "places",
        "growth",
        "texts",
        "retry",
        "whereabouts",
        "failures",
        "packing",
        "plain",
        "runtable",
        "trace_events",
    },
    {"prepare", "farmer", "status", "ledger", "farmer_lane", "totals", "trace_input"},
    {"crew", "hooks", "summary", "observer", "screen", "rows", "report", "plain_part"},
    {"display", "start", "lanes", "database", "console", "trace"},
    {"timeline", "page"},
    {"launch"},
    {"cli", "commands"},
    {"__main__", "ctl"},
)
LAYER = {module: number for number, layer in enumerate(LAYERS) for module in layer}
DOORS = {
    "filelock": {"locks"},
    "mpi4py": {"mpi"},
    "ctypes": {"scheduling"},
    "rich": {"bar"},
    "jinja2": {"page"},
    "sqlite3": {"database"},
    "subprocess": {"outside", "events", "monitors"},
}

modules = pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: f"module-{path.stem}".replace("mpi", "m")
)


def module_of(path: Path) -> str:
    """Return the name by which a module has a layer: all commands have the same."""
    return path.stem if path.parent == PACKAGE else "commands"


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "taskfarmer_mpi":
            names |= {f"taskfarmer_mpi.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return names


@modules
def test_a_module_imports_only_from_lower_layers(path: Path) -> None:
    own = {name.split(".")[1] for name in imported(path) if name.startswith("taskfarmer_mpi.")} - {"__version__"}
    assert all(LAYER[name] < LAYER[module_of(path)] for name in own), own


@modules
def test_a_heavy_package_is_imported_only_at_its_doors(path: Path) -> None:
    used = {name.split(".")[0] for name in imported(path)} & DOORS.keys()
    assert all(module_of(path) in DOORS[name] for name in used), used


def test_every_module_has_a_layer() -> None:
    assert {module_of(path) for path in PACKAGE.rglob("*.py")} == LAYER.keys()
