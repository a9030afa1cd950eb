"""Lists of real commands end as they would in bash, in an environment that a task can rely on."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from helpers import MPIEXEC, Site, accounted, settled, slices

LINES = 1000

_COMMANDS = r"""
echo plain words
echo "two  blanks" and 'single  quotes'
echo $HOME "$HOME" '$HOME' ${HOME:0:1} ${NOT_SET:-default}
echo $((6 * 7)) $(echo nested $(echo deeper)) `echo old style`
echo sub/* sub/?.txt sub/[ab].txt none*here {a,b}{1,2} ~
echo \* \$HOME \\ "a\"b" 'it'\''s'
echo a    # a comment at the end
echo one; echo two && echo three || echo four
echo to stderr >&2
echo mixed; echo order >&2; echo kept
cat sub/a.txt sub/missing.txt sub/b.txt
cd sub && ls
cd sub && cat a.txt; cd .. && ls sub | wc -l
cd missing && echo never
ls sub | sort -r | head -n 1
(cd sub; basename "$PWD"); basename "$(cd sub && pwd)"
true
false
! true
exit 3
exit 255
test -d sub
test -f sub
[ -e sub/a.txt ]
[[ abc == a* ]] && echo matched
printf '%s|' a b c
printf %05d 42
kill -9 $$
kill -TERM $$
sh -c 'exit 77'
sh -c 'kill -9 $$'
no-such-program with arguments
no-such-program; echo goes on
/no/such/path/program x
./no-such-script
./without-mark one two
./without-mark "three four"
./not-executable
./bad-interpreter
./sub
sub
/
./with-mark a b
./exits-five
python -c "import sys; sys.exit(9)"
python -c 'print("quotes \" inside")'
python -c 'import sys; print(sys.argv)' a 'b c' "d  e"
python -c 'raise SystemExit("said on stderr")'
python -c 'import sys; sys.stdout.buffer.write(bytes(range(256)))'
python -c pass
python --no-such-option
cat
wc -c
read line; echo "read: $?"
test -t 0; echo $?
cat < sub/a.txt
cat <<< "a here string"
wc -c < sub/a.txt > out.@ID@
sort sub/words.txt | uniq -c | sort -rn > out.@ID@
grep -c a sub/words.txt | tee out.@ID@
grep zzz sub/words.txt
grep zzz sub/words.txt > out.@ID@ || echo none >> out.@ID@
tr a-z A-Z < sub/words.txt | sed 's/A/4/g' > "out.@ID@ with blanks"
awk '{ n += length($0) } END { print n }' sub/words.txt
awk 'BEGIN { exit 4 }'
diff sub/a.txt sub/b.txt
diff <(sort sub/words.txt) <(sort -u sub/words.txt) > out.@ID@
for i in 1 2 3; do echo $i; done
for f in sub/*.txt; do wc -c "$f"; done
i=0; while [ $i -lt 3 ]; do i=$((i+1)); echo $i; done
if test -e sub; then echo there; else echo missing; fi
case abc in a*) echo begins with a;; esac
f() { echo "function $1"; return 6; }; f x
A=5; echo $A
A=5 sh -c 'echo $A'
A=5
declare -a x=(1 2 3); echo ${x[1]} ${#x[@]}
set -e; false; echo never
set -o pipefail; false | true
trap 'echo bye' EXIT; exit 4
shopt -s nullglob; echo [none]*
echo 'unterminated
echo "unterminated too
)
if true
&& echo
|
echo $(
: nothing
ls --no-such-option
seq 5
seq 3 -1 1
expr 1 + 1
expr 1 = 2
head -n 2 sub/words.txt
wc -l sub/words.txt sub/a.txt
sha256sum sub/words.txt
cut -d: -f1 /etc/passwd
md5sum /etc/passwd /etc/group
basename /a/b/c.txt .txt
dirname /a/b/c.txt
env -u HOME sh -c 'echo [$HOME]'
env A=1 printenv A
nice -n 3 echo nicer
xargs -n1 echo < sub/words.txt
find sub -name '*.txt' -newer /nonexistent
find sub -name '*.txt' | sort
touch made.@ID@
mkdir -p dir.@ID@/deep && echo x > dir.@ID@/deep/file
mkdir sub
cp sub/words.txt copy.@ID@ && rm copy.@ID@
ln -s sub/a.txt link.@ID@
dd if=/dev/zero of=zeros.@ID@ bs=1k count=3 status=none
gzip -nc sub/words.txt > packed.@ID@
exec echo replaced
exec false
command echo through command
builtin echo through builtin
eval echo evaluated
. ./sourced
source ./sourced; echo $SOURCED
type -t echo
type -t no-such-program
umask
ulimit -c
times > /dev/null
history
alias x=y; x
let x=1+1; echo $x
let 0
hash -r
export X=1; sh -c 'echo $X'
unset HOME; echo [$HOME]
pwd > /dev/null
sleep 0.01
sleep abc
time -p true 2> /dev/null
echo task $PROC_NUMBER
sh -c 'echo task $PROC_NUMBER'
echo Grüße, 世界 🚀
echo "größe" > größe.@ID@
printf '%s\n' ñ é "Ж" | wc -c
expr length äöü
echo tabs	between	words
printf '%s|'	a	b
   echo was indented
	echo was indented by a tab
  # an indented comment is a task
echo trailing blanks   
echo a%b+c,d:e@f=g
echo a=b c=d
echo -n no newline
echo -e 'a\tb'
echo !
echo ^caret^
echo a\
echo 'a\nb'
%1
-x
,
@
+
.
""".strip("\n").split("\n")  # noqa: W291


@dataclass(frozen=True, slots=True)
class _List:
    """A tasklist with all that real ones have, and what its tasks are."""

    data: bytes
    tasks: list[bytes]


def _real_files(count: int) -> list[Path]:
    return sorted(Path(json.__file__).parent.parent.glob("*.py"))[:count]


def _commands() -> Iterator[bytes]:
    """Yield command lines for ever."""
    for line in _COMMANDS:
        yield line.encode()
    yield b"echo undecodable \xff\xfe 'in quotes \xe4'"
    yield b"printf %s \xe4\xf6 | od -c"
    yield b"echo \xc3"
    yield b"no-such-program-\xff"
    yield b"echo x > undecodable-\xff.@ID@"
    long = "x" * 100_000
    yield f"echo {long}".encode()
    yield f"python -c 'import sys; print(len(sys.argv[1]))' {long}".encode()
    yield f"printf %s '{long}' | wc -c".encode()
    yield f"no-such-program {long}".encode()
    while True:
        for path in _real_files(60):
            yield f"sha256sum {path}".encode()
            yield f"md5sum < {path} > out.@ID@".encode()
            yield f"grep -n import {path} | sort | uniq -c > out.@ID@".encode()
            yield f"wc {path}".encode()
            yield f"""python -c 'import sys; print(len(open("{path}", "rb").read()))'""".encode()
            yield f"grep -q no-such-word-in-it {path}".encode()
            yield f'test "$(wc -l < {path})" -gt 300 && echo long'.encode()
            yield b"echo the same line again"


def _make_list() -> _List:
    chunks: list[bytes] = [b"# a comment\n", b"\n", b"#!/another one\r\n", b"   \t \n"]
    tasks: list[bytes] = []
    commands = _commands()
    endings = (b"\n", b"\r\n", b"\n", b"\r", b"\n\n", b"\n# echo a comment between\n", b" \n \t\r\n", b"\r\r\n", b"\n\r")
    while len(tasks) < LINES:
        line = next(commands).replace(b"@ID@", b"%d" % len(tasks))
        chunks += [line, endings[len(tasks) % len(endings)] if len(tasks) < LINES - 1 else b""]
        tasks.append(line.strip(b" \t"))
    return _List(b"".join(chunks), tasks)


def _furnish(folder: Path) -> None:
    """Put into a directory what the commands expect there."""
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "a.txt").write_text("the first\n")
    (folder / "sub" / "b.txt").write_text("the second\n")
    (folder / "sub" / "words.txt").write_text("banana\napple\ncherry\napple\n" * 5)
    (folder / "not-executable").write_text("#!/bin/sh\necho no\n")
    (folder / "sourced").write_text("SOURCED=yes\necho sourced\n")
    for name, text in (
        ("without-mark", 'echo "no mark: $# $1"\nexit 8\n'),
        ("with-mark", '#!/bin/sh\necho "$0 $*"\n'),
        ("exits-five", "#!/bin/sh\nexit 5\n"),
        ("bad-interpreter", "#!/no/such/interpreter\n"),
    ):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)


def _run_in_bash(task: bytes, task_id: int, folder: Path, environ: dict[str, str], log: Path) -> int:
    with log.open("wb") as out:
        return subprocess.run(
            [b"/bin/bash", b"-c", b"--", task],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            cwd=folder,
            env=environ | {"PROC_NUMBER": str(task_id)},
            timeout=60,
            check=False,
            start_new_session=True,
        ).returncode


def _tree(folder: Path) -> dict[bytes, bytes]:
    """Return what is in a directory: the content of files, and what links point to."""
    found = {}
    for root, folders, files in os.walk(os.fsencode(folder)):
        for name in (*folders, *files):
            path = os.path.join(root, name)
            place = os.path.relpath(path, os.fsencode(folder))
            if os.path.islink(path):
                found[place] = b"-> " + os.readlink(path)
            elif os.path.isdir(path):
                found[place] = b"/"
            else:
                with open(path, "rb") as file:
                    found[place] = file.read()
    return found


def test_a_thousand_real_commands_end_as_in_bash(site: Site) -> None:
    tasklist = site.path / "tasks"
    made = _make_list()
    tasklist.write_bytes(made.data)
    environ = site.environ(HOME=str(site.path))
    ours, theirs, logs = site.path / "ours", site.path / "theirs", site.path / "their logs"
    for folder in (ours, theirs):
        _furnish(folder)
    logs.mkdir()
    farmer = site.farm("-n", "4", tasklist, environ=environ, cwd=ours)
    assert farmer.wait(120) == 1, farmer.said()
    codes = [_run_in_bash(task, i, theirs, environ, logs / str(i)) for i, task in enumerate(made.tasks)]

    workdir = site.path / "tasks_workdir"
    lists = settled(workdir, made.tasks)
    assert sorted(lists.finished) == [i for i, code in enumerate(codes) if code == 0]
    assert sorted(lists.failed) == [i for i, code in enumerate(codes) if code != 0]
    traced = {event["args"]["task"]: event["args"]["code"] for event in slices(workdir)}
    for i, task in enumerate(made.tasks):
        assert traced[i] == codes[i], task[:100]
        assert (workdir / "logs" / f"log_{i}").read_bytes() == (logs / str(i)).read_bytes(), task[:100]
    assert _tree(ours) == _tree(theirs)
    assert len(lists.finished) > 500
    assert len(lists.failed) > 100


_PRINT_TASKS = """\
import json, sys
from taskfarmer.task import ListTaskList
json.dump(ListTaskList(sys.argv[1], sys.argv[2]).tasks, sys.stdout)
"""


@pytest.mark.parametrize("name", ["real", "odd_blanks"])
def test_task_ids_are_those_of_pytaskfarmer(name: str, site: Site, pytaskfarmer: Path) -> None:
    if name == "real":
        data = re.sub(rb"\xc3(?=[\r\n])|\xe4(?!\xb8)|\xf6|\xff|\xfe", b"?", _make_list().data)  # it takes valid UTF-8 only
    else:
        blanks = ["\u00a0", "\u2028", "\u3000", "\x0b", "\x0c", "\x1c", "\x85", "\t", " ", "\ufeff"]
        lines = [form.format(blank) for blank in blanks for form in ("{0}", "{0}#", "true {0}", "{0}true", "true{0}# x")]
        data = "\n".join(["#", " #", "##", "# #", *lines, "true"]).encode()
    tasklist = site.path / "tasks"
    tasklist.write_bytes(data)
    command = [str(pytaskfarmer.parent / "python"), "-c", _PRINT_TASKS, str(tasklist), str(site.path)]
    text = subprocess.run(command, env=site.environ(), capture_output=True, check=True, timeout=60).stdout
    tasks: list[str] = json.loads(text)
    site.farm("--timeout", "0.001", tasklist).succeed(60, code=75)
    lists = accounted(site.path / "tasks_workdir", tasks)
    assert len(lists.toprocess) + len(lists.finished) + len(lists.failed) == len(tasks) > 30


def test_a_command_that_is_too_long_for_the_kernel_is_a_failed_task(site: Site) -> None:
    tasks = ["echo before", f"/bin/echo {'y' * 200_000}", "echo after"]  # too long for a program, not for bash itself
    site.farm("-n", "1", site.tasklist(tasks)).succeed(60, code=1)
    workdir = site.path / "tasks_workdir"
    lists = settled(workdir, tasks)
    assert (sorted(lists.finished), lists.failed) == ([0, 2], [1])
    log = (workdir / "logs" / "log_1").read_text()
    assert "Argument list too long" in log
    assert len(log) < 1000
    assert {event["args"]["task"]: event["args"]["code"] for event in slices(workdir)} == {0: 0, 1: 126, 2: 0}


# -- what a task finds --------------------------------------------------------------------------------

_FIELDS = "cat /proc/self/status"
_ODD_START = """\
import os, signal, sys
for number in (signal.SIGHUP, signal.SIGPIPE, signal.SIGQUIT, signal.SIGTTOU):
    signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2, signal.SIGALRM, signal.SIGTTIN})
os.set_inheritable(os.open("/dev/zero", os.O_RDONLY), True)
os.execvp(sys.argv[1], sys.argv[1:])
"""
_LIBRARY_SIGNALS = 1 << 31 | 1 << 32
"""Signals 32 and 33 are the C library's own; its `posix_spawn` leaves them ignored."""
_SETTINGS = "OMPI_ALLOW_RUN_AS_ROOT"
_VARIABLES = ("PMI", "PMIX_", "HYDI_", "HYDRA_", "MPI_LOCAL", "MPIR_", "OMPI_", "PRTE_LAUNCHED", "PALS_")


def _task_report(site: Site, ranks: int) -> list[str]:
    """Run tasks that look at themselves, in a farm that was started in an odd state; return their logs."""
    start = site.path / "odd_start.py"
    start.write_text(_ODD_START)
    tasks = [
        _FIELDS,
        f"{_FIELDS} | cat",
        "env -0",
        "env -0 | cat",
        "ls -l /proc/self/fd",
        "cat; echo $?; ps -o pid=,sid=,pgid= -p $$",
        "echo $PROC_NUMBER",
    ]
    prefix = f"{sys.executable} {start}"
    site.farm("-n", "1", site.tasklist(tasks), ranks=ranks, prefix=prefix).succeed(60)
    workdir = site.path / "tasks_workdir"
    assert settled(workdir, tasks).failed == []
    return [(workdir / "logs" / f"log_{i}").read_text() for i in range(len(tasks))]


@pytest.mark.parametrize("ranks", [0, 2], ids=["plain", "two_ranks"])
def test_a_task_starts_with_default_signals_in_a_session_of_its_own(ranks: int, site: Site) -> None:
    direct, through_bash, variables, variables_through_bash, files, session, number = _task_report(site, ranks)
    for status in (direct, through_bash):
        fields = dict(line.split(":\t", 1) for line in status.splitlines())
        assert int(fields["SigIgn"], 16) & ~_LIBRARY_SIGNALS == 0
        assert int(fields["SigBlk"], 16) == 0

    for task_id, text in ((2, variables), (3, variables_through_bash)):
        environ = dict(entry.split("=", 1) for entry in text.split("\0") if entry)
        assert [name for name in environ if name.startswith(_VARIABLES) and not name.startswith(_SETTINGS)] == []
        assert environ["PROC_NUMBER"] == str(task_id)
        assert environ["HOME"] == os.environ["HOME"]
    assert number == "6\n"

    ends = [line.rpartition(" -> ")[2] for line in files.splitlines() if " -> " in line]
    assert ends[0] == "/dev/null"
    assert ends[1] == ends[2] == str(site.path / "tasks_workdir" / "logs" / "log_4")
    others = [end for end in ends[3:] if not re.fullmatch(r"/proc/\d+/fd", end)]
    assert len(others) == 1, f"descriptors of a task: {ends}"
    assert others[0].endswith(".tasks")

    code, ids = session.splitlines()
    assert code == "0"  # its stdin was empty
    assert len(set(ids.split())) == 1


def test_a_task_can_be_a_parallel_program(site: Site) -> None:
    program = "from mpi4py import MPI; print(MPI.COMM_WORLD.size)"
    tasks = [f"python -c '{program}'", f"{MPIEXEC} -n 2 python -c '{program}'", f"python -c '{program}'"]
    site.farm("-n", "1", site.tasklist(tasks), ranks=2).succeed(60)
    workdir = site.path / "tasks_workdir"
    assert settled(workdir, tasks).failed == []
    sizes = ["".join((workdir / "logs" / f"log_{i}").read_text().split()) for i in range(3)]  # ranks share a line at times
    assert sizes == ["1", "22", "1"]
