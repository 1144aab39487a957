"""Checkpoints are opened by many processes at once, the very first time too."""

from __future__ import annotations

import multiprocessing
import os
import traceback
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, connections

from runs import checkpoints
from tests.services import process_environment

pytestmark = pytest.mark.django_db(transaction=True)

PROCESSES = 4


def open_both(barrier: Any, results: Any) -> None:
    barrier.wait()
    try:
        saver, store = checkpoints.checkpointer(), checkpoints.default_store()
        assert saver.get_tuple({"configurable": {"thread_id": "none"}}) is None
        assert store.get(("none",), "none") is None
        results.put("")
    except BaseException:
        results.put(traceback.format_exc())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("trial", range(3))
def test_first_opening_by_many_processes_at_once(settings: Any, tmp_path: Path, trial: int) -> None:
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("DROP SCHEMA IF EXISTS fresh CASCADE")
            cursor.execute("CREATE SCHEMA fresh")
        settings.RUNS_CHECKPOINT_URL = process_environment()["DATABASE_URL"] + "?options=-csearch_path%3Dfresh"
    else:
        settings.RUNS_CHECKPOINT_URL = f"sqlite:///{tmp_path / 'checkpoints.sqlite3'}"
    connections.close_all()
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(PROCESSES), context.Queue()
    processes = [context.Process(target=open_both, args=(barrier, results)) for _ in range(PROCESSES)]
    for process in processes:
        process.start()
    failures = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(10)
        process.kill()

    assert failures == [""] * PROCESSES
