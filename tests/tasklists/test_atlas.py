"""The ATLAS handlers, with ROOT files that uproot writes, and stand-ins for ``Reco_tf.py``, ``athena.py`` and PyROOT.

The stand-ins of the programs take the options of the documentation's examples and no others, and write their output.
"""

from __future__ import annotations

import configparser
import importlib
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import uproot  # type: ignore[import-untyped]
from conftest import skip_or_fail
from helpers import contents
from stage import Stage, staged

from taskfarmer_mpi.errors import OptionError, UserError
from taskfarmer_mpi.runners.shell import BasicRunner
from taskfarmer_mpi.tasklists import root_events
from taskfarmer_mpi.tasklists.atlas import AthenaTaskList, TransformTaskList

DIGI = """
[digi]
TaskList = taskfarmer.atlas.TransformTaskList
transform = Reco_tf.py
input = HITS
output = RDO
autoConfiguration = everything
digiSteeringConf = StandardInTimeOnlyTruth
conditionsTag = default:OFLCOND-MC16-SDR-RUN2-06
geometryVersion = default:ATLAS-R2-2016-01-00-01
postInclude = default:PyJobTransforms/UseFrontier.py
preInclude = HITtoRDO:Campaigns/MC16NoPileUp.py
preExec = all:from ParticleBuilderOptions.AODFlags import AODFlags; AODFlags.ThinGeantTruth.set_Value_and_Lock(False);' \
'HITtoRDO:from Digitization.DigitizationFlags import digitizationFlags; digitizationFlags.OldBeamSpotZSize = 42
"""
VALID = """
[valid]
TaskList = taskfarmer.atlas.AthenaTaskList
jobOptions = InDetPhysValMonitoring/InDetPhysValMonitoring_topOptions.py
output = M_output.root
command = from InDetPhysValMonitoring.InDetPhysValJobProperties import InDetPhysValFlags; \
InDetPhysValFlags.doValidateTruthToRecoNtuple.set_Value_and_Lock(True)
"""
"""The examples of PyTaskFarmer's documentation."""

DIGI_OPTIONS = (
    "--autoConfiguration='everything' --digiSteeringConf='StandardInTimeOnlyTruth'"
    " --conditionsTag='default:OFLCOND-MC16-SDR-RUN2-06' --geometryVersion='default:ATLAS-R2-2016-01-00-01'"
    " --postInclude='default:PyJobTransforms/UseFrontier.py' --preInclude='HITtoRDO:Campaigns/MC16NoPileUp.py'"
    " --preExec 'all:from ParticleBuilderOptions.AODFlags import AODFlags;"
    " AODFlags.ThinGeantTruth.set_Value_and_Lock(False);'"
    " 'HITtoRDO:from Digitization.DigitizationFlags import digitizationFlags; digitizationFlags.OldBeamSpotZSize = 42'"
)
VALID_OPTIONS = (
    "--command='from InDetPhysValMonitoring.InDetPhysValJobProperties import InDetPhysValFlags;"
    " InDetPhysValFlags.doValidateTruthToRecoNtuple.set_Value_and_Lock(True)'"
)
JOB_OPTIONS = "InDetPhysValMonitoring/InDetPhysValMonitoring_topOptions.py"

_RECO = """
import argparse, json, os, sys
parser = argparse.ArgumentParser(allow_abbrev=False)
for name in ("autoConfiguration", "digiSteeringConf", "conditionsTag", "geometryVersion", "postInclude", "preInclude"):
    parser.add_argument(f"--{name}")
parser.add_argument("--athenaopt")
parser.add_argument("--preExec", nargs="+")
parser.add_argument("--inputHITSFile", required=True)
parser.add_argument("--outputRDOFile", required=True)
parser.add_argument("--skipEvents", type=int, default=0)
parser.add_argument("--maxEvents", type=int, default=-1)
given = parser.parse_args()
if open(given.inputHITSFile, "rb").read(4) != b"root":
    sys.exit("not a ROOT file")
with open(given.outputRDOFile, "w") as file:
    json.dump(vars(given), file)
sys.exit(int(os.environ.get("RECO_CODE", "0")))
"""
_ATHENA = """
import argparse, json, os, sys
parser = argparse.ArgumentParser(allow_abbrev=False)
parser.add_argument("--command")
parser.add_argument("--nprocs", type=int)
parser.add_argument("--filesInput", required=True)
parser.add_argument("--skipEvents", type=int, default=0)
parser.add_argument("--evtMax", type=int, default=-1)
parser.add_argument("jobOptions", nargs="+")
given = parser.parse_args()
with open("M_output.root", "w") as file:
    json.dump(vars(given), file)
"""
_PYROOT = """
import json, os, sys
with open(os.environ["ROOT_LOG"], "a") as file:
    file.write(f"{os.getpid()} {sys.argv[1:]}\\n")

class PyConfig:
    IgnoreCommandLineOptions = False

class gROOT:
    @staticmethod
    def SetBatch(value):
        assert PyConfig.IgnoreCommandLineOptions
        print("Welcome to ROOT")

class Tree:
    def GetEntries(self):
        return 9

class TFile:
    def __init__(self, name):
        self.name = name

    @classmethod
    def Open(cls, name):
        if "unreadable" in name:
            raise OSError(f"Failed to open file {name}")
        return None if "null" in name else cls(name)

    def IsZombie(self):
        return "zombie" in self.name

    def Get(self, name):
        assert name == "CollectionTree"
        return None if "empty" in self.name else object() if "text" in self.name else Tree()

    def Close(self):
        pass
"""


