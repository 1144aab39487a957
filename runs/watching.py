"""What the sockets and the SSE view ask the database: who watches, and how things are now."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib import import_module
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

import orjson
from channels.db import database_sync_to_async
from django.conf import settings
from django.contrib import auth
from django.contrib.auth.base_user import AbstractBaseUser
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from runs import control, policy, representation
from runs.models import NodeExecution, Run
from runs.states import ACTIVE

P = ParamSpec("P")
T = TypeVar("T")

NODES, RUNS = 200, 200  # in a snapshot
DATABASE_THREADS = 4


async def in_database(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call it in one of a few OS threads, which keep no connection: a thousand sockets never ask at once."""
    ask: Any = database_sync_to_async(call, thread_sensitive=False, executor=_threads())
    result: T = await ask(*args, **kwargs)
    return result


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(DATABASE_THREADS, thread_name_prefix="watching")


def find_session_user(session: Any) -> AbstractBaseUser | None:
    """Whose session it is now; nobody's after a log-out, a new password or the end of the account."""
    key = getattr(session, "session_key", None)
    if key is None:
        return None
    request = HttpRequest()
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(key)
    user = auth.get_user(request)
    return user if isinstance(user, AbstractBaseUser) and user.is_authenticated and user.is_active else None


def run_snapshot(run_id: UUID, cursor: str) -> bytes:
    """One run, its newest nodes and its children, as one message.

    Raises:
        RunNotFound.
    """
    run = control.get(run_id)
    nodes = list(NodeExecution.objects.filter(run_id=run_id).order_by("-started_at", "-id")[:NODES])
    data = {
        "run": representation.summary_as_json(run),
        "nodes": [representation.node_as_json(node) for node in reversed(nodes)],
        "children": _as_json(Run.objects.filter(parent_id=run_id).order_by("id")[:RUNS]),
    }
    return _snapshot(cursor, str(run_id), data)


def list_snapshot(user: AbstractBaseUser, cursor: str) -> bytes:
    """The newest active runs that the user may see, as one message."""
    runs = policy.visible_runs(user).filter(status__in=ACTIVE).order_by("-id")
    return _snapshot(cursor, None, {"runs": _as_json(runs[:RUNS])})


def _as_json(runs: QuerySet[Run]) -> list[dict[str, Any]]:
    found = runs.select_related("owner").defer(*control.LARGE_FIELDS)
    return [representation.summary_as_json(run) for run in found]


def _snapshot(cursor: str, run_id: str | None, data: dict[str, Any]) -> bytes:
    at = timezone.now().isoformat()
    return orjson.dumps({"cursor": cursor, "run_id": run_id, "type": "snapshot", "at": at, "data": data}, default=str)
