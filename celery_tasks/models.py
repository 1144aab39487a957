"""What the admin lists. The rows are those of django-celery-results; nothing here writes them."""

from __future__ import annotations

from django.db import models
from django_celery_results.models import TaskResult


class PlainTask(TaskResult):
    """A Celery task that is no run, and that a worker has finished, dropped, or will try again."""

    class Meta:
        proxy = True
        default_permissions = ("view",)
        permissions = (
            ("revoke_task", "Can revoke Celery tasks that have not started"),
            ("terminate_task", "Can terminate running Celery tasks"),
            ("retry_task", "Can send finished Celery tasks again"),
            ("control_worker", "Can ping workers, and change their pool and queues"),
            ("shutdown_worker", "Can shut workers down"),
        )
        verbose_name = "finished task"
        ordering = ("-date_done", "-id")

    def __str__(self) -> str:
        return f"{self.task_name or 'task'} {self.task_id}"


class LiveTask(models.Model):
    """No table: a name for the page of what the broker and the workers hold now."""

    class Meta:
        managed = False
        default_permissions = ()
        verbose_name = "live task"
        verbose_name_plural = "live tasks, queues, workers"
