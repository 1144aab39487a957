"""`control_tasks tasks`, `queues`, `retry-task` and `tell-worker`: what is no run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery_tasks import control, representation
from celery_tasks.models import PlainTask
from graduation_backend.control_tasks import exits
from graduation_backend.control_tasks.plain_arguments import ORDERS
from graduation_backend.control_tasks.tables import print_table
from graduation_backend.control_tasks.terminal import Screen, shortened
from runs.errors import BrokerAway
from runs.words import duration

TASK_COLUMNS = ("id", "task", "state", "queue", "worker", "took", "arguments")
TASKS_LEAST_NEEDED = ("arguments", "queue", "worker", "took")
QUEUE_COLUMNS = ("queue", "waiting", "by priority", "consumers")


def list_tasks(options: dict[str, Any], screen: Screen) -> int:
    if options["task_id"]:
        return _show_task(options, screen)
    live: list[dict[str, Any]] = []
    try:
        seen = control.look()
    except BrokerAway as error:
        screen.note(f"Warning: only finished tasks are listed, because {error}")
    else:
        live = [representation.live_as_json(task) for task in seen.tasks]
        if seen.silent:
            screen.note(f"Warning: without an answer in time, so not listed what they hold: {', '.join(seen.silent)}")
        if not seen.shows_waiting:
            screen.note("This broker tells how many tasks wait, not which: manage.py control_tasks queues")
    found = PlainTask.objects.order_by("-id")[: max(options["limit"], 0)]
    finished = [representation.finished_as_json(task) for task in found]  # type: ignore[arg-type]
    if options["json"]:
        screen.json({"live": live, "finished": finished})
    elif live or finished:
        print_table(screen, TASK_COLUMNS, TASKS_LEAST_NEEDED, [_row(task) for task in [*live, *finished]])
    else:
        screen.line("There are no tasks.")
    return exits.DONE


def _show_task(options: dict[str, Any], screen: Screen) -> int:
    task = representation.as_json(control.get(options["task_id"]))
    if options["json"]:
        screen.json(task)
        return exits.DONE
    for name, value in task.items():
        if name != "traceback" and value not in (None, ""):
            screen.line(f"{name:<14}{value if isinstance(value, str) else shortened(value)}")
    for line in (task["traceback"] or "").splitlines():
        screen.line(f"  {line}")
    return exits.DONE


def _row(task: dict[str, Any]) -> list[Any]:
    state = f"{task['state']} (a run)" if task["is_run"] else task["state"]
    took = "" if task["seconds"] is None else duration(task["seconds"])
    named = task["kwargs"] if isinstance(task["kwargs"], dict) else {}
    arguments = [shortened(value, 60) for value in task["args"]] if isinstance(task["args"], list) else []
    arguments += [f"{name}={shortened(value, 60)}" for name, value in named.items()]
    return [task["id"], task["name"], state, task["queue"], task["worker"], took, ", ".join(arguments)]


def list_queues(options: dict[str, Any], screen: Screen) -> int:
    queues = control.list_queues()
    if options["json"]:
        screen.json([representation.queue_as_json(queue) for queue in queues])
        return exits.DONE
    rows = [
        [
            queue.name,
            "not declared yet" if queue.waiting is None else f"{queue.waiting:,}",
            ", ".join(f"{priority}: {size:,}" for priority, size in queue.by_priority.items()),
            "" if queue.consumers is None else str(queue.consumers),
        ]
        for queue in queues
    ]
    print_table(screen, QUEUE_COLUMNS, (), rows)
    return exits.DONE


def retry_task(options: dict[str, Any], screen: Screen) -> int:
    sent = control.retry_by_id(options["task_id"], by=None, reason=options["reason"])
    if options["json"]:
        screen.json({"id": sent, "retry_of": options["task_id"]})
    else:
        screen.line(sent)
    return exits.DONE


def tell_worker(options: dict[str, Any], screen: Screen) -> int:
    order = options["order"]
    given = {name: options[name] for name in ORDERS[order]}
    missing = [f"--{name}" for name, value in given.items() if value is None]
    if missing:
        raise exits.Error(f"{order} needs {' and '.join(missing)}", exits.USAGE)
    act: Callable[..., str] = getattr(control, order.replace("-", "_"))
    said = act(options["hostname"], by=None, reason=options["reason"], **given)
    if options["json"]:
        screen.json({"worker": options["hostname"], "order": order, "said": said})
    else:
        screen.line(said)
    return exits.DONE


ACTIONS: dict[str, Callable[[dict[str, Any], Screen], int]] = {
    "tasks": list_tasks,
    "queues": list_queues,
    "retry-task": retry_task,
    "tell-worker": tell_worker,
}
