"""What must be true of every run, whatever was done to the services; looked at from outside, after all has ended.

The numbers are those of the design's list "always true".
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

from runs import descendants, events
from runs.conf import runs_settings
from runs.models import NodeExecution, Run, StatusChange
from runs.remains import RUN_ID_VARIABLE
from runs.states import TRANSITIONS, NodeStatus, Status
from tests.chaos.load import Load

Note = dict[str, Any]


# A guard that was frozen together with its worker ends the child when it is woken, and the child is woken as well.
WAKING_SECONDS = 0.5


def list_violations(
    load: Load,
    marks: Path,
    *,
    redis_lost_at: Sequence[float] = (),
    redis_emptied_at: Sequence[float] = (),
    machine_woken_at: Sequence[float] = (),
) -> list[str]:
    """Each in one line, with the run."""
    runs = {run.id: run for run in Run.objects.all()}
    notes = read_notes(marks, machine_woken_at)
    changes: dict[UUID, list[StatusChange]] = defaultdict(list)
    for change in StatusChange.objects.order_by("id"):
        changes[change.run_id].append(change)
    found: list[str] = []
    for run in runs.values():
        history = changes[run.id]
        shown = " ".join(f"{change.status}/{change.attempt}" for change in history)
        for problem in (
            *_ends(run, load),
            *_history(run, history),
            *_notes(run, history, notes[str(run.id)]),
        ):
            found.append(f"{run.graph} {run.id}: {problem} [{shown}]")
    missing = [run_id for run_id in load.submitted if run_id not in runs]
    found += [f"{run_id}: it was submitted and is not there" for run_id in missing]
    found += _rows(runs)
    found += _leftovers(runs)
    for run_id, seen in load.reader.seen.items():
        run = runs[run_id]
        if not any(_began(run) <= moment for moment in redis_emptied_at):
            has_gap = any(_began(run) <= moment <= _ended(run) for moment in redis_lost_at)
            found += [f"{run.graph} {run_id}: {problem}" for problem in _events(run, seen, has_gap=has_gap)]
    return found


def read_notes(marks: Path, machine_woken_at: Sequence[float]) -> dict[str, list[Note]]:
    """By run, in the order of time, without those of the moment after a whole machine was woken."""
    notes: dict[str, list[Note]] = defaultdict(list)
    if marks.exists():
        for line in marks.read_text().splitlines():
            note = json.loads(line)
            if any(0 <= note["at"] - moment < WAKING_SECONDS for moment in machine_woken_at):
                continue
            notes[note["run"]].append(note)
    for of_run in notes.values():
        of_run.sort(key=lambda note: note["at"])
    return notes


def _ends(run: Run, load: Load) -> Iterator[str]:
    """1 and 4."""
    if not run.is_terminal:
        yield f"4: it has not ended, it is {run.display_status}"
    if run.id in load.accepted and run.status != Status.CANCELLED:
        yield f"1: its stop was accepted and it is {run.status}"
    if run.status == Status.FAILED and run.error and run.error["type"] == "WorkerLost":
        allowed = runs_settings().max_resurrections
        if run.resurrections != allowed:
            yield f"4: it is given up after {run.resurrections} resurrections, not {allowed}"
    elif run.graph == "poison" and run.status != Status.CANCELLED:
        yield f"4: it kills its process each time and is {run.status}: {run.error}"


def _history(run: Run, history: list[StatusChange]) -> Iterator[str]:
    statuses = [Status(change.status) for change in history]
    if not statuses or statuses[0] is not Status.QUEUED:
        yield "its history does not begin with queued"
        return
    for before, after in pairwise(statuses):
        if after not in TRANSITIONS[before]:
            yield f"its history has {before} → {after}"
    if statuses[-1] != run.status:
        yield f"its history ends with {statuses[-1]} and it is {run.status}"
    attempts = [change.attempt for change in history if change.status == Status.RUNNING]
    if attempts != list(range(1, run.attempt + 1)):
        yield f"its attempts are {attempts} and it has {run.attempt}"


def _notes(run: Run, history: list[StatusChange], notes: list[Note]) -> Iterator[str]:
    """2, 3 and 6, by what its nodes noted themselves."""
    if run.finished_at is not None:
        late = [note for note in notes if note["at"] > run.finished_at.timestamp()]
        if late:
            seconds = late[-1]["at"] - run.finished_at.timestamp()
            attempt = late[0]["attempt"]
            yield f"2: {len(late)} notes of attempt {attempt} after it was {run.status}, up to {seconds:.3f} s"
    processes: dict[int, int] = {}
    highest = 0
    for note in notes:
        if note["attempt"] < highest:
            yield f"3: attempt {note['attempt']} notes {note['what']} in {note['node']} after attempt {highest} has"
            break
        highest = note["attempt"]
        if processes.setdefault(note["attempt"], note["pid"]) != note["pid"]:
            yield f"3: attempt {note['attempt']} is executed by two processes"
            break
    if run.graph in ("chain", "async_chain"):
        begun = [int(note["node"][1:]) for note in notes if note["what"] == "begin"]
        if begun != sorted(begun):
            yield f"a finished node was repeated: {begun}"
    for change, following in pairwise(history):
        if change.status == Status.WAITING:
            idle = [note for note in notes if change.at.timestamp() < note["at"] < following.at.timestamp()]
            if idle:
                yield f"6: it executes while it waits: {idle[0]['node']}"


def _rows(runs: dict[UUID, Run]) -> Iterator[str]:
    for node in NodeExecution.objects.filter(status=NodeStatus.RUNNING):
        yield f"{runs[node.run_id].graph} {node.run_id}: the row of node {node.node} was never closed"
    for run in runs.values():
        if run.parent_id is not None and run.status == Status.QUEUED:
            yield f"5: child {run.id} is left behind in the queue"


def _leftovers(runs: dict[UUID, Run]) -> Iterator[str]:
    """2: a process that a run started."""
    for pid, value in descendants.list_marked(RUN_ID_VARIABLE).items():
        run = runs.get(UUID(value))
        if run is not None:
            yield f"{run.graph} {run.id}: 2: process {pid} is left, it is {run.status}"


def _events(run: Run, seen: list[dict[str, Any]], *, has_gap: bool) -> Iterator[str]:
    """8: the reader has what is in the stream, each once and in order.

    Args:
        has_gap: Redis was away for a while, and what happened meanwhile is missing from the stream.
    """
    cursors = [_as_numbers(event["cursor"]) for event in seen]
    if cursors != sorted(set(cursors)):
        yield "8: the reader's cursors are not ascending"
    stored = events.read_events(run.id, count=100_000)
    if [event["cursor"] for event in stored] != [event["cursor"] for event in seen]:
        yield f"8: the reader has {len(seen)} events, the stream {len(stored)}"
    known = [(event["type"], event["at"], json.dumps(event["data"], sort_keys=True)) for event in seen]
    if len(set(known)) != len(known):
        twice = next(event for event in known if known.count(event) > 1)
        yield f"8: an event is there twice: {twice}"
    open_nodes: set[tuple[str, str, int]] = set()
    for event in seen:
        if event["type"].startswith("node."):
            key = (event["data"]["node"], event["data"]["namespace"], event["data"]["attempt"])
            if event["type"] == "node.started":
                open_nodes.add(key)
            elif key not in open_nodes and not has_gap:
                yield f"8: {event['type']} of {key} without its beginning before it"


def _began(run: Run) -> float:
    return run.created_at.timestamp() - 1


def _ended(run: Run) -> float:
    """Its last events are written a moment after its end."""
    return run.finished_at.timestamp() + 1 if run.finished_at else float("inf")


def _as_numbers(cursor: str) -> tuple[int, int]:
    milliseconds, _, number = cursor.partition("-")
    return int(milliseconds), int(number)
