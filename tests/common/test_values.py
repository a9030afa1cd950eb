"""Frozen values that look like dataclasses and cost nothing to define."""

from __future__ import annotations

import pickle

import pytest

from taskfarmer_mpi.common.values import Value, as_dict, replace


class Point(Value):
    """A place."""

    x: int
    y: int = 5
    names: list[str] = []


class Named(Point):
    """A place with a label."""

    label: str = ""


def test_a_value_has_what_it_is_given_and_else_the_defaults() -> None:
    point = Point(1, names=["a"])
    assert (point.x, point.y, point.names) == (1, 5, ["a"])
    assert repr(point) == "Point(x=1, y=5, names=['a'])"
    assert Named(1, 2, [], "here").label == "here"


def test_values_are_equal_by_class_and_content() -> None:
    assert Point(1) == Point(x=1, y=5)
    assert Point(1) != Point(2)
    assert Point(1) != Named(1)
    assert Point(1) != (1, 5, [])
    assert hash(Frozen(1)) == hash(Frozen(1))


class Frozen(Value):
    """What can be a key."""

    x: int


def test_a_default_list_is_each_value_s_own() -> None:
    Point(1).names.append("a")
    assert Point(1).names == []


def test_a_value_is_not_changed_but_replaced() -> None:
    point = Point(1)
    with pytest.raises(AttributeError, match=r"Point\.x: a value is not changed"):
        point.x = 2  # type: ignore[misc]
    with pytest.raises(AttributeError):
        del point.x
    assert (point.x, replace(point, x=2)) == (1, Point(2))


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ((), {}),
        ((1, 2, [], 4), {}),
        ((1,), {"z": 2}),
        ((1, 2, []), {"z": 2}),
    ],
)
def test_a_value_takes_its_fields_only(content: tuple[object, ...], named: dict[str, object]) -> None:
    with pytest.raises(TypeError, match="Point takes x, y, names"):
        Point(*content, **named)  # type: ignore[arg-type]


def test_values_in_values_become_dictionaries() -> None:
    assert as_dict(Frozen([Point(1), {"k": (Frozen(2),)}])) == {  # type: ignore[arg-type]
        "x": [{"x": 1, "y": 5, "names": []}, {"k": [{"x": 2}]}]
    }


def test_values_go_to_other_processes() -> None:
    assert pickle.loads(pickle.dumps(Point(1, names=["a"]))) == Point(1, names=["a"])


class Frequent(Value, is_frequent=True):
    """One of many."""

    x: int
    y: int = 5
    names: list[str] = []


class Rare(Frequent):
    """One of few, with another field."""

    label: str = ""


def test_what_is_derived_from_a_frequent_value_has_its_own_fields_too() -> None:
    assert as_dict(Rare(1, label="a")) == {"x": 1, "y": 5, "names": [], "label": "a"}


def test_a_frequent_value_is_made_as_any_other() -> None:
    assert as_dict(Frequent(1)) == as_dict(Point(1))
    assert as_dict(Frequent(1, names=["a"])) == as_dict(Point(1, names=["a"]))
    assert replace(Frequent(1), y=6) == Frequent(1, 6)
    Frequent(1).names.append("a")
    assert Frequent(1).names == []
    assert pickle.loads(pickle.dumps(Frequent(1, 2))) == Frequent(1, 2)
    with pytest.raises(AttributeError, match=r"Frequent\.x: a value is not changed"):
        Frequent(1).x = 2  # type: ignore[misc]


@pytest.mark.parametrize(("content", "named"), [((), {}), ((1, 2, [], 4), {}), ((1,), {"z": 3})])
def test_a_frequent_value_refuses_what_it_has_no_field_for(content: tuple[object, ...], named: dict[str, object]) -> None:
    with pytest.raises(TypeError):
        Frequent(*content, **named)  # type: ignore[arg-type]
