"""Databases of a test's own, which it may stop, freeze and restart: a SQLite file, or a PostgreSQL cluster."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import dj_database_url
import psutil
from django.conf import settings
from django.db import connections

from tests.environment import ROOT
from tests.services import process_environment

POSTGRES_BINARIES = Path("/usr/lib/postgresql")
WITHOUT_POSTGRES = "no PostgreSQL server programs, or no user `postgres` to run them as"


def find_postgres() -> Path | None:
    """The directory of the newest server programs; None if there are none, or nobody to run them as."""
    found = sorted(POSTGRES_BINARIES.glob("*/bin/postgres"), key=lambda path: float(path.parent.parent.name))
    if found:
        return found[-1].parent if _postgres_user() is not None else None
    on_path = shutil.which("postgres")
    return Path(on_path).parent if on_path and _postgres_user() is not None else None


def _postgres_user() -> str | None:
    """PostgreSQL refuses to run as root."""
    if os.getuid() != 0:
        return pwd.getpwuid(os.getuid()).pw_name
    return "postgres" if any(user.pw_name == "postgres" for user in pwd.getpwall()) else None


class PostgresCluster:
    """A PostgreSQL server in a temporary directory, on a free port of this machine."""

    def __init__(self, binaries: Path) -> None:
        self.binaries = binaries
        self.user = _postgres_user()
        self.home = Path(tempfile.mkdtemp(prefix="runs-postgres-"))
        if os.getuid() == 0:
            shutil.chown(self.home, self.user)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self._call("initdb", "--auth=trust", "--username=postgres", "--no-sync", "-D", str(self.home / "data"))
        self.start()

    @property
    def url(self) -> str:
        return f"postgres://postgres:postgres@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        options = f"-p {self.port} -k {self.home} -c listen_addresses=127.0.0.1 -c max_connections=200"
        self._control("start", "-w", "-l", str(self.home / "log"), "-o", options)

    def stop(self, *, mode: str = "immediate") -> None:
        """End it: `immediate` is a crash, from which it recovers at its start."""
        self._control("stop", "-w", "-m", mode)

    def signal(self, number: int) -> None:
        """To the server and all its processes; SIGSTOP makes a server that hangs."""
        server = psutil.Process(int((self.home / "data" / "postmaster.pid").read_text().split()[0]))
        for process in [server, *server.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def destroy(self) -> None:
        if (self.home / "data" / "postmaster.pid").exists():
            self.signal(signal.SIGCONT)
            self.stop()
        shutil.rmtree(self.home, ignore_errors=True)

    def _control(self, *words: str) -> None:
        self._call("pg_ctl", "-s", "-D", str(self.home / "data"), *words)

    def _call(self, program: str, *words: str) -> None:
        options = {"user": self.user} if os.getuid() == 0 else {}
        subprocess.run(
            [str(self.binaries / program), *words],
            check=True,
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            timeout=60,
            **options,  # type: ignore[call-overload]
        )


@contextmanager
def using_database(url: str) -> Iterator[None]:
    """Make this database, migrated, the one of this process and of those that it starts."""
    before = connections.settings["default"]
    connections["default"].close()
    ours = dict(dj_database_url.parse(url, conn_max_age=0))
    if ours["ENGINE"] == "django.db.backends.sqlite3":
        ours["OPTIONS"] = settings.SQLITE_OPTIONS
    _use({**before, "OPTIONS": {}, "USER": "", "PASSWORD": "", "HOST": "", "PORT": "", **ours})
    try:
        subprocess.run(
            [sys.executable, "manage.py", "migrate", "--verbosity", "0"],
            cwd=ROOT,
            env=process_environment(),
            check=True,
            timeout=90,
        )
        yield
    finally:
        connections["default"].close()
        _use(before)


def _use(database: dict[str, object]) -> None:
    connections.settings["default"] = database
    del connections["default"]
