"""The admin's pages of plain tasks, queues and workers. Nothing is edited here: it is looked at, ended, sent again."""

from django.contrib import admin
from django_celery_results.models import GroupResult, TaskResult

from celery_tasks.admin.finished import FinishedTaskAdmin
from celery_tasks.admin.live import LiveTaskAdmin

__all__ = ["FinishedTaskAdmin", "LiveTaskAdmin"]

# The package's own pages of the same rows ask for no reason and let them be edited.
for model in (TaskResult, GroupResult):
    if admin.site.is_registered(model):
        admin.site.unregister(model)
