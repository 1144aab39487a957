"""Retries against each other, against a new run of the thread and against a stop; the order is forced."""

from __future__ import annotations

import pytest
from django.db import IntegrityError, connection
from django.utils import timezone

from runs import control, draining, lineage, registry, retrying
from runs.errors import AlreadyRetried, InputRefused, ParentIsStopping, RetryRefused, ShuttingDown, ThreadBusy
from runs.models import Run
from runs.states import ACTIVE, OnParentStop, Status
from tests.integration.engine import (
    Elsewhere,
    make_ended,
    make_run,
    make_running,
    make_waiting,
    status_of,
    stop_request,
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("no_worker", "redis_server")]
INSERT = "INSERT INTO runs_run"


def retry_row(old: Run) -> Run:
    """A retry as another process has it in mind that does not know of ours."""
    return Run(graph=old.graph, thread_id="another", task=old.task, queue=old.queue, retry_of=old, input=None)


@pytest.mark.parametrize("status", [Status.FAILED, Status.CANCELLED])
def test_retry_has_everything_of_the_old_run_but_its_keys(status: Status) -> None:
    old = make_ended(
        status, priority=7, queue="slow", metadata={"k": 1}, input={"text": "a"}, idempotency_key="key", task="my.task"
    )

    new = Run.objects.get(id=control.retry(old.id).id)

    for name in ("graph", "priority", "queue", "metadata", "input", "task", "thread_id", "owner_id"):
        assert getattr(new, name) == getattr(old, name), name
    assert (new.status, new.attempt, new.root_id, new.idempotency_key) == ("queued", 0, new.id, None)
    assert status_of(old) == status


def test_second_retry_waits_for_the_first_and_is_refused() -> None:
    old = make_ended(Status.FAILED)
    first = Elsewhere(control.retry, old.id, hold_before=INSERT).until_held()
    second = Elsewhere(control.retry, old.id).until_blocked()

    first.let_go()

    made = first.result()
    with pytest.raises(AlreadyRetried) as refused:
        second.result()
    assert refused.value.newest_id == made.id
    assert Run.objects.filter(retry_of=old).count() == 1


def test_retry_and_a_new_run_of_its_thread_give_one_active_run() -> None:
    old = make_ended(Status.FAILED, thread_id="talk")
    retry = Elsewhere(control.retry, old.id, hold_before=INSERT).until_held()
    other = Elsewhere(control.submit, "quick", {}, thread_id="talk").until_blocked_or_done()

    retry.let_go()

    outcomes = []
    for call in (retry, other):
        try:
            outcomes.append(call.result().id)
        except ThreadBusy as error:
            outcomes.append(type(error))
    assert outcomes.count(ThreadBusy) == 1
    assert Run.objects.filter(thread_id="talk", status__in=ACTIVE).count() == 1


def test_run_can_be_retried_only_once_even_by_a_bug() -> None:
    old = make_ended(Status.FAILED)
    control.retry(old.id)
    row = retry_row(old)
    row.root_id = row.id
    with pytest.raises(IntegrityError):
        registry.create(row)


def test_newest_of_the_line_is_the_one_to_retry() -> None:
    first = make_ended(Status.FAILED)
    second = control.retry(first.id)
    control.cancel(second.id)
    third = control.retry(second.id, from_start=True)
    control.cancel(third.id)
    fourth = control.retry(third.id)

    for old in (first, second, third):
        with pytest.raises(AlreadyRetried) as refused:
            control.retry(old.id)
        assert refused.value.newest_id == fourth.id
    assert lineage.tries_of(fourth) == lineage.Tries((fourth.id, third.id), (second.id, first.id))
    assert lineage.tries_of(second) == lineage.Tries((second.id, first.id))
    assert lineage.tries_of(first) == lineage.Tries((first.id,))


def test_retry_below_which_something_was_told_to_outlive_it_is_refused() -> None:
    parent = make_running()
    child = make_run(parent=parent, on_parent_stop=OnParentStop.ABANDON)
    grandchild_of = make_run(parent=child)
    registry.settle(parent.id, parent.attempt, Status.FAILED)
    control.cancel(child.id, cascade=False)

    with pytest.raises(RetryRefused, match=f"run {grandchild_of.id} below it is still queued"):
        control.retry(parent.id)
    control.cancel(grandchild_of.id)
    control.retry(parent.id)


def test_retry_reason_that_can_not_be_stored_is_refused() -> None:
    old = make_ended(Status.FAILED)
    for reason in ("x" * 2_001, "a\x00b"):
        with pytest.raises(InputRefused):
            control.retry(old.id, reason=reason)
    assert lineage.find_retry(old.id) is None


# --- children ---------------------------------------------------------------------------------------------


