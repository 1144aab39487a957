"""What can go wrong with plain tasks and workers."""

from __future__ import annotations

from runs.errors import RunsError


class TaskNotFound(RunsError):
    def __init__(self, task_id: str) -> None:
        super().__init__(f"there is no task {task_id}: none waits, is held by a worker that answers, or was kept")


class TaskIsRun(RunsError):
    """A run is stopped and retried as a run, with its tree."""

    def __init__(self, task_id: str) -> None:
        super().__init__(f"task {task_id} is a run: stop or retry the run")


class TaskAlreadyEnded(RunsError):
    def __init__(self, task_id: str, status: str) -> None:
        super().__init__(f"task {task_id} had already ended: {status}")


class TaskIsRunning(RunsError):
    def __init__(self, task_id: str) -> None:
        super().__init__(f"task {task_id} is running already: only terminating its process ends it")


class TaskNotRunning(RunsError):
    def __init__(self, task_id: str, state: str) -> None:
        super().__init__(f"task {task_id} is {state}, so it has no process: revoke it")


class TaskNotRetryable(RunsError):
    def __init__(self, task_id: str, why: str) -> None:
        super().__init__(f"task {task_id} can't be sent again: {why}")


class WorkerSilent(RunsError):
    def __init__(self, hostname: str, seconds: float) -> None:
        super().__init__(f"worker {hostname} did not answer within {seconds:g} s")


class WorkerRefused(RunsError):
    def __init__(self, hostname: str, why: str) -> None:
        super().__init__(f"worker {hostname} refused: {why}")


class QueueUnknown(RunsError):
    def __init__(self, name: str, known: list[str]) -> None:
        super().__init__(f"there is no queue {name!r}; known are: {', '.join(known)}")
