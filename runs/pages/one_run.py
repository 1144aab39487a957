"""The page of one run, and those parts of it that have changed since a browser got them."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_GET

from runs import control, policy, receipts, representation, shapes
from runs.models import NodeExecution, Run
from runs.pages import layout, outlook, stream, timeline
from runs.pages.access import for_members, get_run
from runs.pages.nesting import nest
from runs.states import CANCELLING, NodeStatus, Status
from runs.words import how_it_stopped, node_path

SHOWN_EXECUTIONS = 200
SHOWN_RUNS = 100  # of the tree
SHOWN_CHARACTERS = 20_000  # of an input or an output
DRAWN_NODES = 120  # a larger graph is only listed
PARTS = ("head", "graph", "tree", "timeline", "outcome")


@dataclass
class Scene:
    """What the parts of the page are made of, each read once."""

    request: HttpRequest
    run: Run
    tree: list[Run]
    executions: list[NodeExecution]  # the newest, in the order of their beginning

    @property
    def active_below(self) -> list[Run]:
        return [member for member in self.tree if member.id != self.run.id and not member.is_terminal]


@for_members
@require_GET
def run_page(request: HttpRequest, run_id: UUID) -> HttpResponse:
    run = get_run(request, run_id)
    newest = stream.read_newest(run.id)  # before the database, so that what comes in between is told again
    scene = _look(request, control.get(run.id))
    context = {
        "run": scene.run,
        "parts": [_render_part(scene, name) for name in PARTS],
        "newest": newest,
        "is_live": not scene.run.is_terminal or bool(scene.active_below),
        "input": _as_text(scene.run.input),
        "parent": control.find(scene.run.parent_id) if scene.run.parent_id else None,
        "tries": representation.tries_as_json(scene.run),
    }
    return render(request, "runs/run.html", context)


@for_members
@require_GET
def run_live(request: HttpRequest, run_id: UUID) -> HttpResponse:
    return changed_parts(request, get_run(request, run_id), request.GET)


def changed_parts(request: HttpRequest, run: Run, known: Mapping[str, str], *, is_answer: bool = False) -> HttpResponse:
    """The parts whose state is not the one that the browser knows; as the answer to a press, with the messages."""
    scene = _look(request, run)
    parts = [part for name in PARTS if (part := _render_part(scene, name))["state"] != known.get(name)]
    if not parts and not is_answer:
        return HttpResponse(status=204)
    context = {"run": scene.run, "parts": parts, "is_answer": is_answer}
    return render(request, "runs/parts/changed_parts.html", context)


@for_members
@require_GET
def run_input(request: HttpRequest, run_id: UUID) -> HttpResponse:
    return _as_file(get_run(request, run_id), "input")


@for_members
@require_GET
def run_output(request: HttpRequest, run_id: UUID) -> HttpResponse:
    return _as_file(get_run(request, run_id), "output")


def _as_file(run: Run, name: str) -> HttpResponse:
    text = json.dumps(getattr(run, name), ensure_ascii=False, indent=2) + "\n"
    headers = {"Content-Disposition": f'attachment; filename="{name}-{run.id}.json"'}
    return HttpResponse(text, content_type="application/json", headers=headers)


def _look(request: HttpRequest, run: Run) -> Scene:
    newest = NodeExecution.objects.filter(run_id=run.id).order_by("-started_at", "-id")[:SHOWN_EXECUTIONS]
    return Scene(request, run, control.list_tree(run.id), list(reversed(newest)))


# --- parts --------------------------------------------------------------------------------------------------


def _render_part(scene: Scene, name: str) -> dict[str, Any]:
    makers: dict[str, Callable[[Scene], tuple[dict[str, Any], list[Any]]]] = {
        "head": _head,
        "graph": _graph,
        "tree": _tree,
        "timeline": _timeline,
        "outcome": _outcome,
    }
    context, shown = makers[name](scene)
    state = hashlib.sha256(json.dumps(shown, default=str).encode()).hexdigest()[:16]
    return {"name": name, "template": f"runs/parts/{name}.html", "state": state, **context}


def _head(scene: Scene) -> tuple[dict[str, Any], list[Any]]:
    run, user, now = scene.run, scene.request.user, timezone.now()
    may_stop = policy.may_stop(user, run)
    active = len(scene.active_below)
    ahead = outlook.find_outlook(run, scene.active_below, now)
    mode = ahead.mode if ahead else None
    if mode == "kill" and not policy.may_kill(user, run):
        mode = None
    retried_by = representation.tries_as_json(run)["retried_by"]
    can_retry = run.status in (Status.FAILED, Status.CANCELLED) and not active and retried_by is None
    context = {
        "outlook": ahead,
        "mode": mode if may_stop else None,
        "may_stop": may_stop,
        "can_stop": may_stop and ahead is None and not run.is_terminal,
        "can_force": may_stop and ahead is None and run.is_terminal and active > 0,
        "can_pause": may_stop and outlook.can_pause(run),
        "can_resume": may_stop and outlook.can_resume(run),
        "can_retry": can_retry and policy.may_retry(user, run),
        "retried_by": retried_by,
        "active_below": active,
        "status_words": _status_words(run, active),
    }
    shown = [context[key] for key in context if key != "outlook"]
    shown += [ahead and (ahead.words, ahead.change, ahead.changes_at)]
    shown += [run.display_status, run.attempt, run.worker, run.started_at, run.finished_at, run.error]
    shown += [run.progress_done, run.progress_total, run.current_node, run.current_call, run.questions]
    return context, shown


def _status_words(run: Run, active_below: int) -> str:
    below = f"{active_below} run{'' if active_below == 1 else 's'} below it"
    match run.display_status:
        case Status.QUEUED:
            return "It starts as soon as a worker is free."
        case Status.RUNNING:
            where = f" in {run.current_node}" if run.current_node else ""
            kind, _, name = run.current_call.partition(" ")
            call = f", waiting for {'the model' if kind == 'model' else 'the ' + kind} {name}".rstrip() if kind else ""
            return f"It is at work{where}{call}."
        case Status.WAITING:
            return "It waits for an answer." if run.questions else f"It waits for {below}."
        case Status.PAUSED:
            return f"Paused by {run.pause_actor or 'somebody'}. It keeps its place, and goes on when it is resumed."
        case "pausing":
            return "It pauses after its current step."
        case Status.COMPLETED:
            return "It has completed."
        case Status.CANCELLED:
            who = f" by {run.stop_actor}" if run.stop_actor else ""
            others = f" {below.capitalize()} {_is(active_below)} stopping." if active_below else ""
            return f"It was stopped{who}.{others}"
        case Status.FAILED:
            return "It has failed."
    return ""


def _is(number: int) -> str:
    return "is still" if number == 1 else "are still"


def _graph(scene: Scene) -> tuple[dict[str, Any], list[Any]]:
    states = _node_states(scene.executions)
    outline = shapes.find_outline(scene.run.graph) or _outline_of(scene.executions)
    picture = layout.draw(outline) if 0 < len(outline.nodes) <= DRAWN_NODES else None
    nodes = [
        {"path": path, "label": layout.label_of(path), "states": states.get(path, {})}
        for path in outline.nodes
        if path not in (shapes.START, shapes.END)
    ]
    boxes = [
        {"box": box, "state": _shown_state(states.get(box.path, {})), "times": sum(states.get(box.path, {}).values())}
        for box in (picture.boxes if picture else [])
    ]
    return {"picture": picture, "boxes": boxes, "nodes": nodes}, [states, outline]


def _outline_of(executions: Sequence[NodeExecution]) -> shapes.Outline:
    """Of a graph that can't be told before it runs: the nodes that have run, in their order."""
    paths = list(dict.fromkeys(node_path(execution.namespace, execution.node) for execution in executions))
    edges = tuple(shapes.Edge(one, other) for one, other in pairwise(paths))
    return shapes.Outline(tuple(paths), edges)


