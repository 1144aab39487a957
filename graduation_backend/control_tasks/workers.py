"""`control_tasks workers`: who executes runs, and who has not been heard of for too long."""

from __future__ import annotations

from typing import Any

from django.utils import timezone

from graduation_backend.control_tasks import exits
from graduation_backend.control_tasks.tables import print_table
from graduation_backend.control_tasks.terminal import Screen
from runs import control, reading
from runs.dispatch import list_versions
from runs.errors import BrokerAway
from runs.models import Run, Worker
from runs.words import duration

COLUMNS = ("worker", "host", "pid", "state", "slots", "runs", "heard", "up", "pool", "version")
LEAST_NEEDED = ("pool", "up", "version", "host")
ALIVE, STOPPING, SILENT = "alive", "stopping", "silent"


def list_workers(options: dict[str, Any], screen: Screen) -> int:
    workers = reading.list_workers()
    running = reading.list_running()
    versions: dict[str, str] = {}
    try:
        versions = list_versions([worker.hostname for worker in workers if _state(worker) != SILENT])
    except BrokerAway as error:
        screen.note(f"Warning: the versions are not known, because {error}")
    if options["json"]:
        screen.json([_as_json(worker, running.get(worker.id, []), versions) for worker in workers])
    elif not workers:
        screen.line("There is no worker: start one with ./start_services.sh")
    else:
        rows = [_row(worker, running.get(worker.id, []), versions, screen) for worker in workers]
        print_table(screen, COLUMNS, LEAST_NEEDED, rows)
    return exits.DONE


def _state(worker: Worker) -> str:
    if _heard_seconds(worker) > control.WORKER_ALIVE_SECONDS:
        return SILENT
    return STOPPING if worker.is_stopping else ALIVE


def _heard_seconds(worker: Worker) -> float:
    return (timezone.now() - worker.heartbeat_at).total_seconds()


def _row(worker: Worker, held: list[Run], versions: dict[str, str], screen: Screen) -> list[Any]:
    name, _, host = worker.hostname.partition("@")
    return [
        name,
        host,
        str(worker.pid),
        screen.mark(_state(worker), {ALIVE: "green", STOPPING: "yellow", SILENT: "bold red"}),
        str(worker.concurrency),
        str(len(held)),
        f"{duration(_heard_seconds(worker))} ago",
        duration((worker.heartbeat_at - worker.started_at).total_seconds()),
        worker.pool,
        versions.get(worker.hostname, ""),
    ]


def _as_json(worker: Worker, held: list[Run], versions: dict[str, str]) -> dict[str, Any]:
    return {
        "id": worker.id,
        "hostname": worker.hostname,
        "pid": worker.pid,
        "state": _state(worker),
        "pool": worker.pool,
        "slots": worker.concurrency,
        "runs": [
            {
                "id": str(run.id),
                "graph": run.graph,
                "status": run.display_status,
                "lease_expires_in_seconds": _seconds_until(run.lease_expires_at),
            }
            for run in held
        ],
        "started_at": worker.started_at.isoformat().replace("+00:00", "Z"),
        "heartbeat_at": worker.heartbeat_at.isoformat().replace("+00:00", "Z"),
        "heartbeat_age_seconds": round(_heard_seconds(worker), 3),
        "version": versions.get(worker.hostname),
    }


def _seconds_until(at: Any) -> float | None:
    return round((at - timezone.now()).total_seconds(), 3) if at else None
