"""The tables of the engine: columns and constraints, no behaviour. `registry` is the only writer of a status."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone
from uuid_utils.compat import uuid7

from runs.ladder import Schedule
from runs.states import (
    ACTIVE,
    CANCELLING,
    PAUSING,
    TERMINAL,
    FreezeScope,
    NodeStatus,
    NodeStopOutcome,
    OnParentStop,
    Status,
    StopMode,
    StopSource,
)

PRIORITY_RANGE = range(10)  # higher is sooner
DEFAULT_PRIORITY = 5

_active = Q(status__in=sorted(ACTIVE))
_stopping = Q(stop_requested_at__isnull=False)
_standing = Q(lifted_at__isnull=True)


def new_run_id() -> UUID:
    """A time-ordered id, so that the newest runs lie together in every index."""
    return uuid7()


class Run(models.Model):
    """One durable request to execute a graph. `id` is also the Celery task id.

    What was asked (`stop_*`) and what happened (`status`) are different columns; the constraints below are the
    invariants that no writer can break.
    """

    id = models.UUIDField(primary_key=True, default=new_run_id, editable=False)
    graph = models.CharField(max_length=200)
    status = models.CharField(max_length=9, choices=Status, default=Status.QUEUED)
    parent = models.ForeignKey("self", on_delete=models.CASCADE, null=True, blank=True, related_name="children")
    root = models.ForeignKey("self", on_delete=models.CASCADE, related_name="+")
    # Names the child among its siblings, so that a node that runs again does not start it twice.
    child_key = models.CharField(max_length=400, null=True, blank=True)  # noqa: DJ001 - null is not a name
    on_parent_stop = models.CharField(max_length=7, choices=OnParentStop, default=OnParentStop.CANCEL)
    # The parent is suspended until this child ends.
    is_awaited = models.BooleanField(default=False)
    # This run is another try of that one, on its thread; see `retrying`.
    retry_of = models.ForeignKey(
        "self", on_delete=models.SET_NULL, null=True, blank=True, related_name="retries", db_index=False
    )
    retry_from_start = models.BooleanField(default=False, db_default=False)  # else it goes on from the last checkpoint
    retry_actor = models.CharField(
        max_length=200, blank=True, default="", db_default=""
    )  # who asked for the retry, in words
    retry_reason = models.TextField(blank=True, default="", db_default="")
    # The retry of this completed child's parent, which took its result instead of starting it again.
    adopted_by = models.ForeignKey(
        "self", on_delete=models.SET_NULL, null=True, blank=True, related_name="adopted", db_index=False
    )
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="runs"
    )
    thread_id = models.CharField(max_length=200)
    task = models.CharField(max_length=200)  # the Celery task that carries the doorbell
    queue = models.CharField(max_length=100)
    priority = models.PositiveSmallIntegerField(default=DEFAULT_PRIORITY)
    idempotency_key = models.CharField(max_length=200, null=True, blank=True)  # noqa: DJ001 - null is not a key
    metadata: models.JSONField[dict[str, Any]] = models.JSONField(default=dict, blank=True)

    input: models.JSONField[Any] = models.JSONField(null=True)
    output: models.JSONField[Any] = models.JSONField(null=True, blank=True)
    error: models.JSONField[dict[str, Any] | None] = models.JSONField(null=True, blank=True)
    # What the graph asked a human by `interrupt()`: interrupt id → value; and what was answered: id → value.
    questions: models.JSONField[dict[str, Any]] = models.JSONField(default=dict, blank=True)
    answers: models.JSONField[dict[str, Any]] = models.JSONField(default=dict, blank=True)

    # Its own times, or its graph's; None is the setting of the same name, and for the last: no limit.
    grace_seconds = models.FloatField(null=True, blank=True)
    interrupt_after_seconds = models.FloatField(null=True, blank=True)
    max_seconds = models.FloatField(null=True, blank=True)  # since `started_at`

    attempt = models.PositiveIntegerField(default=0)
    resurrections = models.PositiveIntegerField(default=0)
    # A queued run is left alone until then, so that what kills its process does so less and less often.
    not_before = models.DateTimeField(null=True, blank=True)
    worker = models.CharField(max_length=200, blank=True)
    pid = models.PositiveIntegerField(null=True, blank=True)
    pid_started_at = models.FloatField(null=True, blank=True)  # seconds since the epoch, with `pid` a process's name
    lease_expires_at = models.DateTimeField(null=True, blank=True)

    current_node = models.CharField(max_length=200, blank=True)
    current_call = models.CharField(max_length=200, blank=True, default="", db_default="")  # of a model or a tool
    progress_done = models.PositiveIntegerField(default=0)
    progress_total = models.PositiveIntegerField(default=0)  # 0: unknown

    stop_requested_at = models.DateTimeField(null=True, blank=True)
    stop_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    stop_actor = models.CharField(max_length=200, blank=True)  # who, in words, also where there is no user
    stop_source = models.CharField(max_length=8, choices=StopSource, blank=True)
    stop_reason = models.TextField(blank=True)
    stop_mode = models.CharField(max_length=9, choices=StopMode, blank=True)
    stop_interrupt_at = models.DateTimeField(null=True, blank=True)  # when an exception is raised in its nodes
    stop_deadline = models.DateTimeField(null=True, blank=True)  # when it is killed
    stop_delivered_at = models.DateTimeField(null=True, blank=True)
    stop_acknowledged_at = models.DateTimeField(null=True, blank=True)
    stop_gone_at = models.DateTimeField(null=True, blank=True)
    stop_rung = models.PositiveSmallIntegerField(null=True, blank=True)
    # What it was doing when it was asked.
    stop_node = models.CharField(max_length=200, blank=True, default="", db_default="")
    stop_call = models.CharField(max_length=200, blank=True, default="", db_default="")

    # Set while it is paused or pausing, and taken back by a resume. Defaults of the database, so that a worker that
    # knows no pause yet can insert runs.
    pause_requested_at = models.DateTimeField(null=True, blank=True)
    pause_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    pause_actor = models.CharField(max_length=200, blank=True, default="", db_default="")
    pause_source = models.CharField(max_length=8, choices=StopSource, blank=True, default="", db_default="")
    pause_reason = models.TextField(blank=True, default="", db_default="")
    # To the children that it starts before it has drained.
    pause_cascades = models.BooleanField(default=False, db_default=False)

    created_at = models.DateTimeField(default=timezone.now, editable=False)
    queued_at = models.DateTimeField(default=timezone.now)
    rung_at = models.DateTimeField(null=True, blank=True)  # the last doorbell that the broker took
    started_at = models.DateTimeField(null=True, blank=True)
    last_activity_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["-id"]
        permissions: ClassVar = [
            ("stop_any_run", "Can stop every run"),
            ("kill_run", "Can kill a run at once"),
            # Asked for only where RUNS_OWNERS_MAY_STOP is off: otherwise every owner may.
            ("stop_own_run", "Can stop own runs"),
            ("use_brake", "Can use the emergency brake"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["status", "queued_at"], name="run_status_queued"),
            models.Index(fields=["owner", "-id"], name="run_owner"),
            models.Index(fields=["graph", "-id"], name="run_graph"),
            models.Index(fields=["worker"], condition=Q(status=Status.RUNNING), name="run_worker_running"),
            models.Index(fields=["lease_expires_at"], condition=Q(status=Status.RUNNING), name="run_lease"),
            models.Index(fields=["stop_deadline"], condition=_active & _stopping, name="run_stopping"),
            models.Index(fields=["adopted_by"], condition=Q(adopted_by__isnull=False), name="run_adopted"),
            models.Index(fields=["started_at"], condition=_active & Q(max_seconds__isnull=False), name="run_limited"),
            # For lists and statistics that stay quick with millions of rows.
            models.Index(fields=["status", "-id"], name="run_status"),
            models.Index(fields=["created_at"], name="run_created"),
            models.Index(fields=["worker", "-id"], name="run_worker"),
            models.Index(fields=["stop_rung", "-id"], condition=_stopping, name="run_stop_rung"),
            models.Index(
                fields=["status", "finished_at"], condition=Q(finished_at__isnull=False), name="run_status_finished"
            ),
        ]
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(status__in=Status.values), name="run_status_known"),
            # Once cancel is accepted, no outcome but cancelled is ever written; and only then is it.
            models.CheckConstraint(
                condition=~Q(status__in=[Status.COMPLETED, Status.FAILED]) | ~_stopping,
                name="run_stop_ends_only_as_cancelled",
            ),
            models.CheckConstraint(condition=~Q(status=Status.CANCELLED) | _stopping, name="run_cancelled_was_asked"),
            # Nothing of an idle run executes, so a stop settles it at once and it is never seen stopping.
            models.CheckConstraint(
                condition=~Q(status__in=[Status.QUEUED, Status.WAITING, Status.PAUSED]) | ~_stopping,
                name="run_idle_is_not_stopping",
            ),
            models.CheckConstraint(
                condition=Q(status__in=sorted(TERMINAL), finished_at__isnull=False)
                | (_active & Q(finished_at__isnull=True)),
                name="run_finished_at_iff_terminal",
            ),
            models.CheckConstraint(
                condition=Q(status=Status.RUNNING, lease_expires_at__isnull=False, attempt__gte=1, pid__isnull=False)
                | (~Q(status=Status.RUNNING) & Q(lease_expires_at__isnull=True)),
                name="run_lease_iff_running",
            ),
            models.CheckConstraint(
                condition=Q(stop_requested_at__isnull=True, stop_mode="")
                | (_stopping & Q(stop_mode__in=StopMode.values)),
                name="run_stop_has_a_mode",
            ),
            models.CheckConstraint(
                condition=~Q(status=Status.PAUSED) | Q(pause_requested_at__isnull=False), name="run_paused_was_asked"
            ),
            models.CheckConstraint(condition=Q(priority__lt=len(PRIORITY_RANGE)), name="run_priority_in_range"),
            models.UniqueConstraint(fields=["parent", "child_key"], name="run_child_key_unique"),
            models.UniqueConstraint(fields=["owner", "idempotency_key"], name="run_idempotency_key_unique"),
            models.UniqueConstraint(
                fields=["idempotency_key"],
                condition=Q(owner__isnull=True),
                name="run_idempotency_key_unowned",
            ),
            models.UniqueConstraint(fields=["thread_id"], condition=_active, name="run_thread_has_one_active"),
            models.UniqueConstraint(
                fields=["retry_of"], condition=Q(retry_of__isnull=False), name="run_is_retried_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.graph} {self.id}"

    @property
    def is_terminal(self) -> bool:
        return self.status in TERMINAL

    @property
    def is_stopping(self) -> bool:
        """A stop was accepted and is not yet proven to have happened."""
        return not self.is_terminal and self.stop_requested_at is not None

    @property
    def stop_plan(self) -> Schedule | None:
        """When it is interrupted and when it is killed; None while it is not stopping."""
        if not self.is_stopping:
            return None
        kill_at = self.stop_deadline or timezone.now()
        return Schedule(self.stop_interrupt_at or kill_at, kill_at)

    @property
    def is_pausing(self) -> bool:
        """A pause was accepted, and the run has not left its process yet."""
        return self.status == Status.RUNNING and self.pause_requested_at is not None and not self.is_stopping

    @property
    def display_status(self) -> str:
        if self.is_stopping:
            return CANCELLING
        return PAUSING if self.is_pausing else self.status


class StatusChange(models.Model):
    """One status that a run has had, written in the transaction that changed it."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="status_changes")
    status = models.CharField(max_length=9, choices=Status)
    attempt = models.PositiveIntegerField()
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering: ClassVar = ["id"]

    def __str__(self) -> str:
        return f"{self.run_id} {self.status}"


