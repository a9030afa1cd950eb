"""Whole farms with runners and handlers of INI files, as PyTaskFarmer's documentation shows them and beyond."""

import os
import sys
from pathlib import Path

import pytest
import uproot  # type: ignore[import-untyped]
from helpers import Site, contents, settled, slices, wait_for

CTL = (sys.executable, "-m", "taskfarmer_mpi.ctl")

DOCUMENTED = """\
[reco22]
Runner = taskfarmer.runners.ShifterRunner
image = zlmarshall/atlas-grid-centos7:20191110
setup = source ${ATLAS_LOCAL_ROOT_BASE}/user/atlasLocalSetup.sh && source ${AtlasSetup}/scripts/asetup.sh Athena,22.2,latest
modules = cvmfs
tempdir = True

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
preExec = all:from ParticleBuilderOptions.AODFlags import AODFlags; AODFlags.ThinGeantTruth.set_Value_and_Lock(False);' 'HITtoRDO:from Digitization.DigitizationFlags import digitizationFlags; digitizationFlags.OldBeamSpotZSize = 42

[digiMP]
TaskList = taskfarmer.atlas.TransformTaskList
transform = Reco_tf.py
input = HITS
output = RDO
athenaopt = all:--nprocs=64

[validMP]
TaskList = taskfarmer.atlas.AthenaTaskList
jobOptions = InDetPhysValMonitoring/InDetPhysValMonitoring_topOptions.py
output = M_output.root
nprocs = 64
"""  # noqa: E501

TRANSFORM = f"""#!{sys.executable}
import sys
options = dict(word[2:].split("=", 1) for word in sys.argv[1:] if word.startswith("--") and "=" in word)
assert options["inputHITSFile"].endswith(".root"), sys.argv
assert options["autoConfiguration"] == "everything", sys.argv
with open(options["outputRDOFile"], "w") as file:
    file.write(options["inputHITSFile"])
"""
SLOW_TRANSFORM = f"""#!{sys.executable}
import sys, time
words = [part for word in sys.argv[1:] for part in word.split("=", 1)]
time.sleep(0.2)
open(words[words.index("--outputRDOFile") + 1], "w")
"""
SHIFTER = """#!/bin/bash
# shifter --image IMAGE --workdir=DIR -mcvmfs -- COMMAND...
printf '%s\\n' "$@" >&2
while [ "$1" != -- ]; do shift; done
shift
exec "$@"
"""


