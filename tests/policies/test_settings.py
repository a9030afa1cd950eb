"""What the words of `#TF` lines mean, and which are refused."""

from __future__ import annotations

import math

import pytest

from taskfarmer_mpi.errors import UserError
from taskfarmer_mpi.policies.settings import Settings, change_settings, read_settings


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


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["colour=red"], "#TF colour=red: no such word"),
        (["barrier-like"], "#TF barrier-like: is not of the form word=value"),
        (["timeout=soon"], "#TF timeout: 'soon' is not a time in seconds"),
        (["timeout=-1"], "#TF timeout: '-1' is not a time in seconds"),
        (["retries=x"], "#TF retries: 'x' is not a number"),
        (["retries=1", "retries=2"], "#TF retries=2: is there twice"),
        (["name="], "#TF name: '' is not a name"),
        (["name=a/b"], "#TF name: 'a/b' is not a name"),
        (["limit=a,b"], "#TF limit: 'a,b' is not a name"),
    ],
)
def test_what_means_nothing_is_refused(words: list[str], said: str) -> None:
    with pytest.raises(UserError) as refusal:
        change_settings("", words)
    assert str(refusal.value).startswith(said)
