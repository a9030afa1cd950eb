"""What the words of `#TF` lines mean, and which are refused."""

from __future__ import annotations

import math

import pytest

from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.policies.settings import Settings, change_settings, has_barriers, read_settings, without_barriers


def test_a_line_changes_what_it_names_and_one_without_words_resets_all() -> None:
    held = change_settings("", ["retries=2", "timeout=600"])
    assert held == "timeout=600 retries=2"
    held = change_settings(held, ["name=fit", "timeout=0"])
    assert held == "timeout=0 retries=2 name=fit"
    assert read_settings(held) == Settings(timeout=math.inf, retries=2, name="fit")
    assert change_settings(held, []) == ""
    assert read_settings("") == Settings()


def test_a_word_of_a_newer_version_is_left_alone() -> None:
    assert read_settings("colour=red retries=0 timeout=soon") == Settings(retries=0)


def test_a_barrier_is_counted_and_reset_by_nothing() -> None:
    held = change_settings("timeout=600", ["barrier"])
    assert read_settings(held) == Settings(timeout=600.0, stage=1)
    held = change_settings(held, ["barrier", "check"])
    assert read_settings(held) == Settings(timeout=600.0, stage=2, checked=2)
    held = change_settings(held, ["barrier"])
    assert without_barriers(held) == "timeout=600"
    held = change_settings(held, [])
    assert read_settings(held) == Settings(stage=3, checked=2)
    assert has_barriers(held)
    assert not has_barriers(without_barriers(held))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["barrier", "all"], "#TF barrier all: a barrier is alone on its line, or with check"),
        (["name=a", "barrier"], "#TF name=a barrier: a barrier is alone on its line"),
        (["colour=red"], "#TF colour=red: no such word"),
        (["barrier-like"], "#TF barrier-like: is not of the form word=value"),
        (["timeout=soon"], "#TF timeout: 'soon' is not a time in seconds"),
        (["timeout=-1"], "#TF timeout: '-1' is not a time in seconds"),
        (["retries=x"], "#TF retries: 'x' is not a number"),
        (["retries=1", "retries=2"], "#TF retries=2: is there twice"),
        (["name="], "#TF name: '' is not a name"),
        (["name=a/b"], "#TF name: 'a/b' is not a name"),
        (["mem=0.5"], "#TF mem: '0.5' is not an amount of memory of 1M or more"),
        (["gpus=1_0"], "#TF gpus: '1_0' is neither a number of GPUs"),
        (["gpus=\uff12"], "#TF gpus: '\uff12' is neither a number of GPUs"),
        (["timeout=1_0"], "#TF timeout: '1_0' is not a time in seconds"),
        (["timeout=\uff12"], "#TF timeout: '\uff12' is not a time in seconds"),
        (["cpus=\uff12"], "#TF cpus: '\uff12' is not a number"),
        (["mem=\uff12G"], "#TF mem: '\uff12G' is not an amount of memory"),
        (["limit=a,b"], "#TF limit: 'a,b' is not a name"),
    ],
)
def test_what_means_nothing_is_refused(words: list[str], said: str) -> None:
    with pytest.raises(UserError) as refusal:
        change_settings("", words)
    assert str(refusal.value).startswith(said)
