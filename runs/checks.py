"""Wrong configuration, found by `manage.py check` and at the start of every command."""

from __future__ import annotations

from typing import Any

from django.core.checks import CheckMessage, Error, Tags, register

from runs import catalog, limits
from runs.errors import CatalogUnreadable


@register(Tags.compatibility)
def check_catalog(**_: Any) -> list[CheckMessage]:
    """The catalog can be read. Whether each graph can be imported is told by `control_tasks graphs --check`."""
    try:
        catalog.list_graphs()
    except CatalogUnreadable as error:
        return [Error(str(error), hint="Set LANGGRAPH_JSON to the path of a langgraph.json.", id="runs.E001")]
    return []


@register(Tags.compatibility)
def check_limits(**_: Any) -> list[CheckMessage]:
    """`RUNS_GRAPHS` names graphs that there are, with times that are allowed."""
    try:
        known = catalog.read_catalog().entries
    except CatalogUnreadable:
        return []
    keys = ", ".join(limits.KEYS)
    return [
        Error(problem, hint=f"RUNS_GRAPHS = {{graph: {{key: seconds}}}}, with the keys {keys}.", id="runs.E002")
        for problem in limits.list_problems(known)
    ]
