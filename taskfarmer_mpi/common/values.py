"""Frozen values: what crosses modules.

A class of values is written like a frozen dataclass, and type checkers take it for one. But `dataclasses` generates code for
each class and imports `inspect` for it: 20 ms of each start, as many as the interpreter itself takes.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as in typing, which costs a start 2 ms
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, ClassVar, TypeVar, dataclass_transform

    V = TypeVar("V", bound="Value")
else:

    def dataclass_transform(**_: bool) -> Callable[[type], type]:
        """Mark a class whose subclasses have the constructor of a dataclass, for type checkers."""
        return lambda cls: cls


@dataclass_transform(frozen_default=True)
class Value:
    """What is equal if it has the same class and content; its fields are the annotated names of its class, in their order.

    Each value has a list or dictionary of its own where the default is one. A class of which there is a value for each task
    is declared with `is_frequent=True`: it gets a constructor of its own, which is written out when the class is made
    (0.1 ms) and takes a third of the time.
    """

    _fields: ClassVar[tuple[str, ...]] = ()
    _defaults: ClassVar[dict[str, Any]] = {}
    _own: ClassVar[tuple[str, ...]] = ()
    """Fields whose default each value has a copy of."""

    def __init_subclass__(cls, *, is_frequent: bool = False) -> None:
        names = cls.__annotations__
        cls._fields = (*cls._fields, *names)
        cls._defaults = cls._defaults | {name: cls.__dict__[name] for name in names if name in cls.__dict__}
        cls._own = tuple(name for name, default in cls._defaults.items() if isinstance(default, list | dict))
        cls.__init__ = _constructor(cls) if is_frequent else Value.__init__  # type: ignore[method-assign]

    def __init__(self, *content: Any, **named: Any) -> None:
        fields = self.__dict__  # past `__setattr__`
        fields.update(self._defaults)
        fields.update(zip(self._fields, content))  # noqa: B905
        if named:
            fields.update(named)
        if len(fields) != len(self._fields) or len(content) > len(fields):
            raise TypeError(f"{type(self).__name__} takes {', '.join(self._fields)}")
        for name in self._own:
            if fields[name] is self._defaults[name]:
                fields[name] = fields[name].copy()

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__}.{name}: a value is not changed; make another one")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__}.{name}: a value is not changed; make another one")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Value) and type(self) is type(other) and _content(self) == _content(other)

    def __hash__(self) -> int:
        return hash(tuple(_content(self).values()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in _content(self).items())})"


def _constructor(cls: type[Value]) -> Any:
    """Return the constructor of a class as Python would have it written by hand."""
    parameters = [f"{name}=_defaults[{name!r}]" if name in cls._defaults else name for name in cls._fields]
    assignments = [
        f" fields[{name!r}] = {name}.copy() if {name} is _defaults[{name!r}] else {name}"
        if name in cls._own
        else f" fields[{name!r}] = {name}"
        for name in cls._fields
    ]
    source = "\n".join([f"def __init__(self, {', '.join(parameters)}):", " fields = self.__dict__", *assignments])
    namespace: dict[str, Any] = {"_defaults": cls._defaults}
    exec(source, namespace)  # noqa: S102  of names in this program's own classes
    return namespace["__init__"]


def _content(value: Value) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value._fields}


def replace(value: V, **changes: Any) -> V:
    """Return a value that differs in some fields."""
    return type(value)(**{**_content(value), **changes})


def as_dict(value: Value) -> dict[str, Any]:
    """Return the fields of a value by name; values in them, also in lists and dictionaries, become dictionaries, too."""
    return {name: _plain(member) for name, member in _content(value).items()}


def _plain(member: Any) -> Any:
    if isinstance(member, Value):
        return as_dict(member)
    if isinstance(member, list | tuple):
        return [_plain(item) for item in member]
    if isinstance(member, dict):
        return {key: _plain(item) for key, item in member.items()}
    return member
