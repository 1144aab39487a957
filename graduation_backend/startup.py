"""What plain `celery -A graduation_backend worker` and `daphne …` do first: a Redis where there is none, and one clear
line where they can't work.
"""

from __future__ import annotations

import sys
from types import TracebackType

from graduation_backend import embedded_redis
from graduation_backend.environment import WrongEnvironment


def show_wrong_environment_in_one_line() -> None:
    """Let a program that has no handler of its own, as Celery and Daphne, end without a traceback."""
    sys.excepthook = _excepthook


def start_embedded_redis() -> None:
    """Start the private Redis that both programs need, if the settings name no other and none runs yet.

    Raises:
        SystemExit: it does not start.
    """
    from django.conf import settings

    try:
        if not settings.REDIS_IS_EMBEDDED or not embedded_redis.ensure_running(settings.DATA_DIR):
            return
    except WrongEnvironment as error:
        sys.exit(f"Configuration error: {error}")
    pid = embedded_redis.server_pid(settings.DATA_DIR)
    advice = f"It outlives this process; to stop it: {embedded_redis.STOP_COMMAND}"
    print(f"Started an embedded Redis (pid {pid}). {advice}", file=sys.stderr)


def refuse_unmigrated_database() -> None:
    """End with one line when the database lacks tables, rather than with a traceback at every turn.

    Raises:
        SystemExit: migrations are missing, or the database does not answer.
    """
    from django.db import DatabaseError, connection
    from django.db.migrations.executor import MigrationExecutor

    try:
        executor = MigrationExecutor(connection)
        missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError as error:
        sys.exit(f"The database does not answer ({str(error).splitlines()[0]}): see DATABASE_URL")
    finally:
        connection.close()  # before the worker forks
    if missing:
        sys.exit(f"The database lacks {len(missing)} migrations: run `python manage.py migrate` first")


def refuse_wrong_limits() -> None:
    """End with one line when `RUNS_GRAPHS` names what there is not, rather than at the first run of that graph.

    Raises:
        SystemExit.
    """
    from runs import catalog, limits
    from runs.errors import CatalogUnreadable

    try:
        known = catalog.read_catalog().entries
    except CatalogUnreadable:
        return  # told where a graph is looked for
    for problem in limits.list_problems(known):
        sys.exit(f"Configuration error: {problem}")


def _excepthook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if isinstance(error, WrongEnvironment):
        print(f"Configuration error: {error}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, traceback)