class NodeExecution(models.Model):
    """One execution of one node by one attempt; `namespace` is LangGraph's, with the subgraphs it lies in."""

    id = models.UUIDField(primary_key=True, editable=False)
    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="nodes")
    attempt = models.PositiveIntegerField()
    node = models.CharField(max_length=200)
    namespace = models.CharField(max_length=1_000, blank=True)
    step = models.IntegerField(null=True, blank=True)
    status = models.CharField(max_length=9, choices=NodeStatus)
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)
    error: models.JSONField[dict[str, Any] | None] = models.JSONField(null=True, blank=True)
    # Not in a graph that another node calls in its own code, where nobody could take its declared result.
    is_stoppable = models.BooleanField(default=False, db_default=False)

    class Meta:
        ordering: ClassVar = ["started_at", "id"]
        indexes: ClassVar = [models.Index(fields=["run", "started_at"], name="node_run_started")]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(status=NodeStatus.RUNNING, finished_at__isnull=True)
                | (~Q(status=NodeStatus.RUNNING) & Q(finished_at__isnull=False)),
                name="node_finished_at_iff_ended",
            )
        ]

    def __str__(self) -> str:
        return f"{self.node} of {self.run_id}"


class NodeStop(models.Model):
    """The stop of one node while its run goes on: what was asked, and what has happened.

    `namespace` is the node's in LangGraph: when it is executed again from the same checkpoint, after its process was
    killed, it is the same, and the node gives its declared result at once. `node_stops` is the only writer.
    """

    execution = models.OneToOneField(NodeExecution, on_delete=models.CASCADE, related_name="stop", primary_key=True)
    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="node_stops")
    attempt = models.PositiveIntegerField()
    namespace = models.CharField(max_length=1_000)
    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    actor = models.CharField(max_length=200, blank=True)
    source = models.CharField(max_length=8, choices=StopSource)
    reason = models.TextField(blank=True)
    mode = models.CharField(max_length=9, choices=StopMode)
    requested_at = models.DateTimeField()
    interrupt_at = models.DateTimeField()
    kill_at = models.DateTimeField()
    delivered_at = models.DateTimeField(null=True, blank=True)
    gone_at = models.DateTimeField(null=True, blank=True)
    rung = models.PositiveSmallIntegerField(null=True, blank=True)
    outcome = models.CharField(max_length=9, choices=NodeStopOutcome, blank=True)
    # What was seen of its process before it was killed with it.
    pid = models.PositiveIntegerField(null=True, blank=True)
    stacks = models.TextField(blank=True)
    killed: models.JSONField[list[dict[str, Any]]] = models.JSONField(default=list, blank=True)

    class Meta:
        ordering: ClassVar = ["requested_at", "execution_id"]
        indexes: ClassVar = [models.Index(fields=["run"], condition=Q(outcome=""), name="node_stop_open")]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(outcome="", gone_at__isnull=True)
                | (Q(outcome__in=NodeStopOutcome.values) & Q(gone_at__isnull=False)),
                name="node_stop_gone_at_iff_outcome",
            )
        ]

    def __str__(self) -> str:
        return f"stop of {self.namespace} of {self.run_id}"

    @property
    def plan(self) -> Schedule:
        return Schedule(self.interrupt_at, self.kill_at)


