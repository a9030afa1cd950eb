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
