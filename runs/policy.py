"""Who may see, stop and retry which runs: their owner, and whoever has the permission for all of them.

Every surface with a logged-in user asks here: the admin, the API, the pages. The command line does not,
because whoever can type it can read the database.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import AnonymousUser, PermissionsMixin
from django.db.models import Max, QuerySet, Value
from django.db.models.functions import Coalesce

from runs import registry
from runs.conf import runs_settings
from runs.models import Run
from runs.states import ACTIVE, StopMode

Person = AbstractBaseUser | AnonymousUser

VIEW_ANY, STOP_ANY, STOP_OWN = "runs.view_run", "runs.stop_any_run", "runs.stop_own_run"
KILL, USE_BRAKE = "runs.kill_run", "runs.use_brake"


def may_view_any(user: Person) -> bool:
    return _has(user, VIEW_ANY)


def visible_runs(user: Person) -> QuerySet[Run]:
    """The runs that a user may look at, with everything of them."""
    return Run.objects.all() if _has(user, VIEW_ANY) else _own_runs(user)


def stoppable_runs(user: Person) -> QuerySet[Run]:
    """The runs that `may_stop` allows, ended ones among them."""
    if _has(user, STOP_ANY):
        return Run.objects.all()
    return _own_runs(user) if _may_stop_own(user) else Run.objects.none()


def may_view(user: Person, run: Run) -> bool:
    return _is_owner(user, run) or _has(user, VIEW_ANY)


def may_stop(user: Person, run: Run) -> bool:
    return (_is_owner(user, run) and _may_stop_own(user)) or _has(user, STOP_ANY)


def may_stop_own(user: Person) -> bool:
    """Stop what is theirs, also before it has come."""
    return _is_known(user) and (_may_stop_own(user) or _has(user, STOP_ANY))


def may_retry(user: Person, run: Run) -> bool:
    """A retry is a run of the same owner again; who may end it may have it tried again."""
    return may_stop(user, run)


def may_kill(user: Person, run: Run) -> bool:
    """End its process at once. A kill is a stop, so it takes the right to stop the run as well."""
    return may_stop(user, run) and _has(user, KILL)


def may_kill_any(user: Person) -> bool:
    """Whether there is a run that `may_kill` could allow: what a list of many asks before it looks at each."""
    return _has(user, KILL)


def refusal_of_stop(
    user: Person, run_ids: Sequence[UUID], mode: str, grace_seconds: float | None, *, cascade: bool = True
) -> str | None:
    """Why these runs may not be stopped like this, in words, by somebody who may stop them; None if they may.

    A grace that is shorter than the runs' own is a kill under another name. The times with which a run is started
    are its owner's own choice.
    """
    if _has(user, KILL):
        return None
    if mode == StopMode.KILL:
        return f"Mode kill takes the permission {KILL}; allowed to you are cancel and interrupt."
    if grace_seconds is None:
        return None
    least = _longest_grace(run_ids, cascade=cascade)
    if grace_seconds >= least:
        return None
    return (
        f"A grace of {grace_seconds:g} s is shorter than the run's own, which takes the permission {KILL}; "
        f"allowed to you are {least:g} s or more."
    )


def _longest_grace(run_ids: Sequence[UUID], *, cascade: bool) -> float:
    """Of the active runs that a stop of these reaches; 0 if there are none."""
    usual = Value(float(runs_settings().grace_seconds))
    longest = 0.0
    for start in range(0, len(run_ids), 500):
        part = run_ids[start : start + 500]
        reached = Run.objects.filter(id__in=registry.list_tree(part) if cascade else part, status__in=ACTIVE)
        longest = max(longest, reached.aggregate(longest=Max(Coalesce("grace_seconds", usual)))["longest"] or 0.0)
    return longest


def may_use_brake(user: Person) -> bool:
    """Freeze and unfreeze. To stop what runs as well takes the right to stop it."""
    return _has(user, USE_BRAKE)


def may_view_all(user: Person) -> bool:
    return _has(user, VIEW_ANY)


def may_stop_all(user: Person) -> bool:
    return _has(user, STOP_ANY)


def _may_stop_own(user: Person) -> bool:
    return runs_settings().owners_may_stop or _has(user, STOP_OWN)


def _own_runs(user: Person) -> QuerySet[Run]:
    return Run.objects.filter(owner_id=user.pk) if _is_known(user) else Run.objects.none()


def _is_owner(user: Person, run: Run) -> bool:
    return _is_known(user) and run.owner_id == user.pk


def _is_known(user: Person) -> bool:
    return user.is_authenticated and user.is_active


def _has(user: Person, permission: str) -> bool:
    return isinstance(user, PermissionsMixin | AnonymousUser) and user.has_perm(permission)
