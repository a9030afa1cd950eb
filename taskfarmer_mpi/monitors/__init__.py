"""What is told of a farm's life as it happens, to programs and classes of the user's own.

Each **monitor** has a process of its own; its **events** come through a pipe that the farmer never waits for. What
always holds: a monitor that is slow, fails or hangs costs the farmer nothing, and loses its own events only.

Begin with `events` (what is told), then `dispatch` (the farmer's side) and `process` (the monitor's).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskfarmer_mpi.common.public_names import finder

if TYPE_CHECKING:
    from taskfarmer_mpi.monitors.builtin import CommandMonitor as CommandMonitor
    from taskfarmer_mpi.monitors.builtin import JSONLinesMonitor as JSONLinesMonitor
    from taskfarmer_mpi.monitors.builtin import OpenMetricsMonitor as OpenMetricsMonitor
    from taskfarmer_mpi.monitors.events import Event as Event

__getattr__ = finder(__name__, {"events": "Event", "builtin": "CommandMonitor JSONLinesMonitor OpenMetricsMonitor"})
