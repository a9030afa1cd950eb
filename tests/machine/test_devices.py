"""GPUs, as the environment and the vendors' programs name them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from taskfarmer_mpi.common.programs import AskError
from taskfarmer_mpi.machine.devices import AMD, INTEL, NVIDIA, Device, find_devices

SMI = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77)
  MIG 1g.5gb      Device  0: (UUID: MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f)
  MIG 2g.10gb     Device  1: (UUID: MIG-cba663e8-9bed-5b25-b243-5985ef7c9beb)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-feb0cf9c-6d74-9e49-dc73-e3a1fd61d3ba)
"""
ROCM = """
============================ ROCm System Management Interface ============================
GPU[0]		: Unique ID: 0x18f68e602b8a790f
GPU[1]		: Unique ID: 0x8b7fe3f44d4a2dac
==========================================================================================
"""


def _programs(**outputs: str) -> object:
    def run(*command: str, environ: Mapping[str, str]) -> str:  # noqa: ARG001
        name = command[0].replace("-", "_")
        if name not in outputs:
            raise AskError(f"{command[0]}: No such file or directory")
        return outputs[name]

    return run


def _names(environ: Mapping[str, str], folder: Path, **outputs: str) -> tuple[str, list[str]]:
    found = find_devices(environ, _programs(**outputs), folder)  # type: ignore[arg-type]
    return found.variable, [device.name for device in found.given]


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({NVIDIA: "0,1"}, (NVIDIA, ["0", "1"])),
        ({NVIDIA: "GPU-5d5ba0d6,MIG-c6d4f1ef/3/0"}, (NVIDIA, ["GPU-5d5ba0d6", "MIG-c6d4f1ef/3/0"])),
        ({NVIDIA: "2,-1,3"}, (NVIDIA, ["2"])),
        ({NVIDIA: "NoDevFiles", "SLURM_JOB_GPUS": "0"}, (NVIDIA, [])),
        ({NVIDIA: ""}, (NVIDIA, [])),
        ({AMD: "3,1,3"}, (AMD, ["3", "1"])),
        ({INTEL: "0.0,0.1"}, (INTEL, ["0.0", "0.1"])),
        ({"SLURM_JOB_GPUS": "0,1,2", "SLURM_STEP_GPUS": "2"}, (NVIDIA, ["2"])),
        ({"SLURM_JOB_GPUS": "0,1"}, (NVIDIA, ["0", "1"])),
        ({AMD: "0", NVIDIA: "0"}, (NVIDIA, ["0"])),
        ({}, (NVIDIA, [])),
    ],
)
def test_variables_name_them(environ: Mapping[str, str], expected: tuple[str, list[str]], tmp_path: Path) -> None:
    assert _names(environ, tmp_path) == expected


def test_of_the_variables_of_several_vendors_the_one_with_a_driver_counts(tmp_path: Path) -> None:
    (tmp_path / "kfd").touch()
    assert _names({AMD: "0", NVIDIA: "0"}, tmp_path) == (AMD, ["0"])
    assert _names({"SLURM_JOB_GPUS": "4"}, tmp_path) == (AMD, ["4"])


def test_programs_list_them_where_no_variable_does(tmp_path: Path) -> None:
    uuids = ["MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f", "MIG-cba663e8-9bed-5b25-b243-5985ef7c9beb"]
    assert _names({}, tmp_path, nvidia_smi=SMI) == (NVIDIA, [*uuids, "1"])
    assert _names({}, tmp_path, rocm_smi=ROCM) == (AMD, ["0", "1"])
    assert _names({}, tmp_path, nvidia_smi="No devices were found\n") == (NVIDIA, [])
    assert _names({"SLURM_STEP_GPUS": "1"}, tmp_path, rocm_smi=ROCM) == (AMD, ["1"])


def test_a_number_has_the_identity_that_its_list_gives(tmp_path: Path) -> None:
    found = find_devices({NVIDIA: "1,7"}, _programs(nvidia_smi=SMI), tmp_path)  # type: ignore[arg-type]
    assert found.given == (Device("1", "GPU-feb0cf9c-6d74-9e49-dc73-e3a1fd61d3ba"), Device("7", "7"))
    assert found.given[0].is_named("GPU-feb0")
    assert not found.given[0].is_named("GPU-5d5ba0d6")


def test_it_is_known_whether_anybody_says_which_there_are(tmp_path: Path) -> None:
    assert not find_devices({}, _programs(), tmp_path).are_known  # type: ignore[arg-type]
    assert find_devices({NVIDIA: ""}, _programs(), tmp_path).are_known  # type: ignore[arg-type]
