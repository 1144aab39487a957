"""`control_tasks retry`: another try of a run that failed or was cancelled."""

from __future__ import annotations

from typing import Any

from graduation_backend.control_tasks.starting import tell_started
from graduation_backend.control_tasks.terminal import Screen
from runs import control


def retry(options: dict[str, Any], screen: Screen) -> int:
    run = control.retry(
        options["task_id"],
        from_start=options["from_start"],
        actor=control.cli_actor(),
        reason=options["reason"],
    )
    if not control.list_workers():
        screen.note("No worker is alive: the run is queued until one starts.")
    return tell_started(run, options, screen)
