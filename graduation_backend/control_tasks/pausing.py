"""`control_tasks pause` and `control_tasks resume`."""

from __future__ import annotations

from typing import Any

from graduation_backend.control_tasks import exits
from graduation_backend.control_tasks.terminal import Screen
from graduation_backend.control_tasks.waiting import wait_until_ended
from runs import control, representation
from runs.models import Run
from runs.pauses import PauseResult, ResumeResult
from runs.states import Status, StopSource
from runs.words import count


def pause(options: dict[str, Any], screen: Screen) -> int:
    cascade = not options["no_cascade"]
    run = control.get(options["task_id"])
    result = control.pause(
        run.id, actor=control.cli_actor(), source=StopSource.CLI, reason=options["reason"], cascade=cascade
    )
    run = control.get(run.id)
    if not options["json"]:
        screen.line(_describe(run, result))
    if options["wait"]:
        wait_until_ended(
            lambda: _find_pausing(run, cascade=cascade),
            screen,
            timeout_seconds=options["timeout"],
            advice=f"the pause stands; to take it back: manage.py control_tasks resume --task-id {run.id}",
        )
        run = control.get(run.id)
        if not options["json"]:
            screen.line(f"Run {run.id} is {run.display_status}.")
    if options["json"]:
        screen.json({**representation.result_as_json(result), "run": representation.as_json(run)})
    return exits.FAILED if options["wait"] and run.status != Status.PAUSED else exits.DONE


def resume(options: dict[str, Any], screen: Screen) -> int:
    run = control.get(options["task_id"])
    result = control.resume(run.id)
    run = control.get(run.id)
    if options["json"]:
        screen.json({**representation.result_as_json(result), "run": representation.as_json(run)})
    else:
        screen.line(_describe_resume(run, result))
    return exits.DONE


def _find_pausing(run: Run, *, cascade: bool) -> list[Run]:
    if cascade:
        return [member for member in control.list_stoppable([run.id]) if member.is_pausing]
    current = control.get(run.id)
    return [current] if current.is_pausing else []


def _describe(run: Run, result: PauseResult) -> str:
    executing = len(result.reached) - len(result.settled)
    if not result.reached:
        return f"Run {run.id} is {run.display_status} already."
    if not executing:
        return f"Paused {count(len(result.settled), 'run')}."
    what = f"{len(result.settled)} paused, {executing} still executing" if result.settled else "still executing"
    leave = "it leaves at its next step" if executing == 1 else "they leave at their next step"
    return f"Asked {count(len(result.reached), 'run')} to pause; {what}: {leave}."


def _describe_resume(run: Run, result: ResumeResult) -> str:
    parts = [f"Resumed {count(len(result.resumed), 'run')}."] if result.resumed else []
    if result.withdrawn:
        number = len(result.withdrawn)
        parts.append(f"Withdrew the pause of {count(number, 'run')} that {'was' if number == 1 else 'were'} executing.")
    return " ".join([*parts, f"Run {run.id} is {run.display_status}."])
