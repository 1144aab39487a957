"""Wrong configuration, found by `manage.py check` and at the start of every command."""

from __future__ import annotations

from typing import Any

from django.core.checks import CheckMessage, Error, Tags, register

from runs import catalog
from runs.errors import CatalogUnreadable


@register(Tags.compatibility)
def check_catalog(**_: Any) -> list[CheckMessage]:
    """The catalog can be read. Whether each graph can be imported is told by `control_tasks graphs --check`."""
    try:
        catalog.list_graphs()
    except CatalogUnreadable as error:
        return [Error(str(error), hint="Set LANGGRAPH_JSON to the path of a langgraph.json.", id="runs.E001")]
    return []
