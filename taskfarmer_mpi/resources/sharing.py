"""Which ranks share something, as they may use some of the same."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Set


def groups(owners: Mapping[int, Set[Hashable]]) -> list[list[int]]:
    """Return the ranks in groups: two that may use one thing are in one group, and so on.

    Parameters
    ----------
    owners
        What each rank may use.
    """
    found: list[tuple[list[int], set[Hashable]]] = []
    for rank in sorted(owners):
        together, things = [rank], set(owners[rank])
        for group in [group for group in found if not group[1].isdisjoint(things)]:
            found.remove(group)
            together += group[0]
            things |= group[1]
        found.append((sorted(together), things))
    return [group for group, _ in found]