def options_of(ini: str, *more: str) -> dict[str, str]:
    """Return the options of the only section of an INI file, with more lines, without the class."""
    config = configparser.ConfigParser(interpolation=None)
    config.optionxform = str  # type: ignore[assignment,method-assign]
    config.read_string("\n".join([ini.strip(), *more]))
    (section,) = config.sections()
    return {key: value for key, value in config[section].items() if key != "TaskList"}


class Inputs:
    """ROOT files, and a tasklist of them."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.tasklist = folder / "files"
        self.tasklist.write_text("# input files\n\n")
        self.workdir = folder.parent / "it's a work dir"

    def add(self, name: str, count: int | None = None, tree: str = "CollectionTree") -> Path:
        """Write a ROOT file with `count` events, or leave it out; append its name to the tasklist."""
        path = self.folder / name
        if count is not None:
            with uproot.recreate(path) as file:
                file.mktree(tree, {"EventNumber": np.int64}).extend({"EventNumber": np.arange(count)})
        with self.tasklist.open("a") as file:
            file.write(f"{path}\n")
        return path

    def transform(self, *more: str, **options: str) -> TransformTaskList:
        """Make the handler of the documentation's example, with more lines."""
        return TransformTaskList(self.tasklist, self.workdir, **options_of(DIGI, *more), **options)

    def athena(self, *more: str) -> AthenaTaskList:
        """Make the handler of the documentation's example, with more lines."""
        return AthenaTaskList(self.tasklist, self.workdir, **options_of(VALID, *more))

    @property
    def output(self) -> str:
        """Where the outputs go, as a word of a shell."""
        return "'" + str(self.workdir / "output").replace("'", "'\"'\"'") + "'"


@pytest.fixture
def inputs(tmp_path: Path) -> Inputs:
    """Return an empty tasklist."""
    return Inputs(tmp_path / "inputs")


