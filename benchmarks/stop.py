"""A kill against Celery's own, and a stop of whole trees.

    python -m benchmarks.stop [--trials 30]

The kill: from the call to the process being gone, of a run (`mode="kill"`) and of a plain Celery task
(`revoke(terminate=True, signal="SIGKILL")`), in turns in the same worker. Both nodes sleep in one long call.
The trees: one member runs on each slot, all others are queued; database statements, the time until the call returns
and until the last member has ended.
"""

from __future__ import annotations

import argparse
import os
import select
import time
import uuid
from collections.abc import Callable

from benchmarks.harness import milliseconds, percentile, services

SIZES = (10, 100, 1_000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=30)
    options = parser.parse_args()
    with services():
        measure_kill(2)
        plain, ours = measure_kill(options.trials)
        for part in (50, 95):
            theirs, mine = percentile(plain, part), percentile(ours, part)
            ratio = f"ratio {mine / theirs:.2f}" + (", aim ≤ 2.00" if part == 50 else "")
            print(f"kill p{part}  Celery {milliseconds(theirs)}   run {milliseconds(mine)}   {ratio}")
        for shape in (flat, deep):
            for size in SIZES:
                statements, returned, ended = measure_tree(shape, size)
                aim = ", aim ≤ 1 s" if size == SIZES[-1] else ""
                print(
                    f"tree of {size:5} {shape.__name__:4}  {statements:3} statements   "
                    f"call {milliseconds(returned)}   all ended {milliseconds(ended)}{aim}"
                )


def measure_kill(count: int) -> tuple[list[float], list[float]]:
    """Seconds from the call to the end of the process: Celery's, ours."""
    from runs import control

    plain, ours = [], []
    for _ in range(count):
        name, task_id = uuid.uuid4().hex, _start_plain()
        plain.append(_seconds_to_end(task_id, lambda key=task_id: _revoke(key)))
        run = control.submit("hanging", {"name": name})
        ours.append(_seconds_to_end(name, lambda run=run: control.cancel(run.id, mode="kill")))
        control.wait(run.id, timeout_seconds=20)
    return plain, ours


def _start_plain() -> str:
    from benchmarks.graphs import hang_plainly

    task_id = str(uuid.uuid4())
    hang_plainly.apply_async([task_id], task_id=task_id)
    return task_id


def _revoke(task_id: str) -> None:
    from graduation_backend.celery import app

    app.control.revoke(task_id, terminate=True, signal="SIGKILL")


def _seconds_to_end(name: str, kill: Callable[[], object]) -> float:
    from runs.connections import redis_client

    client = redis_client()
    while (pid := client.get(f"bench:pid:{name}")) is None:
        time.sleep(0.005)
    process = os.pidfd_open(int(pid))
    time.sleep(0.1)
    called = time.perf_counter()
    kill()
    readable, _, _ = select.select([process], [], [], 30)
    ended = time.perf_counter() - called
    os.close(process)
    if not readable:
        raise SystemExit(f"process {int(pid)} still lives after 30 s")
    return ended


def flat(number: int) -> int:
    """The place of member `number`'s parent."""
    return 0


def deep(number: int) -> int:
    """Ten children each."""
    return (number - 1) // 10


def measure_tree(shape: Callable[[int], int], size: int) -> tuple[int, float, float]:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    from runs import control
    from runs.models import Run

    root = control.submit("polling", {"name": uuid.uuid4().hex})
    members = [root.id]
    for number in range(1, size):
        # One more runs; nobody is told of the others.
        child = control.submit(
            "polling",
            {"name": uuid.uuid4().hex},
            parent=members[shape(number)],
            child_key=str(number),
            ring=number == 1,
        )
        members.append(child.id)
    while Run.objects.filter(id__in=members[:2], status="running").count() < 2:
        time.sleep(0.01)
    called = time.perf_counter()
    with CaptureQueriesContext(connection) as captured:
        control.cancel(root.id)
    returned = time.perf_counter() - called
    control.wait(root.id, timeout_seconds=30, tree=True)
    ended = time.perf_counter() - called
    left = Run.objects.filter(root_id=root.id).exclude(status="cancelled").count()
    if left:
        raise SystemExit(f"{left} of {size} runs did not end as cancelled")
    return len(captured), returned, ended


if __name__ == "__main__":
    main()
