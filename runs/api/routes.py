"""The routes. Each finds what the caller may see, calls `runs.control`, and says what came of it."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import asdict
from typing import Annotated, Any, TypeAlias
from uuid import UUID

import orjson
from django.http import HttpRequest, HttpResponse
from ninja import Router, Status
from ninja.errors import HttpError
from ninja.params.functions import Header, Query

from runs import brake, catalog, control, policy, receipts, representation
from runs.api import schemas
from runs.errors import RunAlreadyEnded, RunNotFound, WaitTimedOut
from runs.models import Run, new_run_id
from runs.states import ACTIVE, StopSource
from runs.states import Status as RunStatus

router = Router(tags=["runs"])

_RUNGS = {"cancel": "cancelling", "interrupt": "interrupting", "kill": "killing"}
_Asking: TypeAlias = schemas.Cancel | schemas.CancelMany | schemas.CancelNode

MAX_WAIT_SECONDS = 60.0
PAGE_SIZE, MAX_PAGE_SIZE = 50, 200

Wait = Annotated[float, Query(ge=0, le=MAX_WAIT_SECONDS, description="Seconds to wait for the end; 0 answers at once")]
Statuses = Annotated[list[schemas.ShownStatus], Query(default_factory=list, description="Repeat it for several")]
Cursor = Annotated[UUID | None, Query(description="`next` of the page before")]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE_SIZE)]
IdempotencyKey = Annotated[str | None, Header(alias="Idempotency-Key", max_length=200)]


# --- starting ---------------------------------------------------------------------------------------------


@router.get("/graphs", response=list[schemas.Graph], tags=["graphs"])
def list_graphs(request: HttpRequest) -> Any:
    """The graphs that can be started."""
    return [{"name": entry.name, "description": entry.description} for entry in catalog.list_graphs()]


@router.post("/graphs/{graph}/runs", response={201: schemas.Run, 200: schemas.Run}, tags=["graphs"])
def start(
    request: HttpRequest,
    graph: str,
    body: schemas.Start,
    response: HttpResponse,
    idempotency_key: IdempotencyKey = None,
) -> Any:
    """Start a run. The same `Idempotency-Key` gives the same run, with 200 instead of 201."""
    new_id = new_run_id()
    run = control.submit(
        graph,
        body.input,
        owner=_user(request),
        thread_id=body.thread_id,
        priority=body.priority,
        metadata=body.metadata,
        idempotency_key=idempotency_key,
        grace_seconds=body.grace_seconds,
        interrupt_after_seconds=body.interrupt_after_seconds,
        max_seconds=body.max_seconds,
        run_id=new_id,
    )
    response["Location"] = f"{request.path_info.partition('/graphs/')[0]}/runs/{run.id}"
    return Status(201 if run.id == new_id else 200, _shown(control.get(run.id)))


# --- stopping many ------------------------------------------------------------------------------------------
# Before the routes with an id, which would take `cancel` for one.


@router.post("/runs/cancel", response={202: schemas.CancelledMany})
def cancel_many(request: HttpRequest, body: schemas.CancelMany, response: HttpResponse) -> Any:
    """Ask many runs to stop, by id or by filter; those that the caller may not stop are left alone and not named.

    `Location` is where to see how far it has come.
    """
    runs = policy.stoppable_runs(request.user) & policy.visible_runs(request.user)
    if body.ids is not None:
        runs = runs.filter(id__in=body.ids)
    if body.graph is not None:
        runs = runs.filter(graph=body.graph)
    ids = list(runs.filter(status__in=ACTIVE).values_list("id", flat=True))
    _require_way(request, ids, body)
    bulk, result = control.stop_many(
        ids, control.stop_request(actor="", **_asked(request, body)), graph=body.graph or ""
    )
    response["Location"] = f"{request.path_info.partition('/runs/')[0]}/stops/{bulk.id}"
    return Status(202, {**_as_cancelled(result), "id": bulk.id, "matched": bulk.matched})


@router.get("/stops/{stop_id}", response=schemas.BulkStop)
def get_stop(request: HttpRequest, stop_id: UUID) -> Any:
    """How far a stop of many runs has come; for whom asked for it."""
    bulk = control.find_bulk_stop(stop_id, request.user.pk)
    if bulk is None:
        raise HttpError(404, f"There is no bulk stop {stop_id} of yours.")
    progress = asdict(control.find_progress(bulk))
    stopping = {name: progress.pop(key) for name, key in _RUNGS.items()}
    shown = {name: getattr(bulk, name) for name in ("id", "requested_at", "mode", "reason", "matched")}
    return {**shown, **progress, "graph": bulk.graph or None, "stopping": stopping}


@router.post("/runs/cancel-by-key", response={202: schemas.CancelledKey, 200: schemas.CancelledKey})
def cancel_key(request: HttpRequest, body: schemas.CancelKey) -> Any:
    """Cancel what the caller started with this `Idempotency-Key`, also if it comes only later.

    202 if it is still stopping, or has not come: then it is born cancelled. 200 if it is cancelled already.
    """
    if not policy.may_stop_own(request.user):
        raise HttpError(403, f"To stop your own runs takes the permission {policy.STOP_OWN} here.")
    known = control.find_by_key(_user(request), body.idempotency_key)
    _require_way(request, [known.id] if known else [], body, cascade=body.cascade)
    run_id, result = control.cancel_key(
        _user(request), body.idempotency_key, cascade=body.cascade, **_asked(request, body)
    )
    run = control.get(run_id) if run_id is not None else None
    answer = {**_as_cancelled(result), "run": representation.as_json(run) if run else None}
    return Status(200 if run is not None and run.is_terminal else 202, answer)


# --- looking ----------------------------------------------------------------------------------------------


@router.get("/runs", response=schemas.Page)
def list_runs(
    request: HttpRequest,
    status: Statuses,
    graph: str | None = None,
    root_id: UUID | None = None,
    cursor: Cursor = None,
    limit: Limit = PAGE_SIZE,
) -> Any:
    """The runs that the caller may see, the newest first."""
    runs = control.slimmed(policy.visible_runs(request.user))
    if status:
        runs = runs.filter(control.displayed_as(status))
    if graph is not None:
        runs = runs.filter(graph=graph)
    if root_id is not None:
        runs = runs.filter(root_id=root_id)
    if cursor is not None:
        runs = runs.filter(id__lt=cursor)
    found = list(runs.order_by("-id")[: limit + 1])
    return {
        "items": [representation.summary_as_json(run) for run in found[:limit]],
        "next": str(found[limit - 1].id) if len(found) > limit else None,
    }


@router.get("/runs/{run_id}", response={200: schemas.Run, 304: None})
def get_run(request: HttpRequest, run_id: UUID, response: HttpResponse) -> Any:
    """One run. With `If-None-Match`, 304 while nothing has changed."""
    shown = _shown(_visible(request, run_id))
    lasting = {name: value for name, value in shown.items() if name != "idle_seconds"}
    tag = f'W/"{hashlib.sha256(orjson.dumps(lasting)).hexdigest()[:32]}"'
    response["ETag"] = tag
    if tag in {part.strip() for part in request.headers.get("If-None-Match", "").split(",")}:
        return Status(304, None)
    return Status(200, shown)


@router.get("/runs/{run_id}/tree", response=list[schemas.RunSummary])
def get_tree(request: HttpRequest, run_id: UUID) -> Any:
    """A run and everything below it, parents before their children."""
    run = _visible(request, run_id)
    return [representation.summary_as_json(member) for member in control.list_tree(run.id)]


@router.get("/runs/{run_id}/nodes", response=list[schemas.Node])
def get_nodes(request: HttpRequest, run_id: UUID) -> Any:
    """Every execution of a node, in the order in which they began."""
    return [representation.node_as_json(node) for node in control.list_nodes(_visible(request, run_id).id)]


@router.get("/runs/{run_id}/receipt", response=schemas.Receipt)
def get_receipt(request: HttpRequest, run_id: UUID, look: bool = False) -> Any:
    """The proof of a stop: who, why, when, by which rung, what was killed and what it was doing.

    With `look`, the run's process is looked at now, also if nobody has asked it to stop.
    """
    run = _visible(request, run_id)
    receipt = control.look_at(run.id) if look else receipts.find(run.id)
    return representation.receipt_as_json(control.get(run.id), receipt)


# --- stopping ---------------------------------------------------------------------------------------------


@router.post("/runs/{run_id}/cancel", response={202: schemas.CancelledRun, 200: schemas.CancelledRun})
def cancel(request: HttpRequest, run_id: UUID, body: schemas.Cancel | None = None, wait: Wait = 0.0) -> Any:
    """Ask a run, and by default everything below it, to stop: 202 as soon as it is certain that it will.

    200 if it is cancelled already; 409 if it had ended otherwise, and nothing was changed. With `wait` the answer
    comes when it has stopped: then 200, or 202 if it had not by then. Asked again with a stronger mode it stops sooner.
    """
    body = body or schemas.Cancel()
    run = _stoppable(request, run_id)
    _require_way(request, [run.id], body, cascade=body.cascade)
    result = control.cancel(run.id, cascade=body.cascade, **_asked(request, body))
    if wait:
        with suppress(WaitTimedOut):
            control.wait(run.id, timeout_seconds=wait, tree=body.cascade)
    run = control.get(run.id)
    return Status(200 if run.is_terminal else 202, {**_as_cancelled(result), "run": representation.as_json(run)})


@router.post("/runs/{run_id}/nodes/{node}/cancel", response={202: list[schemas.NodeStop]})
def cancel_node(request: HttpRequest, run_id: UUID, node: str, body: schemas.CancelNode | None = None) -> Any:
    """Stop one running node and let the graph go on with what the node declares for that, or without it.

    `node` is a name, or the id of one execution; 409 if the name stands for several and `every` is not set.
    """
    body = body or schemas.CancelNode()
    run = _stoppable(request, run_id)
    _require_way(request, [run.id], body, cascade=False)  # its children keep their own times
    stops = control.cancel_node(run.id, node, every=body.every, **_asked(request, body))
    return Status(202, [representation.node_stop_as_json(stop) for stop in stops])


# --- pausing and trying again -----------------------------------------------------------------------------


@router.post("/runs/{run_id}/pause", response={202: schemas.Paused, 200: schemas.Paused})
def pause(request: HttpRequest, run_id: UUID, body: schemas.AskPause | None = None) -> Any:
    """Have a run, and by default all below it, leave at its next step: 200 if it is paused, 202 if it will be."""
    body = body or schemas.AskPause()
    run = _stoppable(request, run_id)
    result = control.pause(run.id, by=_user(request), source=StopSource.API, reason=body.reason, cascade=body.cascade)
    run = control.get(run.id)
    answer = {"reached": result.reached, "settled": result.settled, "run": representation.as_json(run)}
    return Status(200 if run.status == RunStatus.PAUSED else 202, answer)


@router.post("/runs/{run_id}/resume", response=schemas.Resumed)
def resume(request: HttpRequest, run_id: UUID, body: schemas.AskResume | None = None) -> Any:
    """Let a paused run go on from its checkpoint, and everything below it that is paused."""
    run = _stoppable(request, run_id)
    result = control.resume(run.id, cascade=(body or schemas.AskResume()).cascade)
    shown = representation.as_json(control.get(run.id))
    return {"resumed": result.resumed, "withdrawn": result.withdrawn, "run": shown}


@router.post("/runs/{run_id}/retry", response={201: schemas.Run})
def retry(request: HttpRequest, run_id: UUID, response: HttpResponse, body: schemas.Retry | None = None) -> Any:
    """Try a run that failed or was cancelled again, as a new run with `retry_of`, on the same thread."""
    body = body or schemas.Retry()
    run = _stoppable(request, run_id)  # whoever may end it may have it tried again
    new = control.retry(run.id, from_start=body.from_start, by=_user(request), reason=body.reason)
    response["Location"] = f"{request.path_info.partition('/runs/')[0]}/runs/{new.id}"
    return Status(201, representation.as_json(control.get(new.id)))


# --- aliases ----------------------------------------------------------------------------------------------


@router.post("/runs/{run_id}/stop", response={202: schemas.CancelledRun}, tags=["aliases"])
def stop(request: HttpRequest, run_id: UUID) -> Any:
    """`cancel` under another name."""
    run = _stoppable(request, run_id)
    result = control.cancel(run.id, by=_user(request), source=StopSource.API)
    return Status(202, {**_as_cancelled(result), "run": representation.as_json(control.get(run.id))})


@router.post(
    "/graphs/{graph_id}/executions/{graph_exec_id}/stop",
    response={200: schemas.Run, 202: schemas.Run},
    tags=["aliases"],
)
def stop_execution(request: HttpRequest, graph_id: str, graph_exec_id: UUID, cascade: bool = True) -> Any:
    """`cancel` that waits up to 15 seconds for the end: then 200, or 202 if it had not stopped by then."""
    run = _stoppable(request, graph_exec_id)
    if run.graph != graph_id:
        raise RunNotFound(f"{graph_exec_id} of graph {graph_id}")
    try:
        control.cancel(run.id, by=_user(request), source=StopSource.API, cascade=cascade)
        run = control.wait(run.id, timeout_seconds=15, tree=cascade)
    except RunAlreadyEnded:
        run = control.get(run.id)
    except WaitTimedOut:
        return Status(202, representation.as_json(control.get(run.id)))
    return Status(200, representation.as_json(run))


# --- checks -----------------------------------------------------------------------------------------------


def _shown(run: Run) -> dict[str, Any]:
    """One run, and why it does not begin if that is a freeze."""
    hold = brake.find_hold(run)
    return {**representation.as_json(run), "frozen": f"{hold.what}: {hold.reason}" if hold else None}


def _visible(request: HttpRequest, run_id: UUID) -> Run:
    """A run of somebody else is answered like one that does not exist."""
    run = control.get(run_id)
    if not policy.may_view(request.user, run):
        raise RunNotFound(run_id)
    return run


def _stoppable(request: HttpRequest, run_id: UUID) -> Run:
    run = _visible(request, run_id)
    if not policy.may_stop(request.user, run):
        raise HttpError(403, "You may see this run, and not stop it: that takes the permission runs.stop_any_run.")
    return run


def _require_way(request: HttpRequest, run_ids: list[UUID], body: _Asking, *, cascade: bool = True) -> None:
    refusal = policy.refusal_of_stop(request.user, run_ids, body.mode, body.grace_seconds, cascade=cascade)
    if refusal is not None:
        raise HttpError(403, refusal)


def _asked(request: HttpRequest, body: _Asking) -> dict[str, Any]:
    return {
        "by": _user(request),
        "source": StopSource.API,
        "mode": body.mode,
        "reason": body.reason,
        "grace_seconds": body.grace_seconds,
        "interrupt_after_seconds": body.interrupt_after_seconds,
    }


def _as_cancelled(result: control.StopResult) -> dict[str, Any]:
    return {"reached": result.reached, "settled": result.settled, "escalated": result.escalated}


def _user(request: HttpRequest) -> Any:
    return request.user