def _node_states(executions: Sequence[NodeExecution]) -> dict[str, dict[str, int]]:
    """How often each node has been executed, by how that ended."""
    states: dict[str, Counter[str]] = {}
    for execution in executions:
        states.setdefault(node_path(execution.namespace, execution.node), Counter())[execution.status] += 1
    return {path: dict(counts) for path, counts in states.items()}


def _shown_state(counts: dict[str, int]) -> str:
    order = (NodeStatus.RUNNING, NodeStatus.FAILED, NodeStatus.CANCELLED, NodeStatus.FINISHED, NodeStatus.SUSPENDED)
    return next((status.value for status in order if counts.get(status)), "")


def _tree(scene: Scene) -> tuple[dict[str, Any], list[Any]]:
    rows = control.in_tree_order(scene.tree)
    shown = [[str(member.id), member.display_status, member.progress_done, member.progress_total] for member, _ in rows]
    context = {
        "branches": nest(rows[:SHOWN_RUNS]),
        "left": max(len(rows) - SHOWN_RUNS, 0),
        "below": len(rows) - 1,
        "counts": dict(Counter(member.display_status for member, _ in rows[1:])),
    }
    return context, shown


def _timeline(scene: Scene) -> tuple[dict[str, Any], list[Any]]:
    drawn = timeline.draw_timeline(scene.executions, timezone.now())
    shown = [[str(execution.id), execution.status] for execution in scene.executions]
    return {"timeline": drawn, "is_cut": len(scene.executions) == SHOWN_EXECUTIONS}, shown


def _outcome(scene: Scene) -> tuple[dict[str, Any], list[Any]]:
    """What came of it: the output, and the receipt of a stop."""
    run = scene.run
    is_stopped = run.stop_requested_at is not None
    receipt = representation.receipt_as_json(run, receipts.find(run.id)) if is_stopped else None
    context = {
        "output": _as_text(run.output),
        "receipt": receipt,
        "times": _stop_times(run) if is_stopped else [],
        "how": how_it_stopped(run.stop_rung) if run.status == Status.CANCELLED else "",
        "can_look": run.display_status == CANCELLING,
    }
    return context, [run.status, run.output is not None, receipt]


def _stop_times(run: Run) -> list[dict[str, Any]]:
    begun = run.stop_requested_at
    moments = (
        ("Asked", begun),
        ("Delivered to its process", run.stop_delivered_at),
        ("Acknowledged by its graph", run.stop_acknowledged_at),
        ("Gone", run.stop_gone_at),
    )
    return [
        {"what": what, "at": at, "seconds": (at - begun).total_seconds() if at and begun else None}
        for what, at in moments
    ]


@dataclass(frozen=True)
class Text:
    shown: str
    left: int  # characters that are not shown


def _as_text(value: Any) -> Text | None:
    if value is None:
        return None
    text = json.dumps(value, indent=2, ensure_ascii=False, default=str)
    return Text(text[:SHOWN_CHARACTERS], max(len(text) - SHOWN_CHARACTERS, 0))