@pytest.fixture
def stage(tmp_path: Path, inputs: Inputs, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """Return a stage with stand-ins for the programs of ATLAS."""
    if shutil.which("rsync") is None:
        skip_or_fail("rsync is not installed")
    inputs.workdir.mkdir()
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    with staged(tmp_path, monkeypatch) as stage:
        stage.program("Reco_tf.py", _RECO)
        stage.program("athena.py", _ATHENA)
        yield stage


@pytest.fixture(autouse=True)
def _no_counts_of_other_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(root_events, "_known", {})


# -- command lines ----------------------------------------------------------------------------------


def test_a_transform_runs_once_for_each_file(inputs: Inputs) -> None:
    paths = [inputs.add("a.root", 1), inputs.add("b.root", 1)]
    handler = inputs.transform()
    assert [handler[i] for i in range(len(handler))] == [
        f"Reco_tf.py {DIGI_OPTIONS} --inputHITSFile='{path}' --outputRDOFile='RDO.{file}.root'"
        f" && rsync -avr RDO.{file}.root {inputs.output}"
        for file, path in enumerate(paths)
    ]
    assert list(handler.tasks) == [handler[0], handler[1]]


def test_a_transform_gets_the_option_for_many_processes(inputs: Inputs) -> None:
    inputs.add("a.root", 1)
    assert (
        f" {DIGI_OPTIONS} --athenaopt='all:--nprocs=64' --inputHITSFile="
        in inputs.transform("athenaopt = all:--nprocs=64")[0]
    )


def test_a_transform_is_split_by_events(inputs: Inputs) -> None:
    paths = [inputs.add("a.root", 10), inputs.add("none.root", 0), inputs.add("c.root", 4)]
    handler = inputs.transform("maxEventsPerJob = 4")
    assert list(handler.tasks) == [
        f"Reco_tf.py {DIGI_OPTIONS} --inputHITSFile='{paths[file]}' --outputRDOFile='RDO.{file}.{part}.root'"
        f" --skipEvents='{4 * part}' --maxEvents='4' && rsync -avr RDO.{file}.{part}.root {inputs.output}"
        for file, part in ((0, 0), (0, 1), (0, 2), (2, 0))
    ]


def test_athena_runs_once_for_each_file(inputs: Inputs) -> None:
    paths = [inputs.add("a.root", 1), inputs.add("b.root", 1)]
    assert list(inputs.athena("nprocs = 64").tasks) == [
        f"athena.py {VALID_OPTIONS} --nprocs='64' --filesInput='{path}' {JOB_OPTIONS}"
        f" && rsync -avr M_output.root {inputs.output[:-1]}/M_output.root.{task_id}'"
        for task_id, path in enumerate(paths)
    ]


def test_athena_is_split_by_events(inputs: Inputs) -> None:
    paths = [inputs.add("a.root", 5), inputs.add("b.root", 2)]
    assert list(inputs.athena("maxEventsPerJob = 3.0").tasks) == [
        f"athena.py {VALID_OPTIONS} --filesInput='{paths[file]}' --skipEvents='{skip}' --evtMax='3' {JOB_OPTIONS}"
        f" && rsync -avr M_output.root {inputs.output[:-1]}/M_output.root.{task_id}'"
        for task_id, (file, skip) in enumerate(((0, 0), (0, 3), (1, 0)))
    ]


def test_files_that_are_appended_append_tasks(inputs: Inputs) -> None:
    inputs.add("a.root", 7)
    before = list(inputs.transform("maxEventsPerJob = 2").tasks)
    inputs.add("b.root", 3)
    after = list(inputs.transform("maxEventsPerJob = 2").tasks)
    assert (len(before), len(after)) == (4, 6)
    assert after[:4] == before


# -- running them -----------------------------------------------------------------------------------


def test_a_transform_gets_its_arguments_and_its_output_is_collected(stage: Stage, inputs: Inputs) -> None:
    path = inputs.add('it\'s "one" $file; `x`.root', 3)
    handler = inputs.transform("maxEventsPerJob = 2")
    handler.prepare_workdir()
    for task_id in range(len(handler)):
        code, log = stage.run(BasicRunner().launch(handler[task_id]))
        assert code == 0, log
    folder = inputs.workdir / "output"
    assert sorted(file.name for file in folder.iterdir()) == ["RDO.0.0.root", "RDO.0.1.root"]
    given = json.loads((folder / "RDO.0.1.root").read_text())
    first, second = options_of(DIGI)["preExec"].split("' '")
    names = ("autoConfiguration", "digiSteeringConf", "conditionsTag", "geometryVersion", "postInclude", "preInclude")
    assert given == {name: options_of(DIGI)[name] for name in names} | {
        "athenaopt": None,
        "preExec": [first, second],
        "inputHITSFile": str(path),
        "outputRDOFile": "RDO.0.1.root",
        "skipEvents": 2,
        "maxEvents": 2,
    }


def test_athena_gets_its_arguments_and_its_outputs_are_kept_apart(stage: Stage, inputs: Inputs) -> None:
    paths = [inputs.add("a b.root", 3), inputs.add("c.root", 3)]
    handler = inputs.athena("nprocs = 64")
    handler.prepare_workdir()
    handler.prepare_workdir()
    for task_id in range(2):
        assert stage.run(BasicRunner().launch(handler[task_id]))[0] == 0
    found = {file.name: json.loads(file.read_text()) for file in (inputs.workdir / "output").iterdir()}
    assert found == {
        f"M_output.root.{task_id}": {
            "command": options_of(VALID)["command"],
            "nprocs": 64,
            "filesInput": str(path),
            "skipEvents": 0,
            "evtMax": -1,
            "jobOptions": [JOB_OPTIONS],
        }
        for task_id, path in enumerate(paths)
    }


def test_a_transform_that_fails_fails_the_task(tmp_path: Path, inputs: Inputs, stage: Stage) -> None:
    inputs.add("a.root", 1)
    handler = inputs.transform()
    handler.prepare_workdir()
    assert stage.run(BasicRunner().launch(f"export RECO_CODE=65; {handler[0]}"))[0] == 65
    assert list((inputs.workdir / "output").iterdir()) == []
    assert (tmp_path / "here" / "RDO.0.root").exists()


def test_the_work_directory_is_left_alone_until_the_farmer_starts(inputs: Inputs) -> None:
    inputs.add("a.root", 1)
    inputs.workdir.mkdir()
    before = contents(inputs.workdir)
    handler = inputs.transform("maxEventsPerJob = 1")
    assert contents(inputs.workdir) == before
    handler.prepare_workdir()
    assert [path.name for path in inputs.workdir.iterdir()] == ["output"]


# -- files that cannot be used ----------------------------------------------------------------------


def _missing(_: Path) -> None:
    pass


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _text(path: Path) -> None:
    path.write_text("this is text")


def _folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize("split", [(), ("maxEventsPerJob = 5",)], ids=["whole", "split"])
@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (_missing, "No such file or directory"),
        (_empty, "not a ROOT file"),
        (_text, "not a ROOT file"),
        (_folder, "Is a directory"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(
    inputs: Inputs, make: Callable[[Path], None], reason: str, split: tuple[str, ...]
) -> None:
    inputs.add("good.root", 1)
    bad = inputs.add("bad.root")
    make(bad)
    inputs.add("missing.root")
    what = "file 1" if split else "task 1"
    with pytest.raises(UserError) as caught:
        inputs.transform(*split)
    assert str(caught.value) == f"{inputs.tasklist}:4: {what}: {bad}: {reason} (other files in error: 1)"
    with pytest.raises(UserError, match=reason):
        inputs.athena(*split)
    assert not inputs.workdir.exists()


def test_a_file_without_the_tree_is_named(inputs: Inputs) -> None:
    bad = inputs.add("bad.root", 3, tree="other")
    assert len(inputs.transform()) == 1
    with pytest.raises(UserError) as caught:
        inputs.transform("maxEventsPerJob = 5")
    assert str(caught.value) == f"{inputs.tasklist}:3: file 0: {bad}: no tree CollectionTree"


def test_something_else_by_the_name_of_the_tree_is_no_tree(inputs: Inputs) -> None:
    bad = inputs.add("bad.root")
    with uproot.recreate(bad) as file:
        file["CollectionTree"] = "text"
    with pytest.raises(UserError, match="no tree CollectionTree"):
        inputs.transform("maxEventsPerJob = 5")


def test_a_file_that_is_cut_off_is_named(inputs: Inputs) -> None:
    bad = inputs.add("bad.root", 1000)
    bad.write_bytes(bad.read_bytes()[:200])
    with pytest.raises(UserError, match=f":3: file 0: {bad}: cannot be read as a ROOT file: "):
        inputs.transform("maxEventsPerJob = 5")


def test_files_elsewhere_and_raw_data_are_not_looked_at(inputs: Inputs) -> None:
    with inputs.tasklist.open("a") as file:
        file.write("root://host//data/a.root\n")
    assert "--inputHITSFile='root://host//data/a.root'" in inputs.transform()[0]
    raw = inputs.add("raw.data")
    _text(raw)
    options = options_of(DIGI) | {"input": "BS"}
    assert f"--inputBSFile='{raw}'" in TransformTaskList(inputs.tasklist, inputs.workdir, **options)[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"maxEventsPerJob": "0"}, "maxEventsPerJob: '0' is not a whole number of 1 or more"),
        ({"maxEventsPerJob": "2.5"}, "maxEventsPerJob: '2.5' is not a whole number of 1 or more"),
        ({"maxEventsPerJob": "nan"}, "maxEventsPerJob: 'nan' is not a whole number"),
        ({"transform": " "}, "transform: is empty"),
        ({"output": "a\nb"}, "output: has more than one line"),
        ({"preExec": "a\nb"}, "preExec: has more than one line"),
        ({"preExec": "it's"}, "preExec: its quotes do not match"),
        ({"pre Exec": "x"}, "pre Exec: not a name that an option can have"),
    ],
)
def test_an_option_with_a_bad_value_is_named(inputs: Inputs, options: dict[str, str], message: str) -> None:
    inputs.add("a.root", 1)
    with pytest.raises(OptionError) as caught:
        TransformTaskList(inputs.tasklist, inputs.workdir, **options_of(DIGI) | options)
    assert message in str(caught.value)


