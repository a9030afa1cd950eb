"""`taskfarmer-ctl report`: the page, also in a real browser."""

from __future__ import annotations

import json
import re
import struct
import sys
import zlib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from bigfarm import Shape, write_farm
from browser import Browser, find_browser, opened_browser
from conftest import skip_or_fail
from fakes import Hand, make_farm
from helpers import Site

from taskfarmer_mpi.history.last_runs import TaskState
from taskfarmer_mpi.report.contents import make_report
from taskfarmer_mpi.report.page import load_template, render_page
from taskfarmer_mpi.workdir.files import Workdir
from taskfarmer_mpi.workdir.journal import close_journal

CTL = (sys.executable, "-m", "taskfarmer_mpi.ctl")
EVIL = "echo '<script>alert(1)</script>' \"&<b>\" \x1b[31m \udcff"


def page_of(workdir: Workdir) -> str:
    return render_page(load_template(), make_report(workdir)).decode()


class Tags(HTMLParser):
    """Collects tags, and whatever a page could load or run."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.addresses: list[str] = []
        self.handlers: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(tag)
        self.addresses += [str(value) for name, value in attrs if name in ("src", "href", "xlink:href", "action", "data")]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]


def test_a_page_needs_nothing_and_runs_nothing_whatever_tasks_are_called(tmp_path: Path) -> None:
    folder = tmp_path / '<script>&"'
    folder.mkdir()
    farm = make_farm(folder, [EVIL.removesuffix("\udcff")] * 3)
    farm.workdir.failed.write_bytes(b"".join(f"{i} {EVIL}\n".encode("utf-8", "surrogateescape") for i in range(2)))
    farm.workdir.log(0).write_text("</pre><script>alert('log')</script><img src=x onerror=alert(2)>\n")
    hand = Hand(farm, "1-a")
    hand.note("taken", ids=[0, 1, 2])
    hand.end(0, 1)
    hand.end(1, 127)
    hand.note("begin", id=2, slot=1)
    page = page_of(farm.workdir)
    tags = Tags()
    tags.feed(page)
    assert not {"script", "img", "iframe", "object"} & set(tags.found)
    assert tags.addresses == ["data:,"]
    assert tags.handlers == []
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 4
    assert "&lt;script&gt;alert(&#39;log&#39;)&lt;/script&gt;" in page
    assert "\x1b" not in page
    assert "url(" not in page


def test_a_report_of_a_real_farm_has_its_runs_and_failures(site: Site) -> None:
    site.farm("--proc", "2", site.tasklist(["true", "exit 3", "no_such_program"])).succeed(60, code=1)
    process = site.start(*CTL, "report", site.path / "tasks_workdir")
    process.succeed(60)
    page = (site.path / "report.html").read_text()
    assert len(re.findall(r'<rect class="(?:finished|failed)"[^>]*><title>task \d, ', page)) == 3
    assert page.count("<details") == 2
    assert "exit code 127: command not found" in page
    assert "2 tasks of 3 (67 %) failed, most often with exit code" in page
    assert process.stdout == "report.html: " + re.search(r'id="advice"><p>(.*)</p>', page)[1] + "\n"  # type: ignore[index]


def test_a_report_in_the_middle_of_a_run_says_so(tmp_path: Path) -> None:
    workdir = Workdir(write_farm(tmp_path, Shape(tasks=400, farmers=2, slots=4, done=0.5)))
    report = make_report(workdir)
    assert (report.states[TaskState.TO_DO], report.tail.length) == (200, 0.0)
    assert "200 to do" in page_of(workdir)


def test_farmers_that_died_are_told_from_those_that_left_and_unknown_hosts_do_not_count(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ["true"])
    for name in ("1-left", "2-died", "3-dead"):
        hand = Hand(farm, name)
        if name == "1-left":
            hand.note("leave")
        hand.die()
        if name != "3-dead":
            close_journal(hand.journal.path)
    run = {"name": "true", "pid": 7, "tid": 1, "ts": 1e12, "dur": 2e6, "ph": "X", "cat": "task", "args": {}}
    farm.workdir.timeline.write_text(json.dumps([run]))
    report = make_report(farm.workdir)
    states = {farmer.history.identity.farmer: farmer.history.describe_state() for farmer in report.farmers}
    assert states == {"1-left": "ended", "2-died": "died", "3-dead": "dead", "PyTaskFarmer-7": "ended"}
    page = page_of(farm.workdir)
    assert all(f"<td>{state}</td>" in page for state in states.values())
    assert "on 1 host; " in page


def test_a_record_that_cannot_be_is_a_warning(tmp_path: Path) -> None:
    farm = make_farm(tmp_path, ["true", "true"])
    hand = Hand(farm, "1-a")
    hand.note("taken", ids=[[0, 1]])
    hand.note("begin", id=0, slot="x")
    hand.note("end", id=0, slot=0, begin="?", end=2.0, rc=0, cpu=0.0, rss=0)
    with hand.journal.path.open("a") as journal:
        journal.write('{"ev":"visit","t":"now"}\n')
    warnings = make_report(farm.workdir).warnings
    assert len(warnings) == 2
    assert all("a record is not as farmers write them" in warning for warning in warnings)


def test_a_directory_of_pytaskfarmer_alone_has_a_report(tmp_path: Path) -> None:
    (tmp_path / "toprocess").write_text("")
    (tmp_path / "failed").write_text("0 a\n")
    page = page_of(Workdir(tmp_path))
    assert "no farmer of ours has worked here" in page
    assert "1 failed task." in page
    assert "<svg" not in page


def test_many_farmers_share_rows_and_the_page_stays_small(tmp_path: Path) -> None:
    workdir = Workdir(write_farm(tmp_path, Shape(tasks=6000, farmers=300, slots=4, stagger=0.2)))
    page = page_of(workdir)
    assert page.count('class="lane"') == 38
    assert "rank 0 · node00 to rank 7 · node07" in page
    assert "300 farmers; the youngest 200 are shown." in page
    assert len(page) < 1_000_000


def test_a_page_that_exists_is_replaced_only_by_force(site: Site) -> None:
    workdir = make_farm(site.path, ["true"]).workdir
    output = site.path / "page.html"
    output.write_text("precious")
    process = site.start(*CTL, "report", workdir.path, "-o", output)
    process.succeed(60, code=2)
    assert process.stderr == f"taskfarmer-ctl: {output}: it exists; --force replaces it\n"
    assert output.read_text() == "precious"
    site.start(*CTL, "report", workdir.path, "-o", output, "--force").succeed(60)
    assert output.read_text().startswith("<!doctype html>")


def test_a_missing_extra_is_one_line_with_the_mend(site: Site) -> None:
    workdir = make_farm(site.path, ["true"]).workdir
    (site.path / "jinja2.py").write_text("raise ModuleNotFoundError('No module named jinja2', name='jinja2')\n")
    process = site.start(*CTL, "report", workdir.path, environ=site.environ(PYTHONPATH=str(site.path)))
    process.succeed(60, code=2)
    assert process.stderr == "taskfarmer-ctl: jinja2 is missing: pip install 'taskfarmer-mpi[report]'\n"


# -- a real browser -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Return a window of chromium."""
    programs = find_browser()
    if programs is None:
        skip_or_fail("chromium and chromedriver are not installed")
    with opened_browser(programs or ("", ""), tmp_path_factory.mktemp("browser")) as browser:
        yield browser


