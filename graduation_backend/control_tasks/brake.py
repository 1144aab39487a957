"""`control_tasks unfreeze`, and the `--freeze` of `control_tasks cancel-all`."""

from __future__ import annotations

from typing import Any

from graduation_backend.control_tasks import exits
from graduation_backend.control_tasks.accounts import get_account
from graduation_backend.control_tasks.terminal import Screen
from runs import brake, control
from runs.models import Freeze
from runs.states import FreezeScope, StopSource

UNFREEZE = "manage.py control_tasks unfreeze"


def check(options: dict[str, Any]) -> None:
    """Refuse what a freeze can't be of, before anything is asked."""
    if options["freeze"] and options["graph"] and options["owner"]:
        raise exits.Error("--freeze is of a graph or of an owner: leave --graph or --owner away", exits.USAGE)


def freeze(options: dict[str, Any], owner: Any) -> Freeze:
    """Let nothing new of it begin; called before the cancel, so that nothing slips in between."""
    return brake.freeze(
        graph=options["graph"],
        owner=owner,
        actor=control.cli_actor(),
        source=StopSource.CLI,
        reason=options["reason"],
    )


def question(options: dict[str, Any]) -> str:
    """What would be frozen, for the question that `cancel-all` asks."""
    if options["graph"]:
        return f"Freeze graph {options['graph']}"
    return f"Freeze runs of {options['owner']}" if options["owner"] else "Freeze everything"


def describe(row: Freeze) -> str:
    return f"Frozen: {row.what}; nothing new of it begins until: {command_to_lift(row)}"


def command_to_lift(row: Freeze) -> str:
    if row.scope == FreezeScope.GRAPH:
        return f"{UNFREEZE} --graph {row.graph}"
    return f"{UNFREEZE} --owner {row.owner}" if row.scope == FreezeScope.OWNER else UNFREEZE


def as_json(row: Freeze) -> dict[str, Any]:
    return {
        "id": row.pk,
        "scope": row.scope,
        "graph": row.graph or None,
        "owner": str(row.owner) if row.owner else None,
        "by": row.actor or None,
        "reason": row.reason,
        "frozen_at": row.frozen_at.isoformat(),
    }


def unfreeze(options: dict[str, Any], screen: Screen) -> int:
    """Lift the freezes of this graph or owner, or without either all that stand."""
    owner = get_account(options["owner"])
    graph: str | None = options["graph"]
    if graph and owner:
        raise exits.Error("a freeze is of a graph or of an owner: say one of --graph and --owner", exits.USAGE)
    standing = brake.list_standing()
    meant = [
        row for row in standing if (graph is None or row.graph == graph) and (owner is None or row.owner_id == owner.pk)
    ]
    lifted = brake.unfreeze([row.pk for row in meant], actor=control.cli_actor())
    left = [row for row in standing if row not in lifted]
    if options["json"]:
        screen.json({"lifted": [as_json(row) for row in lifted], "standing": [as_json(row) for row in left]})
    else:
        for row in lifted:
            screen.line(f"Lifted: {row.what} may begin again.")
        for row in left:
            screen.line(f"Still frozen: {row.what}; to lift it: {command_to_lift(row)}")
    if not lifted:
        raise exits.Error("nothing was frozen there" if graph or owner else "nothing was frozen")
    return exits.DONE