# -- who counts -------------------------------------------------------------------------------------


@pytest.fixture
def pyroot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a stand-in for PyROOT where Python finds it; return its log."""
    folder = tmp_path / "pyroot"
    folder.mkdir()
    (folder / "ROOT.py").write_text(_PYROOT)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    log = tmp_path / "pyroot.log"
    monkeypatch.setenv("ROOT_LOG", str(log))
    importlib.invalidate_caches()
    return log


def test_pyroot_counts_where_it_is_there_and_in_a_process_of_its_own(inputs: Inputs, pyroot: Path) -> None:
    inputs.add("a.root", 1)
    inputs.add("b.root", 1)
    assert len(inputs.transform("maxEventsPerJob = 9")) == 2
    assert len(pyroot.read_text().splitlines()) == 1
    assert "ROOT" not in sys.modules


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("unreadable.root", "cannot be read as a ROOT file: Failed to open file "),
        ("null.root", "cannot be read as a ROOT file"),
        ("zombie.root", "cannot be read as a ROOT file"),
        ("empty.root", "no tree CollectionTree"),
        ("text.root", "no tree CollectionTree"),
    ],
)
@pytest.mark.usefixtures("pyroot")
def test_what_pyroot_cannot_read_is_named(inputs: Inputs, name: str, reason: str) -> None:
    inputs.add("a.root", 1)
    bad = inputs.add(name, 1)
    with pytest.raises(UserError) as caught:
        inputs.athena("maxEventsPerJob = 9")
    assert str(caught.value).startswith(f"{inputs.tasklist}:4: file 1: {bad}: {reason}")


def test_a_library_that_does_not_work_is_not_enough(inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs.add("a.root", 10)
    (tmp_path / "uproot.py").write_text("raise RuntimeError('half installed')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(OptionError, match="needs PyROOT or uproot"):
        inputs.transform("maxEventsPerJob = 9")


def test_uproot_counts_where_pyroot_does_not_work(inputs: Inputs, pyroot: Path) -> None:
    (pyroot.parent / "pyroot" / "ROOT.py").write_text("raise RuntimeError('built for another Python')\n")
    inputs.add("a.root", 10)
    assert len(inputs.transform("maxEventsPerJob = 9")) == 2


def test_counting_needs_somebody_who_can(inputs: Inputs, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs.add("a.root", 10)
    monkeypatch.setitem(sys.modules, "uproot", None)  # as if it were not installed
    with pytest.raises(OptionError, match=r"maxEventsPerJob: needs PyROOT or uproot.*pip install 'taskfarmer-mpi\[atlas\]'"):
        inputs.transform("maxEventsPerJob = 9")
    assert len(inputs.transform()) == 1


def test_a_file_is_counted_again_only_if_it_has_changed(inputs: Inputs, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[str] = []
    count = root_events._count_with

    def spy(library: str, paths: list[str]) -> list[int | str] | None:
        counted.extend(Path(path).name for path in paths)
        return count(library, paths)

    monkeypatch.setattr(root_events, "_count_with", spy)
    inputs.add("a.root", 10)
    inputs.transform("maxEventsPerJob = 9")
    inputs.add("b.root", 10)
    inputs.add("b.root", 11)
    assert len(inputs.transform("maxEventsPerJob = 9")) == 6
    assert counted == ["a.root", "b.root"]
    inputs.add("a.root", 1000)
    assert len(inputs.transform("maxEventsPerJob = 1000")) == 4
    assert counted == ["a.root", "b.root", "a.root"]


def test_many_files_are_counted_by_many_processes(inputs: Inputs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(root_events, "FILES_PER_COUNTER", 2)
    shares: list[int] = []
    run = root_events._run_counter

    def spy(library: str, paths: list[str]) -> list[int | str] | None:
        shares.append(len(paths))
        return run(library, paths)

    monkeypatch.setattr(root_events, "_run_counter", spy)
    for number in range(5):
        inputs.add(f"{number}.root", number)
    assert [piece.split("RDO.")[1][:3] for piece in inputs.transform("maxEventsPerJob = 3").tasks] == [
        "1.0",
        "2.0",
        "3.0",
        "4.0",
        "4.1",
    ]
    assert sorted(shares) == [1, 2, 2]