class StopReceipt(models.Model):
    """What was seen of a run's process while it was being stopped; who asked and when is on the run itself."""

    run = models.OneToOneField(Run, on_delete=models.CASCADE, related_name="stop_receipt", primary_key=True)
    evidence_requested_at = models.DateTimeField(null=True, blank=True)
    evidence_at = models.DateTimeField(null=True, blank=True)
    pid = models.PositiveIntegerField(null=True, blank=True)
    stacks = models.TextField(blank=True)  # of all OS threads, the most recent call first
    processes: models.JSONField[list[dict[str, Any]]] = models.JSONField(default=list, blank=True)  # below it, then
    killed: models.JSONField[list[dict[str, Any]]] = models.JSONField(default=list, blank=True)  # with it
    exit_signal = models.PositiveSmallIntegerField(null=True, blank=True)
    # The critical sections that the stop waited for: name, began_at, ends_at, ended_at (ISO 8601).
    sections: models.JSONField[list[dict[str, Any]]] = models.JSONField(default=list, blank=True)

    def __str__(self) -> str:
        return f"receipt of {self.run_id}"


class Freeze(models.Model):
    """The emergency brake: while it stands, nothing that it matches is claimed. `brake` is the only writer."""

    scope = models.CharField(max_length=5, choices=FreezeScope)
    graph = models.CharField(max_length=200, blank=True)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, null=True, blank=True, related_name="+"
    )
    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    actor = models.CharField(max_length=200, blank=True)  # who, in words, also where there is no user
    source = models.CharField(max_length=8, choices=StopSource)
    reason = models.TextField(blank=True)
    frozen_at = models.DateTimeField(default=timezone.now)
    lifted_at = models.DateTimeField(null=True, blank=True)
    lifted_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    lifted_actor = models.CharField(max_length=200, blank=True)

    class Meta:
        ordering: ClassVar = ["-id"]
        verbose_name_plural = "emergency brake"
        # A claim looks there, each time.
        indexes: ClassVar = [models.Index(fields=["scope"], condition=_standing, name="freeze_standing")]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(scope=FreezeScope.ALL, graph="", owner__isnull=True)
                | (Q(scope=FreezeScope.GRAPH, owner__isnull=True) & ~Q(graph=""))
                | Q(scope=FreezeScope.OWNER, graph="", owner__isnull=False),
                name="freeze_names_its_scope",
            ),
            # At most one stands for the same.
            models.UniqueConstraint(fields=["scope"], condition=_standing & Q(scope="all"), name="freeze_of_all"),
            models.UniqueConstraint(fields=["graph"], condition=_standing & Q(scope="graph"), name="freeze_of_graph"),
            models.UniqueConstraint(fields=["owner"], condition=_standing & Q(scope="owner"), name="freeze_of_owner"),
        ]

    def __str__(self) -> str:
        return f"freeze of {self.what}"

    @property
    def what(self) -> str:
        """What it holds back, in words."""
        if self.scope == FreezeScope.GRAPH:
            return f"graph {self.graph}"
        return f"runs of {self.owner}" if self.scope == FreezeScope.OWNER else "all runs"

    @property
    def is_standing(self) -> bool:
        return self.lifted_at is None


