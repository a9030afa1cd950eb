"""The trace of a farm with a bit of everything, opened by the real Perfetto: its SQL, and its UI in a browser."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import perfetto
import pytest
from browser import Browser, find_browser, opened_browser
from busy_farm import BusyFarm, dies_by_signal, fill
from conftest import skip_or_fail
from helpers import Site, read_timeline, settled, wait_for

DEADLINE = 120
RUNS = "category in ('finished', 'failed', 'killed', 'lost', 'running', 'task')"
"""The slices that are runs of tasks: those of PyTaskFarmer have the category `task`."""


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory, pytaskfarmer: Path) -> Iterator[tuple[Site, BusyFarm]]:
    site = Site(tmp_path_factory.mktemp("busy"))
    try:
        farm = fill(site, pytaskfarmer)
        assert settled(farm.workdir, farm.tasks).failed == []
        yield site, farm
    finally:
        site.clear()


@pytest.fixture(scope="module")
def timeline(busy: tuple[Site, BusyFarm]) -> Path:
    missing = perfetto.missing_for_sql()
    if missing:
        skip_or_fail(missing)
    return busy[1].workdir / "timeline.json"


QUERIES = {
    "runs": f"select category, count(*) n, max(depth) depth, min(dur) dur from slice where {RUNS} group by category",
    "processes": "select name from process where name is not null",
    "threads": """
        select thread.name, is_main_thread, count(*) n from thread join process using (upid)
        where process.name like 'rank %' group by 1, 2""",
    "overlaps": f"""
        select count(*) n from (
            select ts + dur ended, lead(ts) over (partition by track_id order by ts) next from slice where {RUNS}
        ) where ended > next""",
    "partial": """
        select count(*) n from slice part join slice whole on whole.id = part.parent_id
        where part.ts < whole.ts or part.ts + part.dur > whole.ts + whole.dur""",
    "troubles": "select name, value from stats where severity in ('error', 'data_loss') and value > 0",
    "flows": """
        select a.category source, b.ts - a.ts - a.dur wait,
            extract_arg(a.arg_set_id, 'args.task') first, extract_arg(b.arg_set_id, 'args.task') second,
            extract_arg(a.arg_set_id, 'args.attempt') attempt, extract_arg(b.arg_set_id, 'args.attempt') next
        from flow join slice a on a.id = slice_out join slice b on b.id = slice_in""",
    "counters": """
        select t.name, max(c.value) most,
            (select value from counter where track_id = t.id order by ts desc limit 1) last
        from counter c join counter_track t on t.id = c.track_id group by t.id""",
    "lives": "select name, count(*) n from slice where category = 'farmer' group by name",
}


@pytest.fixture(scope="module")
def rows(timeline: Path) -> dict[str, list[perfetto.Row]]:
    """Return the answers to all queries."""
    return dict(zip(QUERIES, perfetto.query(timeline, list(QUERIES.values())), strict=True))


Rows = dict[str, list[perfetto.Row]]


def begun(workdir: Path) -> int:
    """Return how many runs our farmers began, from the journals."""
    return sum(path.read_bytes().count(b'"ev":"begin"') for path in (workdir / "farmers").iterdir())


def test_slices_are_runs_threads_are_slots_processes_are_farmers(busy: tuple[Site, BusyFarm], rows: Rows) -> None:
    farm = busy[1]
    counts = {row["category"]: row["n"] for row in rows["runs"]}
    assert sum(counts.values()) == begun(farm.workdir) + farm.plain_runs
    assert counts.keys() == {"finished", "failed", "killed", "lost", "task"}
    assert counts["task"] == farm.plain_runs
    lost = [event["args"]["task"] for event in read_timeline(farm.workdir) if event.get("cat") == "lost"]
    assert len(lost) == counts["lost"]
    assert sum(not dies_by_signal(task) for task in lost) <= 2, "what ran in two slots; a death by a signal is noted later"
    kinds = Counter(row["name"].split()[0] for row in rows["processes"])
    assert kinds == {"rank": farm.farmers, "PyTaskFarmer": 2, "all": 1}
    threads = {(row["name"], row["is_main_thread"]): row["n"] for row in rows["threads"]}
    assert threads.pop(("farmer", 1)) == farm.farmers
    assert sum(threads.values()) == farm.slots
    assert threads.keys() == {("slot 0", 0), ("slot 1", 0), ("slot 2", 0)}


def test_no_slice_of_one_slot_overlaps_another_and_nothing_is_dropped(rows: Rows) -> None:
    assert [rows["overlaps"], rows["partial"], rows["troubles"]] == [[{"n": 0}], [{"n": 0}], []]
    assert {row["depth"] for row in rows["runs"]} == {0}
    assert all(row["dur"] > 0 for row in rows["runs"])


def test_arrows_lead_from_runs_that_did_not_finish_to_the_next_ones(busy: tuple[Site, BusyFarm], rows: Rows) -> None:
    runs = Counter(event["args"]["task"] for event in read_timeline(busy[1].workdir) if "task" in event.get("args", {}))
    flows = rows["flows"]
    assert len(flows) == sum(count - 1 for count in runs.values())
    assert len(flows) > 0
    assert {flow["source"] for flow in flows} <= {"failed", "killed", "lost"}
    assert all(flow["first"] == flow["second"] for flow in flows)
    assert all(flow["next"] == flow["attempt"] + 1 for flow in flows)
    assert all(flow["wait"] >= 0 for flow in flows)


def test_counters_end_where_the_lists_do(busy: tuple[Site, BusyFarm], rows: Rows) -> None:
    total = len(busy[1].tasks)
    directory = {row["name"]: row for row in rows["counters"] if row["name"].startswith("tasks ")}
    assert [directory[f"tasks {series}"]["last"] for series in ("left", "finished", "failed")] == [0, total, 0]
    assert directory["tasks left"]["most"] == total
    assert directory["tasks failed"]["most"] > 0
    farmers = [row for row in rows["counters"] if row["name"] == "slots busy"]
    assert {row["last"] for row in farmers} == {0}
    assert {row["most"] for row in farmers} <= {1, 2, 3}


def test_the_lane_of_a_farmer_shows_its_life(busy: tuple[Site, BusyFarm], rows: Rows) -> None:
    counts = {row["name"]: row["n"] for row in rows["lives"]}
    assert counts["start"] == busy[1].farmers
    assert counts["visit"] >= busy[1].farmers - 1
    assert counts["shutdown: SIGUSR1"] == 5
    assert counts["recovery"] >= 1


def test_making_the_trace_again_or_compressed_tells_the_same(busy: tuple[Site, BusyFarm], timeline: Path) -> None:
    site, farm = busy
    before = timeline.read_bytes()
    ctl = (sys.executable, "-m", "taskfarmer_mpi.ctl", "trace", farm.workdir)
    site.start(*ctl).succeed(DEADLINE)
    assert timeline.read_bytes() == before
    packed = site.path / "trace.json.gz"
    site.start(*ctl, "--gzip", "--output", packed).succeed(DEADLINE)
    query = ["select name, ts, dur, category from slice order by id", "select count(*), sum(value) from counter"]
    assert perfetto.query(packed, query) == perfetto.query(timeline, query)


def test_an_empty_trace_opens(busy: tuple[Site, BusyFarm], timeline: Path) -> None:
    site = busy[0]
    tasklist = site.tasklist([], "empty")
    site.farm("-n", "1", tasklist).succeed(DEADLINE)
    path = Path(f"{tasklist}_workdir") / "timeline.json"
    assert path != timeline
    assert isinstance(json.loads(path.read_text()), list)
    assert perfetto.query(path, [f"select count(*) n from slice where {RUNS}"]) == [[{"n": 0}]]


# -- the UI ---------------------------------------------------------------------------------------


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    programs = find_browser()
    if programs is None:
        skip_or_fail("chromium and chromium-driver are not installed")
    assert programs is not None
    with opened_browser(programs, tmp_path) as browser:
        browser.look_like(width=1500, height=1000, scheme="light")
        yield browser


def test_view_offline_shows_the_trace_in_the_real_ui(
    busy: tuple[Site, BusyFarm], timeline: Path, browser: Browser, tmp_path: Path
) -> None:
    site, farm = busy
    process = site.start(sys.executable, "-u", "-m", "taskfarmer_mpi.ctl", "view", farm.workdir, "--offline", "--port", "0")
    wait_for(lambda: "Ctrl-C" in process.stdout, deadline=DEADLINE, what="view prints the address")
    url = next(line.strip() for line in process.stdout.splitlines() if "#!/?url=" in line)
    assert urlsplit(url).hostname == "127.0.0.1"
    perfetto.open_trace(browser, url.replace("/#!/", "/?testing=1#!/"))
    sql = f"select count(*) n from slice where {RUNS}"
    assert [perfetto.ask_ui(browser, sql)] == perfetto.query(timeline, [sql])
    text = browser.ask("document.body.innerText")
    assert "rank 0 · " in text
    assert "PyTaskFarmer · pid" in text
    picture = browser.picture()
    (tmp_path / "trace.png").write_bytes(picture)
    assert len(picture) > 20_000
    assert process.is_running(), "the UI loads more files later"
    process.kill()
    process.wait(DEADLINE)