def colours_of(png: bytes) -> set[bytes]:
    """Return the colours of the pixels in the middle column of a picture, which must be RGB or RGBA of 8 bits."""
    width, height, depth, kind = struct.unpack(">IIBB", png[16:26])
    assert (depth, kind in (2, 6)) == (8, True)
    size = 3 if kind == 2 else 4
    chunks, place = [], 8
    while place < len(png):
        (length,) = struct.unpack(">I", png[place : place + 4])
        if png[place + 4 : place + 8] == b"IDAT":
            chunks.append(png[place + 8 : place + 8 + length])
        place += 12 + length
    data = zlib.decompress(b"".join(chunks))
    stride = 1 + size * width
    found, above = set(), bytes(size * width)
    for row in range(height):
        line = _unfiltered(data[row * stride], data[row * stride + 1 : (row + 1) * stride], above, size)
        middle = size * (width // 2)
        found.add(line[middle : middle + 3])
        above = line
    return found


def _unfiltered(kind: int, line: bytes, above: bytes, size: int) -> bytes:
    """Undo a filter of PNG."""
    if kind == 0:
        return line
    done = bytearray(line)
    for i in range(len(done)):
        left = done[i - size] if i >= size else 0
        corner = above[i - size] if i >= size else 0
        up = above[i]
        if kind == 1:
            guess = left
        elif kind == 2:
            guess = up
        elif kind == 3:
            guess = (left + up) // 2
        else:
            paeth = left + up - corner
            guess = min((left, up, corner), key=lambda value: abs(paeth - value))
        done[i] = (done[i] + guess) & 255
    return bytes(done)


@pytest.fixture(scope="module", params=[10, 100_000])
def page(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a page of so many tasks."""
    folder = tmp_path_factory.mktemp("farm")
    workdir = Workdir(write_farm(folder, Shape(tasks=request.param, farmers=2 if request.param == 10 else 5, failing=0.2)))
    path = folder / "report.html"
    path.write_text(page_of(workdir))
    return path


@pytest.mark.parametrize(("scheme", "background"), [("light", (246, 247, 248)), ("dark", (18, 21, 23))])
@pytest.mark.parametrize("width", [1200, 360])
def test_a_browser_shows_the_page(
    browser: Browser, page: Path, scheme: str, background: tuple[int, ...], width: int
) -> None:
    assert page.stat().st_size < 500_000
    browser.look_like(width=width, height=800, scheme=scheme)
    browser.console()
    browser.open(page.as_uri())
    assert browser.console() == []
    assert browser.ask("document.documentElement.scrollWidth") == browser.ask("window.innerWidth") == width
    sections = browser.ask("[...document.querySelectorAll('section')].map(section => section.id)")
    assert sections == ["advice", "overview", "packing", "durations", "longest", "failures", "farmers"]
    drawn = browser.ask("[...document.querySelectorAll('svg')].every(svg => svg.getBoundingClientRect().width > 200)")
    assert drawn
    assert browser.ask("document.querySelectorAll('#packing svg').length") >= 2
    assert browser.ask("document.querySelectorAll('#overview path.finished')[0].getBoundingClientRect().height") > 20
    assert browser.ask("document.querySelectorAll('script').length") == 0
    assert (
        browser.ask("performance.getEntriesByType('resource').filter(entry => !entry.name.startsWith('data:')).length") == 0
    )
    colours = colours_of(browser.picture())
    assert bytes(background) in colours
    assert len(colours) >= 5, "the picture is blank"
