"""For the templates of every page: the freezes that concern who looks, for the banner `runs/brake_banner.html`."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from runs import brake, policy
from runs.models import Freeze
from runs.states import FreezeScope

SHOWN = 10


def standing_freezes(request: HttpRequest) -> dict[str, Any]:
    """`freezes`: asked for only by a page that shows them."""
    user = getattr(request, "user", None)
    return {"freezes": SimpleLazyObject(lambda: freezes_for(user) if user is not None else [])}


def freezes_for(user: policy.Person) -> list[Freeze]:
    """What stands and concerns this person: of everybody, of a graph, of their own runs, or all of it."""
    if not user.is_authenticated:
        return []
    sees_all = policy.may_view_all(user) or policy.may_use_brake(user)
    found = [
        freeze
        for freeze in brake.list_standing()
        if sees_all or freeze.scope != FreezeScope.OWNER or freeze.owner_id == user.pk
    ]
    return found[:SHOWN]
