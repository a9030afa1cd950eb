"""A sequence of texts that are found, or made, when they are asked for."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import overload
else:
    overload = staticmethod  # the last definition counts


class TextSequence(Sequence[str]):
    """Texts by their index; a slice is a list of them."""

    @abstractmethod
    def text(self, index: int) -> str:
        """Return one text; IndexError if there is none."""

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...  # noqa: F811
    def __getitem__(self, index: int | slice) -> str | list[str]:  # noqa: F811
        if isinstance(index, slice):
            return [self.text(i) for i in range(*index.indices(len(self)))]
        return self.text(index)
