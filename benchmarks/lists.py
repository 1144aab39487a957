"""How long the lists and pages of the admin and the API take with very many runs: it makes the data, asks for each page
through Django's test client, and says which took longer than the bound.

    python -m benchmarks.lists [--runs 1000000] [--nodes 10] [--repeats 5] [--measure-only]

The data is in a database of its own: SQLite in a temporary directory, or what TEST_DATABASE_URL names, which must be
empty, or hold the data already with --measure-only. CPU is that of the process which makes the page; what a database
server takes is in the time alone.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from typing import Any
from uuid import UUID

import tests.environment  # gives this process a data directory of its own

BOUND_SECONDS = 0.3
DAYS = 90  # over which the runs are spread
GRAPHS, OWNERS, WORKERS = 12, 20, 6
RUNNING, STOPPING, QUEUED = 120, 20, 3_000  # the newest
BATCH = 100_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--nodes", type=int, default=10, help="of each run")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--measure-only", action="store_true", help="the data is there already")
    options = parser.parse_args()
    os.environ["DJANGO_SETTINGS_MODULE"] = "graduation_backend.settings"
    import django

    django.setup()
    from django.conf import settings
    from django.core.management import call_command
    from django.db import connection
    from django.test.utils import setup_test_environment

    from graduation_backend import embedded_redis

    call_command("migrate", verbosity=0)
    setup_test_environment()
    if settings.REDIS_IS_EMBEDDED:
        embedded_redis.ensure_running(tests.environment.DATA_DIR)
    began = time.perf_counter()
    if not options.measure_only:
        make_data(options.runs, options.nodes)
    took = time.perf_counter() - began
    rows = f"{options.runs:,} runs, {options.runs * options.nodes:,} node rows"
    print(f"{connection.vendor}: {rows}, made in {took:.0f} s", flush=True)
    late = measure(options.repeats)
    if settings.REDIS_IS_EMBEDDED:
        embedded_redis.stop(tests.environment.DATA_DIR)
    print(f"bound {BOUND_SECONDS * 1_000:.0f} ms: {f'{late} take longer' if late else 'all are within it'}")


# --- the data ---------------------------------------------------------------------------------------------


def make_data(runs: int, nodes: int) -> None:
    from django.db import connection

    from authentication.models import User
    from runs.columns import to_database
    from runs.models import Run, StatusChange

    owners = [User(email=f"owner-{number}@example.com") for number in range(OWNERS)]
    User.objects.bulk_create(owners)
    keys = [to_database(User._meta.pk, owner.pk) for owner in owners]
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            for pragma in ("synchronous = OFF", "foreign_keys = OFF", "cache_size = -200000"):
                cursor.execute(f"PRAGMA {pragma}")
    sql = _Dialect(connection.vendor)
    step = DAYS * 86_400 / runs  # seconds from a run to the next
    began = time.time() - DAYS * 86_400
    owner_cases = " ".join(f"WHEN {place} THEN {sql.uuid_of(key)}" for place, key in enumerate(keys))
    columns = _run_columns(sql, runs, began, step, owner_cases)
    for first in range(0, runs, BATCH):
        last = min(first + BATCH, runs) - 1
        _insert_from(Run, columns, sql.series(first, last))
        _insert_from(
            StatusChange,
            {
                "run_id": columns["id"],
                "status": columns["status"],
                "attempt": columns["attempt"],
                "at": columns["created_at"],
            },
            sql.series(first, last),
        )
        _insert_nodes(sql, columns, nodes, first, last)
    if connection.vendor == "postgresql":  # which does it by itself, in time; SQLite never does
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")


class _Dialect:
    """The few words in which SQLite and PostgreSQL differ."""

    def __init__(self, vendor: str) -> None:
        self.is_sqlite = vendor == "sqlite"

    def series(self, first: int, last: int, name: str = "i") -> str:
        if self.is_sqlite:
            counted = f"SELECT {first} UNION ALL SELECT {name} + 1 FROM series WHERE {name} < {last}"  # noqa: S608
            return f"(WITH RECURSIVE series({name}) AS ({counted}) SELECT {name} FROM series) AS of_{name}"  # noqa: S608
        return f"generate_series({first}, {last}) AS of_{name}({name})"

    def hex(self, expression: str, width: int) -> str:
        if self.is_sqlite:
            return f"printf('%0{width}x', {expression})"
        return f"lpad(to_hex(({expression})::bigint), {width}, '0')"

    def uuid(self, text: str) -> str:
        return text if self.is_sqlite else f"CAST({text} AS uuid)"

    def uuid_of(self, key: Any) -> str:
        return self.uuid(f"'{key}'")

    def whole(self, expression: str) -> str:
        return f"CAST({expression} AS {'integer' if self.is_sqlite else 'bigint'})"

    def time(self, seconds: str) -> str:
        if self.is_sqlite:
            return f"strftime('%Y-%m-%d %H:%M:%f', {seconds}, 'unixepoch') || '000'"
        return f"to_timestamp({seconds})"


def _run_columns(sql: _Dialect, runs: int, began: float, step: float, owner_cases: str) -> dict[str, str]:
    """Each column of the i-th run, as an expression of i. Every tenth is the parent of the nine after it."""

    def key(i: str) -> str:
        made = sql.whole(f"({began} + ({i}) * {step}) * 1000")
        parts = [sql.hex(made, 12), "'7'", sql.hex(f"({i}) % 4096", 3), "'8000'", sql.hex(i, 12)]
        return sql.uuid(" || ".join(parts))

    created = f"({began} + i * {step})"
    active = runs - RUNNING - QUEUED
    status = (
        f"CASE WHEN i >= {runs - QUEUED} THEN 'queued' WHEN i >= {active} THEN 'running' "
        "WHEN i % 100 < 88 THEN 'completed' WHEN i % 100 < 94 THEN 'failed' ELSE 'cancelled' END"
    )
    is_running = f"i >= {active} AND i < {runs - QUEUED}"
    is_ended = f"i < {active}"
    is_cancelled = f"({is_ended} AND i % 100 >= 94)"
    is_stopped = f"({is_cancelled} OR ({is_running} AND i < {active + STOPPING}))"
    parent = "i - i % 10"
    return {
        "id": key("i"),
        "graph": f"CASE WHEN i % 100000 = 7 THEN 'rare' ELSE 'graph_' || (i / 10 % {GRAPHS}) END",
        "status": status,
        "parent_id": f"CASE WHEN i % 10 = 0 THEN NULL ELSE {key(parent)} END",
        "root_id": key(parent),
        "child_key": "CASE WHEN i % 10 = 0 THEN NULL ELSE 'k' || i END",
        "on_parent_stop": "'cancel'",
        "owner_id": f"CASE i / 10 % {OWNERS} {owner_cases} END",
        "thread_id": "'thread-' || i",
        "task": "'runs.tasks.execute_run'",
        "queue": "'ai_processing'",
        "priority": "5",
        "input": """'{"text": "Call me Ishmael. Some years ago, never mind how long, I thought I would sail."}'""",
        "output": f"""CASE WHEN {status} = 'completed' THEN {_json(sql, '{"words": 12, "tone": 0.5}')} ELSE NULL END""",
        "error": f"""CASE WHEN {status} = 'failed' THEN {_json(sql, '{"type": "E", "message": "no"}')} ELSE NULL END""",
        "attempt": f"CASE WHEN i >= {runs - QUEUED} THEN 0 ELSE 1 END",
        "worker": f"CASE WHEN i >= {runs - QUEUED} THEN '' ELSE 'celery@box-' || (i % {WORKERS}) || '#1' END",
        "pid": f"CASE WHEN i >= {runs - QUEUED} THEN NULL ELSE 4711 END",
        "lease_expires_at": f"CASE WHEN {is_running} THEN {sql.time(str(time.time() + 3_600))} ELSE NULL END",
        "current_node": f"CASE WHEN {is_running} THEN 'write' ELSE '' END",
        "stop_requested_at": f"CASE WHEN {is_stopped} THEN {sql.time(f'{created} + 5')} ELSE NULL END",
        "stop_mode": f"CASE WHEN {is_stopped} THEN 'cancel' ELSE '' END",
        "stop_deadline": f"CASE WHEN {is_stopped} THEN {sql.time(f'{created} + 35')} ELSE NULL END",
        "stop_gone_at": f"CASE WHEN {is_cancelled} THEN {sql.time(f'{created} + 5 + i % 7')} ELSE NULL END",
        "stop_rung": f"CASE WHEN {is_cancelled} THEN i % 3 ELSE NULL END",
        "created_at": sql.time(created),
        "queued_at": sql.time(created),
        "started_at": f"CASE WHEN i >= {runs - QUEUED} THEN NULL ELSE {sql.time(f'{created} + 0.1')} END",
        "finished_at": f"CASE WHEN {is_ended} THEN {sql.time(f'{created} + 20')} ELSE NULL END",
    }


def _json(sql: _Dialect, text: str) -> str:
    return f"'{text}'" if sql.is_sqlite else f"CAST('{text}' AS jsonb)"


def _insert_nodes(sql: _Dialect, columns: dict[str, str], nodes: int, first: int, last: int) -> None:
    from runs.models import NodeExecution

    begun = columns["created_at"]
    _insert_from(
        NodeExecution,
        {
            "id": sql.uuid(sql.hex("k", 20) + " || " + sql.hex("i", 12)),
            "run_id": columns["id"],
            "attempt": "1",
            "node": "'node_' || k",
            "namespace": "'node_' || k || ':0'",
            "step": "k",
            "status": "'finished'",
            "started_at": begun,
            "finished_at": begun,
            "is_stoppable": "TRUE",
        },
        f"{sql.series(first, last)}, {sql.series(0, nodes - 1, 'k')}",
    )


def _insert_from(model: Any, given: dict[str, str], source: str) -> None:
    """INSERT … SELECT with what is not given as empty as it may be."""
    from django.db import connection, models

    values = dict[str, str]()
    for field in model._meta.concrete_fields:
        if isinstance(field, models.AutoField):
            continue
        empty = "NULL" if field.null else "0"
        if not field.null and isinstance(field, models.CharField | models.TextField):
            empty = "''"
        elif not field.null and isinstance(field, models.BooleanField):
            empty = "FALSE"
        elif not field.null and isinstance(field, models.JSONField):
            empty = "'{}'"
        values[field.column] = given.get(field.column, empty)
    sql = f"INSERT INTO {model._meta.db_table} ({', '.join(values)}) SELECT {', '.join(values.values())} FROM {source}"  # noqa: S608
    with connection.cursor() as cursor:
        cursor.execute(sql)


# --- the measure ------------------------------------------------------------------------------------------


def measure(repeats: int) -> int:
    """Print how long each page takes, and return how many take longer than the bound."""
    from django.test import Client

    from authentication.models import User

    client = Client()
    operator = User.objects.filter(is_superuser=True).first() or User.objects.create_superuser("operator@example.com")
    client.force_login(operator)
    late = 0
    print(f"{'page':42}{'quickest':>12}{'median':>12}{'CPU':>12}")
    for name, url in list_pages().items():
        answer = client.get(url)  # also warms it up
        assert answer.status_code == 200, f"{url}: {answer.status_code}"
        times, processor = [], []
        for _ in range(repeats):
            began, began_processor = time.perf_counter(), time.process_time()
            client.get(url)
            times.append(time.perf_counter() - began)
            processor.append(time.process_time() - began_processor)
        # What else the machine does only adds to it.
        is_late = min(times) > BOUND_SECONDS
        late += is_late
        figures = "".join(
            f"{seconds * 1_000:9.0f} ms"
            for seconds in (min(times), statistics.median(times), statistics.median(processor))
        )
        print(f"{name:42}{figures}{'  later than the bound' if is_late else ''}", flush=True)
    return late


def list_pages() -> dict[str, str]:
    from django.urls import reverse

    from runs.listing import estimated_rows
    from runs.models import Run

    admin = "/admin/runs/run/"
    dashboard = reverse("admin:runs_run_dashboard")
    newest = list(Run.objects.order_by("-id").values_list("id", flat=True)[:50])
    middle: UUID = Run.objects.order_by("created_at").filter(status="failed").values_list("id", flat=True)[100]
    owner = Run.objects.order_by("-id").values_list("owner_id", flat=True)[0]
    pages = estimated_rows(Run) // 50
    return {
        "admin: runs": admin,
        "admin: runs, page 2": f"{admin}?p=2",
        "admin: runs, last page but one": f"{admin}?p={pages - 1}",
        "admin: runs, completed": f"{admin}?status=completed",
        "admin: runs, completed, a late page": f"{admin}?status=completed&p={min(900, pages // 2)}",
        "admin: runs, failed": f"{admin}?status=failed",
        "admin: runs, active": f"{admin}?status=active",
        "admin: runs, cancelling": f"{admin}?status=cancelling",
        "admin: runs, of a graph": f"{admin}?graph=graph_3",
        "admin: runs, of a rare graph, failed": f"{admin}?graph=rare&status=failed",
        "admin: runs, of an owner": f"{admin}?owner__id__exact={owner}",
        "admin: runs, of a worker": f"{admin}?worker=celery@box-1%231",
        "admin: runs, under an hour": f"{admin}?age=under-hour",
        "admin: runs, over a week": f"{admin}?age=over-week",
        "admin: runs, killed": f"{admin}?rung=kill",
        "admin: runs, search of an id": f"{admin}?q={str(middle)[:18]}",
        "admin: runs, search of a graph": f"{admin}?q=graph_1",
        "admin: runs, search of an owner": f"{admin}?q=owner-7@",
        "admin: runs, search of nothing": f"{admin}?q=nowhere",
        "admin: runs, sorted by age": f"{admin}?o=7",
        "admin: live cells of 50 rows": f"{admin}live/?ids={','.join(map(str, newest))}",
        "admin: a run": f"{admin}{middle}/change/",
        "admin: dashboard, 24 hours": f"{dashboard}?hours=24",
        "admin: dashboard, 7 days": f"{dashboard}?hours=168",
        "admin: first page": "/admin/",
        "admin: brake": "/admin/runs/freeze/",
        "api: runs": "/api/runs",
        "api: runs, failed": "/api/runs?status=failed",
        "api: runs, after a cursor in the middle": f"/api/runs?cursor={middle}",
        "api: tree of a run": f"/api/runs/{middle}/tree",
        "api: nodes of a run": f"/api/runs/{middle}/nodes",
        "api: stats": "/api/stats",
    }


if __name__ == "__main__":
    main()
