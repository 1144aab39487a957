from django.apps import AppConfig


class CeleryTasksConfig(AppConfig):
    name = "celery_tasks"
    verbose_name = "Celery"
