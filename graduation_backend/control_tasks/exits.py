"""The exit codes of `control_tasks`, and which error gets which: chosen here and nowhere else."""

from __future__ import annotations

from django.core.management.base import CommandError
from django.db import DatabaseError

from celery_tasks import errors as task_errors
from graduation_backend.control_tasks.terminal import printable
from runs import errors

DONE, FAILED, USAGE, NOT_FOUND, TIMED_OUT, INTERRUPTED = 0, 1, 2, 3, 4, 130

_CODES: dict[type[errors.RunsError], int] = {
    errors.RunNotFound: NOT_FOUND,
    errors.WaitTimedOut: TIMED_OUT,
    errors.GraphNotFound: USAGE,
    errors.InputRefused: USAGE,
    errors.NodeNotFound: NOT_FOUND,
    errors.NodeAmbiguous: USAGE,
    task_errors.TaskNotFound: NOT_FOUND,
    task_errors.WorkerSilent: TIMED_OUT,
    task_errors.QueueUnknown: USAGE,
}
_ADVICE: dict[type[errors.RunsError], str] = {
    errors.RunNotFound: "; to see what there is: manage.py control_tasks list --all",
    errors.RunAlreadyEnded: "; nothing was changed",
    errors.RunIsStopping: "; nothing was changed",
    errors.RunNotPaused: "; nothing was changed",
    errors.AlreadyRetried: "; retry that one",
    errors.NodeNotRunning: "; nothing was changed",
    errors.NodeAmbiguous: " with --every",
    task_errors.TaskIsRun: ": control_tasks cancel, control_tasks retry",
    task_errors.WorkerSilent: "; to see the workers: manage.py control_tasks workers",
    errors.BrokerAway: "; start the services or correct CELERY_BROKER_URL",
}


class Error(CommandError):
    """One line for stderr that says what to do. Django prints the name of the class before it."""

    def __init__(self, message: str, code: int = FAILED) -> None:
        super().__init__(printable(message), returncode=code)


class Interrupted(Error):
    """Ctrl+C while waiting: what was waited for goes on, and this says so."""

    def __init__(self, message: str) -> None:
        super().__init__(message, INTERRUPTED)


def as_error(error: errors.RunsError | DatabaseError) -> Error:
    if isinstance(error, DatabaseError):
        return Error(f"the database can't be used: {error}; if it is new: manage.py migrate")
    kind = type(error)
    return Error(f"{error}{_ADVICE.get(kind, '')}", _CODES.get(kind, FAILED))
