from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
import time

import psutil
import pytest

from graduation_backend.processes import LINE_MAX_BYTES, ChildProcess, Console, is_coloured, split_lines

NAMES = {"web": "\x1b[32m", "worker": "\x1b[36m"}


def split(*pieces: bytes) -> list[str]:
    """What comes out when exactly these pieces go through a pipe."""
    reader, writer = os.pipe()
    with open(reader, "rb", buffering=0) as output:
        lines = split_lines(output)
        found: list[str] = []
        collector = threading.Thread(target=lambda: found.extend(lines))
        collector.start()
        for piece in pieces:
            os.write(writer, piece)
            time.sleep(0.02)
        os.close(writer)
        collector.join(5)
    return found


def start(script: str, console: Console) -> ChildProcess:
    return ChildProcess("web", [sys.executable, "-u", "-c", script], console, os.environ)


def wait_for_end(child: ChildProcess) -> int:
    deadline = time.monotonic() + 10
    while (code := child.exit_code()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    child.drain_output()
    return code


@pytest.fixture
def shown() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def console(shown: io.StringIO) -> Console:
    return Console(shown, colours=NAMES, coloured=False)


def test_line_in_pieces_is_one_line() -> None:
    assert split(b"one ", b"and the same\ntwo", b"\n") == ["one and the same", "two"]


def test_last_line_without_an_end_is_shown() -> None:
    assert split(b"one\nlast") == ["one", "last"]


def test_letter_cut_between_two_pieces_is_whole() -> None:
    assert split("é".encode()[:1], "é".encode()[1:] + b"\n") == ["é"]


def test_broken_utf8_is_replaced() -> None:
    assert split(b"a\xffb\n") == ["a\ufffdb"]


def test_windows_line_ends_and_progress_bars_leave_the_last_state() -> None:
    assert split(b"one\r\n10%\r50%\r100%\n\n") == ["one", "100%", ""]


def test_endless_line_is_shown_in_pieces() -> None:
    lines = split(*[b"x" * 30_000] * 5)
    assert sum(map(len, lines)) == 150_000
    assert all(len(line) <= 2 * LINE_MAX_BYTES for line in lines)
    assert len(lines) > 1


def test_prefixes_are_aligned(console: Console, shown: io.StringIO) -> None:
    console.show("web", "a")
    console.show("worker", "b")
    assert shown.getvalue() == "web    | a\nworker | b\n"


def test_colour_is_on_the_prefix_only(shown: io.StringIO) -> None:
    Console(shown, colours=NAMES, coloured=True).show("web", "a")
    assert shown.getvalue() == "\x1b[32mweb    | \x1b[0ma\n"


def test_lines_of_many_threads_stay_whole(console: Console, shown: io.StringIO) -> None:
    threads = [threading.Thread(target=lambda: [console.show("web", "x" * 50) for _ in range(200)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(shown.getvalue().splitlines()) == {"web    | " + "x" * 50}


def test_console_without_a_reader_does_not_stop_the_program() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    stream = open(writer, "w")  # noqa: SIM115 - closing it flushes into the broken pipe
    Console(stream, colours=NAMES, coloured=False).say("nobody hears this")
    with pytest.raises(BrokenPipeError):
        stream.close()


def test_console_that_is_not_utf8_shows_a_question_mark() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    Console(stream, colours=NAMES, coloured=False).say("é")
    assert stream.buffer.getvalue() == b"?\n"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("environment", "expected"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)],
)
def test_colours_on_a_terminal(environment: dict[str, str], expected: bool) -> None:
    _main, terminal = os.openpty()
    with open(terminal, "w") as stream:
        assert is_coloured(stream, environment) is expected
    os.close(_main)


def test_no_colours_where_there_is_no_terminal(shown: io.StringIO) -> None:
    assert not is_coloured(shown, {})


def test_child_output_and_errors_are_shown(console: Console, shown: io.StringIO) -> None:
    child = start(
        "import sys; print('out'); print('err', file=sys.stderr); print('no end', end=''); sys.exit(3)",
        console,
    )
    assert wait_for_end(child) == 3
    assert shown.getvalue() == "web    | out\nweb    | err\nweb    | no end\n"


def test_interrupt_reaches_the_program_alone(console: Console, shown: io.StringIO) -> None:
    child = start(
        "import subprocess, sys, time\n"
        "other = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print('up')\n"
        "try: time.sleep(60)\n"
        "except KeyboardInterrupt: print('other', other.poll())\n",
        console,
    )
    while "up" not in shown.getvalue():
        time.sleep(0.02)
    child.interrupt()
    wait_for_end(child)
    assert "other None" in shown.getvalue()
    child.kill()


def test_kill_ends_what_a_dead_child_left_behind(console: Console, shown: io.StringIO) -> None:
    child = start(
        "import subprocess, sys\nprint(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']).pid)",
        console,
    )
    assert wait_for_end(child) == 0
    left = psutil.Process(int(shown.getvalue().split("| ")[1]))
    assert left.is_running()
    child.kill()
    psutil.wait_procs([left], timeout=5)
    assert not left.is_running() or left.status() == psutil.STATUS_ZOMBIE


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel call is Linux's")
def test_child_dies_with_its_killed_parent() -> None:
    script = (
        "import subprocess, sys, time\n"
        "from graduation_backend.processes import ending_with_this_process as e\n"
        "print(subprocess.Popen(e([sys.executable, '-c', 'import time; time.sleep(60)'])).pid, flush=True)\n"
        "time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    # Until it has become the command, its death with the parent may not be arranged yet.
    while "time.sleep" not in " ".join(child.cmdline()[-1:]) or "-I" in child.cmdline():
        time.sleep(0.02)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 5
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.02)
