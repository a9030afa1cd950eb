"""What each slot of a farmer would have for itself on this node: cores, GPUs, memory."""

from __future__ import annotations

import os
from collections.abc import Iterator

from taskfarmer_mpi.common.wording import count_of, say_memory
from taskfarmer_mpi.policies.rules import read_rules
from taskfarmer_mpi.upkeep.plan import Plan
from taskfarmer_mpi.workdir.files import Workdir, node_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from taskfarmer_mpi.resources.portions import Portion
    from taskfarmer_mpi.tasklists.lines import Handler


def describe_seats(plan: Plan, handler: Handler, workdir: Workdir) -> list[str]:
    """Return lines about the slots of one farmer that is started here; none if nothing is dealt.

    Parameters
    ----------
    plan
        How it is started.
    handler, workdir
        The tasks of the tasklist, and where more of them may be: what is given to them by their sizes is not the slots'.

    Raises
    ------
    UserError
        If this node has not enough for them.
    """
    wanted = read_rules(plan.rules).resources
    if wanted is not None and (handler.tasks.directives or workdir.settings.exists()):
        from taskfarmer_mpi.run.sizes import with_pools, words_of_sizes

        wanted = with_pools(wanted, words_of_sizes(handler, workdir))
    if wanted is None or not (wanted.is_pinned or wanted.devices or wanted.memory_per_task):
        return []
    from taskfarmer_mpi.machine.cpus import find_cpus, share_out
    from taskfarmer_mpi.resources.holdings import find_holdings
    from taskfarmer_mpi.resources.portions import deal

    cpus = {0: (node_name(), find_cpus(os.environ, is_step=False, is_launched=False))}
    slots = plan.slots or share_out(cpus, plan.cpu_share)[0]
    holdings = {0: find_holdings(wanted, node_name(), os.environ)}
    portion = deal(wanted, holdings, {0: slots}, is_auto=plan.slots is None)[0]
    return list(_say(portion))


def _say(portion: Portion) -> Iterator[str]:
    memory = f", {say_memory(portion.memory // 1024)} of memory each" if portion.memory else ""
    yield f"one farmer here: {count_of(len(portion.seats), 'slot')}{memory}"
    if portion.pool:
        yield f"    for tasks that want GPUs: {portion.variable}={','.join(portion.pool)}"
    for number, seat in enumerate(portion.seats):
        words = [f"CPUs {','.join(map(str, sorted(seat.cpus)))}"] if seat.cpus else []
        words += [f"{portion.variable}={','.join(seat.devices)}"] if seat.devices else []
        if words:
            yield f"    slot {number}: {'; '.join(words)}"
