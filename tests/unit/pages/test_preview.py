"""What a stop would reach and cost."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

from django.utils import timezone

from authentication.models import User
from runs import control
from runs.models import NodeExecution, Run
from runs.preview import preview_stop


def execute(run: Run, node: str, namespace: str, seconds: float, status: str = "running") -> None:
    now = timezone.now()
    NodeExecution.objects.create(
        id=uuid.uuid4(),
        run=run,
        attempt=1,
        node=node,
        namespace=namespace,
        status=status,
        started_at=now - timedelta(seconds=seconds),
        finished_at=None if status == "running" else now,
    )


def test_preview_tells_the_tree_and_what_is_in_no_checkpoint(start: Any, submit: Any, alice: User) -> None:
    parent = start(alice)
    child = start(alice, parent=parent.id, child_key="one")
    queued = submit(alice, parent=parent.id, child_key="two")
    other = start(alice)
    execute(parent, "read", "read:1", 9, "finished")
    execute(parent, "outer", "outer:1", 8)
    execute(parent, "inner", "outer:1|inner:2", 7)
    execute(child, "write", "write:1", 3)
    execute(other, "write", "write:1", 3)

    preview = preview_stop([parent.id], timezone.now())

    assert [(run.id, depth) for run, depth in preview.runs] == [(parent.id, 0), (child.id, 1), (queued.id, 1)]
    assert preview.counts == {"running": 2, "queued": 1}
    assert sorted((work.run.id, work.node) for work in preview.lost) == sorted(
        [(parent.id, "outer/inner"), (child.id, "write")]
    )
    assert 6.9 < preview.longest_seconds < 60


def test_queued_run_loses_nothing_and_an_ended_one_is_not_there(submit: Any, alice: User) -> None:
    queued, ended = submit(alice), submit(alice)
    control.cancel(ended.id)

    preview = preview_stop([queued.id, ended.id], timezone.now())

    assert [run.id for run, _ in preview.runs] == [queued.id]
    assert (preview.lost, preview.longest_seconds) == ([], 0.0)