@pytest.fixture
def environ(site: Site) -> dict[str, str]:
    """Return an environment with stand-ins for the programs of ATLAS and for shifter."""
    folder = site.path / "bin"
    folder.mkdir()
    for name, text in (("Reco_tf.py", TRANSFORM), ("shifter", SHIFTER)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    environ = site.environ(HOME=str(site.path / "home"))
    return environ | {"PATH": f"{folder}:{environ['PATH']}"}


def input_files(site: Site, count: int) -> list[str]:
    names = []
    for number in range(count):
        names.append(f"hits.{number}.root")
        with uproot.recreate(site.path / names[-1]) as file:
            file.mktree("CollectionTree", {"x": "int64"})
    return names


@pytest.mark.parametrize("handler", ["digi", "digiMP", "validMP"])
def test_every_example_of_the_documentation_loads(handler: str, site: Site, environ: dict[str, str]) -> None:
    (site.path / "documented.ini").write_text(DOCUMENTED)
    tasklist = site.tasklist(input_files(site, 2))
    check = site.start(*CTL, "check", "-r", "reco22", "-t", handler, tasklist, environ=environ)
    check.succeed(60)
    assert "2 tasks" in check.stdout
    assert "shifter --image zlmarshall/atlas-grid-centos7:20191110" in check.stdout
    assert ("--athenaopt='all:--nprocs=64'" in check.stdout) == (handler == "digiMP")
    assert ("--nprocs='64'" in check.stdout) == (handler == "validMP")


@pytest.mark.usefixtures("rsync")
def test_a_transform_in_a_container_runs_on_all_files(site: Site, environ: dict[str, str]) -> None:
    ini = DOCUMENTED.replace("source ${ATLAS_LOCAL_ROOT_BASE}/user/atlasLocalSetup.sh", "true").replace(
        "source ${AtlasSetup}/scripts/asetup.sh Athena,22.2,latest", "true"
    )
    (site.path / "site.ini").write_text(ini)
    names = input_files(site, 3)
    tasklist = site.tasklist(names)
    farm = site.farm("-n", "2", "-r", "reco22", "-t", "digi", tasklist, ranks=2, environ=environ)
    farm.succeed(60)
    output = site.path / "tasks_workdir" / "output"
    assert {path.name: path.read_text() for path in output.iterdir()} == {f"RDO.{i}.root": names[i] for i in range(3)}
    log = (site.path / "tasks_workdir" / "logs" / "log_0").read_text()
    assert log.startswith("--image\nzlmarshall/atlas-grid-centos7:20191110\n-mcvmfs\n--workdir=")
    reclaim = site.start(*CTL, "reclaim", site.path / "tasks_workdir", environ=environ, cwd=Path("/"))
    reclaim.succeed(30)  # its input files have relative names
    refused = site.start(*CTL, "add", site.path / "tasks_workdir", "x.root", environ=environ)
    refused.succeed(30, code=2)
    assert "its tasklist handler makes the tasks itself" in refused.stderr


@pytest.mark.usefixtures("rsync")
def test_a_pytaskfarmer_with_the_same_definition_can_work_beside_ours(
    site: Site, environ: dict[str, str], pytaskfarmer: Path
) -> None:
    ini = "[digi]\nTaskList = taskfarmer.atlas.TransformTaskList\ntransform = Reco_tf.py\ninput = HITS\noutput = RDO\n"
    (site.path / "site.ini").write_text(f"{ini}autoConfiguration = everything\n")
    (site.path / "bin" / "Reco_tf.py").write_text(SLOW_TRANSFORM)
    tasklist = site.tasklist(input_files(site, 30))
    farm = site.farm("-n", "1", "-t", "digi", tasklist, ranks=2, environ=environ)
    workdir = site.path / "tasks_workdir"
    wait_for((workdir / "finished").exists, deadline=60, what="a finished task")
    plain = site.plain_0_1_0(pytaskfarmer, "-n", "1", "-t", "digi", tasklist, environ=environ)
    farm.succeed(120)
    plain.succeed(60)
    recorded = [int(line.split(" ")[0]) for line in (workdir / "finished").read_text().splitlines()]
    assert sorted(recorded) == list(range(30))
    assert len(slices(workdir)) == 30
    assert any("taskfarmer_mpi" not in event["args"] for event in slices(workdir))
    assert (workdir / "toprocess").read_text() == ""


def test_a_missing_input_file_is_told_before_anything_starts(site: Site, environ: dict[str, str]) -> None:
    (site.path / "documented.ini").write_text(DOCUMENTED)
    tasklist = site.tasklist([*input_files(site, 1), "missing.root"])
    before = contents(site.path / "bin")
    farm = site.farm("-t", "digi", tasklist, environ=environ)
    farm.succeed(30, code=2)
    assert "missing.root" in farm.stderr
    assert farm.stderr.count("\n") == 1
    assert not (site.path / "tasks_workdir").exists()
    assert contents(site.path / "bin") == before


def test_an_output_that_cannot_be_made_is_told_before_anything_starts(site: Site, environ: dict[str, str]) -> None:
    (site.path / "documented.ini").write_text(DOCUMENTED)
    (site.path / "tasks_workdir").mkdir()
    (site.path / "tasks_workdir" / "output").write_text("")
    farm = site.farm("-t", "digi", site.tasklist(input_files(site, 1)), environ=environ)
    farm.succeed(30, code=2)
    assert "tasks_workdir/output" in farm.stderr
    assert farm.stderr.count("\n") == 1
    assert list((site.path / "tasks_workdir" / "logs").iterdir()) == []


def test_the_rows_of_a_table_are_run_resumed_and_added_to(site: Site, environ: dict[str, str]) -> None:
    (site.path / "scan.ini").write_text(
        "[scan]\nTaskList = taskfarmer_mpi.tasklists.TableTaskList\ncommand = printf '%%s\\n' {name} > {out}\n"
    )
    table = site.path / "points.csv"
    table.write_text("name,out\na b,1\n$HOME,2\n")
    farm = site.farm("-t", "scan", table, ranks=2, environ=environ)
    farm.succeed(60)
    workdir = site.path / "points.csv_workdir"
    site.start(*CTL, "add", workdir, '"it\'s",3', environ=environ).succeed(30)
    wrong = site.start(*CTL, "add", workdir, "only one", environ=environ)
    wrong.succeed(30, code=2)
    assert wrong.stderr.count("\n") == 1
    with table.open("a") as file:
        file.write("last,4\n")
    site.farm("-w", workdir, environ=environ, cwd=Path(os.sep)).succeed(60)
    assert settled(workdir, ["a b,1", "$HOME,2", '"it\'s",3', "last,4"]).failed == []
    assert [(site.path / str(i)).read_text() for i in range(1, 5)] == ["a b\n", "$HOME\n", "it's\n", "last\n"]


def test_another_header_of_a_table_is_refused(site: Site, environ: dict[str, str]) -> None:
    (site.path / "scan.ini").write_text(
        "[scan]\nTaskList = taskfarmer_mpi.tasklists.TableTaskList\ncommand = echo {a} {b}\n"
    )
    table = site.path / "points.csv"
    table.write_text("a,b\n1,2\n")
    site.farm("-t", "scan", table, environ=environ).succeed(60)
    table.write_text("b,a\n1,2\n")
    farm = site.farm("-t", "scan", table, environ=environ)
    farm.succeed(60, code=2)
    assert "points.csv: its header or its first 1 tasks are not those for which" in farm.stderr


def test_a_template_makes_all_combinations(site: Site, environ: dict[str, str]) -> None:
    (site.path / "scan.ini").write_text("[scan]\nTaskList = taskfarmer_mpi.tasklists.TemplateTaskList\n")
    template = site.tasklist(["command = echo {mass} {seed}", "mass = 100 200", "seed = 1..3"], "scan.template")
    site.farm("-t", "scan", template, environ=environ).succeed(60)
    workdir = site.path / "scan.template_workdir"
    logs = sorted((workdir / "logs" / f"log_{i}").read_text() for i in range(6))
    assert logs == [f"{mass} {seed}\n" for mass in (100, 200) for seed in (1, 2, 3)]
    wrong = site.farm("-t", "scan", "-w", "other", site.tasklist(["command = echo {x}"], "wrong"), environ=environ)
    wrong.succeed(30, code=2)
    assert "wrong:1:" in wrong.stderr


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("imag = x", "site.ini: [bad] imag: unknown option; ShifterRunner takes image, setup, volumes, modules, tempdir"),
        ("tempdir = maybe", "site.ini: [bad] tempdir: "),
        ("", "site.ini: [bad] image: this option is missing; ShifterRunner takes "),
    ],
)
def test_a_bad_option_of_a_runner_is_told_before_anything_starts(
    option: str, words: str, site: Site, environ: dict[str, str]
) -> None:
    image = "image = y\n" if option else ""
    (site.path / "site.ini").write_text(f"[bad]\nRunner = taskfarmer.runners.ShifterRunner\n{image}{option}\n")
    farm = site.farm("-r", "bad", site.tasklist(["true"]), ranks=2, environ=environ)
    farm.succeed(60, code=2)
    own = [line for line in farm.stderr.splitlines() if "taskfarmer-mpi:" in line]
    assert len(own) == 1
    assert words in own[0]
    assert not (site.path / "tasks_workdir").exists()
