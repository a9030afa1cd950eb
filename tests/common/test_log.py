"""Messages with and without logging."""

from __future__ import annotations

import re
import sys

import pytest
from helpers import Site

from taskfarmer_mpi.common.log import INFO, Log, Output, output

_SAY = """\
import sys
from taskfarmer_mpi.common.log import INFO, Log, output
output.set_up(INFO, " rank 3:")
{}
log = Log("a.module")
log.debug("hidden")
log.info("%d of %s", 1, "100 %")
log.error("50 %")
print("logging" in sys.modules)
"""


@pytest.mark.parametrize("line", ["", "import logging", "import logging; output.pass_to_logging(); logging.warning('mine')"])
def test_messages_look_alike_whether_logging_is_there_or_not(line: str, site: Site) -> None:
    process = site.start(sys.executable, "-c", _SAY.format(line))
    process.succeed(30)
    assert process.stdout == f"{bool(line)}\n"
    lines = process.stderr.splitlines()
    assert all(re.fullmatch(r"\d\d:\d\d:\d\d rank 3: \S.*", line) for line in lines)
    assert [line.partition(": ")[2] for line in lines[-2:]] == ["1 of 100 %", "50 %"]
    assert len(lines) == (3 if "mine" in line else 2)


class _Closed:
    def write(self, _text: str) -> int:
        raise OSError(5, "Input/output error")

    def flush(self) -> None:
        raise ValueError("closed")


def test_a_message_that_cannot_be_written_changes_nothing() -> None:
    broken = Output()
    broken.stream = _Closed()
    assert broken.write("text") == 0
    broken.flush()


def test_messages_reach_the_handlers_of_logging(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(INFO)
    Log("a.module").info("%s", "words")
    assert [(record.name, record.message, record.filename) for record in caplog.records] == [
        ("a.module", "words", "test_log.py")
    ]
    assert output.stream is None
