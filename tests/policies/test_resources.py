"""How the words for resources are read."""

from __future__ import annotations

import pytest

from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.policies.resources import AUTO, DeviceChoice, Resources
from taskfarmer_mpi.policies.rules import merge_rules, read_rules

MIB = 1 << 20


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ({}, None),
        ({"pin": "off", "gpus": "0", "memory-per-task": "0"}, None),
        ({"pin": "on"}, Resources(is_pinned=True)),
        ({"gpus": "auto"}, Resources(devices=DeviceChoice(AUTO))),
        ({"gpus": "2"}, Resources(devices=DeviceChoice(2))),
        ({"gpus": "2,"}, Resources(devices=DeviceChoice(names=("2",)))),
        ({"gpus": "0,GPU-8932f937, MIG-x/1/0"}, Resources(devices=DeviceChoice(names=("0", "GPU-8932f937", "MIG-x/1/0")))),
        ({"gpus": "GPU-8932f937"}, Resources(devices=DeviceChoice(names=("GPU-8932f937",)))),
        ({"gpus": "0.1"}, Resources(devices=DeviceChoice(names=("0.1",)))),
        ({"gpus": "auto", "gpus-per-task": "0.5"}, Resources(devices=DeviceChoice(), devices_per_task=0.5)),
        ({"memory-per-task": "1500M"}, Resources(memory_per_task=1500 * MIB)),
        ({"memory-per-task": "1.5g"}, Resources(memory_per_task=1536 * MIB)),
        ({"memory-reserve": "4GiB"}, Resources(memory_reserve=4096 * MIB)),
        ({"memory-reserve": "4GB"}, Resources(memory_reserve=4096 * MIB)),
        ({"memory-reserve": "20%"}, Resources(memory_reserve_share=20)),
    ],
)
def test_words_are_read(texts: dict[str, str], expected: Resources | None) -> None:
    assert read_rules(texts).resources == expected


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        ({"gpus": "many"}, "--gpus: 'many' is neither auto"),
        ({"gpus": "-1"}, "--gpus: '-1' is neither auto"),
        ({"gpus": "0,,1"}, "--gpus: '0,,1' is neither auto"),
        ({"gpus": "1,1"}, "--gpus: '1,1' names a GPU twice"),
        ({"gpus": "auto", "gpus-per-task": "1.5"}, "--gpus-per-task: '1.5' is neither a number"),
        ({"gpus": "auto", "gpus-per-task": "-1"}, "--gpus-per-task: '-1' is neither a number"),
        ({"gpus-per-task": "0.5"}, "--gpus-per-task says nothing without --gpus"),
        ({"memory-per-task": "4"}, "--memory-per-task: '4' is not an amount of memory"),
        ({"memory-per-task": "0.5"}, "--memory-per-task: '0.5' is not an amount of memory of 1M or more"),
        ({"memory-per-task": "4X"}, "--memory-per-task: '4X' is not an amount of memory"),
        ({"memory-reserve": "-4G"}, "--memory-reserve: '-4G' is not an amount of memory"),
        ({"memory-reserve": "0%"}, "--memory-reserve: '0%' is not from 1% to 90%"),
        ({"memory-reserve": "100%"}, "--memory-reserve: '100%' is not from 1% to 90%"),
        ({"pin": "yes"}, "--pin: 'yes' is neither on nor off"),
    ],
)
def test_words_that_mean_nothing_are_refused(texts: dict[str, str], said: str) -> None:
    with pytest.raises(UserError) as refusal:
        merge_rules({}, texts)
    assert str(refusal.value).startswith(said)