class Tombstone(models.Model):
    """A stop that came before its run: a run with this owner and key is born cancelled. `registry` is the only
    writer, and takes it away when the run has come."""

    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, null=True, blank=True, related_name="+"
    )
    idempotency_key = models.CharField(max_length=200)
    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    actor = models.CharField(max_length=200, blank=True)  # who, in words, also where there is no user
    source = models.CharField(max_length=8, choices=StopSource)
    reason = models.TextField(blank=True)
    mode = models.CharField(max_length=9, choices=StopMode)
    requested_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["owner", "idempotency_key"], name="tombstone_key_unique"),
            models.UniqueConstraint(
                fields=["idempotency_key"], condition=Q(owner__isnull=True), name="tombstone_key_unowned"
            ),
        ]

    def __str__(self) -> str:
        return f"tombstone of {self.idempotency_key}"


class BulkStop(models.Model):
    """One stop of many runs, so that whoever asked can see how far it has come. `bulk_stops` is the only writer."""

    id = models.UUIDField(primary_key=True, default=new_run_id, editable=False)
    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, null=True, blank=True, related_name="+")
    actor = models.CharField(max_length=200, blank=True)
    source = models.CharField(max_length=8, choices=StopSource)
    mode = models.CharField(max_length=9, choices=StopMode)
    reason = models.TextField(blank=True)
    graph = models.CharField(max_length=200, blank=True)  # only its runs
    matched = models.PositiveIntegerField()
    requested_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        return f"stop of {self.matched} runs"


class BulkStopRun(models.Model):
    """One run that a bulk stop has matched, or reached below one."""

    bulk_stop = models.ForeignKey(BulkStop, on_delete=models.CASCADE, related_name="members")
    # Without a constraint of the database: a run that is deleted meanwhile must not keep the others from being asked.
    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="+", db_constraint=False)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["bulk_stop", "run"], name="bulk_stop_has_a_run_once"),
        ]

    def __str__(self) -> str:
        return f"{self.run_id} in {self.bulk_stop_id}"


class Worker(models.Model):
    """One worker's MainProcess, as its supervisor reports it; alive while its heartbeat is fresh."""

    id = models.CharField(primary_key=True, max_length=200)  # Celery's host name and a random part
    hostname = models.CharField(max_length=200)
    pid = models.PositiveIntegerField()
    pool = models.CharField(max_length=40)
    concurrency = models.PositiveIntegerField()
    started_at = models.DateTimeField()
    heartbeat_at = models.DateTimeField(db_index=True)
    is_stopping = models.BooleanField(default=False)

    class Meta:
        ordering: ClassVar = ["hostname"]

    def __str__(self) -> str:
        return self.id
