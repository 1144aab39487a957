"""What must hold before anything is started, each with one line that says what is wrong and what to do."""

from __future__ import annotations

import os
import socket
from urllib.parse import urlsplit

import kombu.exceptions
import redis
from django.db import OperationalError, connection
from django.db.migrations.executor import MigrationExecutor
from redis.backoff import NoBackoff
from redis.retry import Retry

from graduation_backend.celery import app

ANSWER_SECONDS = 3


class NotPossible(Exception):
    """Nothing was started; the message is for the person at the terminal."""


def check_port_is_free(host: str, port: int) -> None:
    """
    Raises:
        NotPossible: something listens there, or this user or this machine can't.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        if os.name == "posix":
            # As the web server does: a port that was used a moment ago is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except PermissionError:
            raise NotPossible(f"This user may not listen on port {port}. {_another_port(8000)}") from None
        except socket.gaierror:
            raise NotPossible(f"{host!r} is no address of this machine. Try --host 127.0.0.1") from None
        except OSError as error:
            if error.errno in {98, 48, 10048}:  # EADDRINUSE on Linux, macOS and Windows
                other = port + 1 if port < 65_535 else 8000
                raise NotPossible(f"Port {port} is taken by another program. {_another_port(other)}") from None
            raise NotPossible(f"Can't listen on {host} port {port}: {error.strerror}.") from None


def check_redis_answers(url: str) -> None:
    try:
        with redis.Redis.from_url(
            url,
            socket_timeout=ANSWER_SECONDS,
            socket_connect_timeout=ANSWER_SECONDS,
            retry=Retry(NoBackoff(), 0),
        ) as client:
            client.ping()
    except redis.RedisError as error:
        raise NotPossible(
            f"The Redis of REDIS_URL ({without_password(url)}) does not answer: {_first_line(error)} "
            "Start it, or unset REDIS_URL to use the private one."
        ) from None


def check_broker_answers(url: str) -> None:
    try:
        with app.connection_for_write(url, connect_timeout=ANSWER_SECONDS) as broker:
            broker.ensure_connection(max_retries=1, interval_start=0)
    except kombu.exceptions.OperationalError as error:
        raise NotPossible(
            f"The broker of CELERY_BROKER_URL ({without_password(url)}) does not answer: {_first_line(error)}"
        ) from None


def count_missing_migrations() -> int:
    """
    Raises:
        NotPossible: the database does not answer.
    """
    try:
        executor = MigrationExecutor(connection)
    except OperationalError as error:
        raise NotPossible(f"The database does not answer: {_first_line(error)}") from None
    return len(executor.migration_plan(executor.loader.graph.leaf_nodes()))


def without_password(url: str) -> str:
    """Scheme, host, port and path: what may be shown."""
    parts = urlsplit(url)
    address = parts.hostname or ""
    return f"{parts.scheme}://{address}{f':{parts.port}' if parts.port else ''}{parts.path}"


def _another_port(port: int) -> str:
    return f"To use another: PORT={port} ./start_services.sh"


def _first_line(error: BaseException) -> str:
    return f"{str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__}.".replace("..", ".")