def make_family(*statuses: Status) -> tuple[Run, list[Run], Run]:
    """A failed parent whose children ended so, and its running retry."""
    parent = make_running()
    children = [make_ended(status, parent=parent, child_key=f"node:{number}") for number, status in enumerate(statuses)]
    registry.settle(parent.id, parent.attempt, Status.FAILED)
    retry = control.retry(parent.id)
    claimed = registry.claim(retry.id, registry.Claimant("tester#1", 4242, 1.0), lease_seconds=60)
    assert claimed is not None
    return parent, children, claimed


def test_child_is_taken_over_once_however_often_the_node_asks() -> None:
    parent, (done, failed), retry = make_family(Status.COMPLETED, Status.FAILED)

    for _ in range(2):
        kept = retrying.take_over_child(retry.id, [parent.id], "node:0", "quick")
        renewed = retrying.take_over_child(retry.id, [parent.id], "node:1", "quick")
        assert kept == done
        assert renewed is not None
        assert (renewed.retry_of_id, renewed.parent_id) == (failed.id, retry.id)
    assert retrying.take_over_child(retry.id, [parent.id], "node:2", "quick") is None
    assert retrying.take_over_child(retry.id, [parent.id], "node:0", "another") is None
    assert retrying.take_over_children(retry.id, [parent.id], [done.id, failed.id]) == [done.id, renewed.id]
    assert retry.children.count() == 1


def test_child_is_not_started_again_below_a_retry_that_must_stop() -> None:
    parent, (failed,), retry = make_family(Status.FAILED)
    registry.request_stop([retry.id], stop_request())

    with pytest.raises(ParentIsStopping):
        retrying.take_over_child(retry.id, [parent.id], "node:0", "quick")
    assert lineage.find_retry(failed.id) is None


def test_stop_that_comes_while_a_child_is_started_again_reaches_it() -> None:
    parent, _, retry = make_family(Status.FAILED)
    starting = Elsewhere(
        retrying.take_over_child, retry.id, [parent.id], "node:0", "quick", hold_before=INSERT
    ).until_held()
    stopping = Elsewhere(control.cancel, retry.id).until_blocked()

    starting.let_go()

    child = starting.result()
    assert child.id in stopping.result().reached
    assert status_of(child) == "cancelled"


def test_child_that_somebody_retries_at_this_moment_is_started_on_its_own() -> None:
    parent, (failed,), retry = make_family(Status.FAILED)
    alone = Elsewhere(control.retry, failed.id, hold_before=INSERT).until_held()
    starting = Elsewhere(retrying.take_over_child, retry.id, [parent.id], "node:0", "quick").until_blocked()

    alone.let_go()

    child = starting.result()
    assert child.parent_id == retry.id
    assert {child.thread_id, alone.result().thread_id} == {str(child.id), failed.thread_id}


def test_retry_waits_only_for_what_it_started_again_and_counts_what_it_took() -> None:
    parent, (done, failed), retry = make_family(Status.COMPLETED, Status.FAILED)
    ids = retrying.take_over_children(retry.id, [parent.id], [done.id, failed.id])
    renewed = Run.objects.get(id=ids[1])

    waiting = make_waiting(*Run.objects.filter(id__in=ids), run=retry)
    assert not registry.wake(waiting.id)
    waiting.refresh_from_db()
    assert (waiting.status, waiting.progress_done, waiting.progress_total) == ("waiting", 1, 2)
    control.cancel(renewed.id)

    waiting.refresh_from_db()
    assert (waiting.status, waiting.progress_done, waiting.progress_total) == ("queued", 2, 2)


def test_process_that_is_about_to_end_starts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    old = make_ended(Status.FAILED)
    monkeypatch.setattr(draining, "_draining", type(draining._draining)())
    draining.begin()
    for start in (lambda: control.retry(old.id), lambda: control.submit("quick", {})):
        with pytest.raises(ShuttingDown):
            start()
    assert Run.objects.count() == 1
    assert draining.is_draining()


def test_columns_that_are_new_have_defaults_in_the_database() -> None:
    """Old code runs on the new tables for one release."""
    run = make_run()
    ours = ("retry_of_id", "retry_from_start", "retry_actor", "retry_reason", "adopted_by_id")
    names = [field.column for field in Run._meta.concrete_fields if field.column not in ours]
    values = ", ".join({"id": "%s", "root_id": "%s", "thread_id": "'t'"}.get(name, name) for name in names)
    other = make_ended(Status.FAILED).id
    Run.objects.filter(id=other).delete()
    key = Run._meta.pk.get_db_prep_value(other, connection)
    old_key = Run._meta.pk.get_db_prep_value(run.id, connection)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO runs_run ({', '.join(names)}) SELECT {values} FROM runs_run WHERE id = %s",  # noqa: S608
            [key, key, old_key],
        )
    found = Run.objects.get(id=other)
    assert (found.retry_of_id, found.retry_from_start, found.retry_actor, found.retry_reason) == (None, False, "", "")
    assert found.created_at <= timezone.now()
