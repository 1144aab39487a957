"""Celery tasks that are runs, as a project writes them."""

from __future__ import annotations

from celery import shared_task

from runs.tasks import GraphTask


class Quick(GraphTask):
    abstract = True
    graph = "quick"


class Napping(GraphTask):
    abstract = True
    graph = "napping"


@shared_task(base=Quick)
def toy(marks: str) -> dict[str, str]:
    return {"marks": marks}


@shared_task(base=Napping)
def nap(marks: str) -> dict[str, str]:
    return {"marks": marks}
