"""Who may see, stop and kill which run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, Permission

from authentication.models import User
from runs import control, policy
from runs.models import Run


def allowed(user: User | AnonymousUser, run: Run) -> tuple[bool, bool, bool]:
    return policy.may_view(user, run), policy.may_stop(user, run), policy.may_kill(user, run)


@pytest.mark.parametrize(
    ("permission", "foreign"),
    [
        ("view_run", (True, False, False)),
        ("stop_any_run", (False, True, False)),
        ("kill_run", (False, False, False)),
    ],
)
def test_each_permission_gives_its_own_right(
    submit: Callable[..., Run], alice: User, charlie: User, permission: str, foreign: tuple[bool, bool, bool]
) -> None:
    charlie.user_permissions.add(Permission.objects.get(codename=permission))

    assert allowed(charlie, submit(alice)) == foreign
    assert allowed(charlie, submit(charlie)) == (True, True, permission == "kill_run")


def test_nobody_owns_a_run_without_an_owner(submit: Callable[..., Run], alice: User, bob: User) -> None:
    run = submit(None)

    assert allowed(alice, run) == (False, False, False)
    assert allowed(AnonymousUser(), run) == (False, False, False)
    assert not policy.visible_runs(AnonymousUser()).exists()
    assert allowed(bob, run) == (True, True, True)


def test_inactive_account_has_no_rights(submit: Callable[..., Run], alice: User, superuser: User) -> None:
    run = submit(alice)
    for user in (alice, superuser):
        user.is_active = False
        assert allowed(user, run) == (False, False, False)
        assert not policy.visible_runs(user).exists()


def test_children_belong_to_the_owner_of_their_parent(submit: Callable[..., Run], alice: User, bob: User) -> None:
    parent = submit(alice)
    child = control.submit("quick", {}, owner=bob, parent=parent.id)

    assert set(policy.visible_runs(alice)) == {parent, child}


@pytest.mark.parametrize("is_owner", [True, False], ids=["own", "foreign"])
@pytest.mark.parametrize(
    ("permissions", "own", "foreign"),
    [
        # view, stop, kill; then what is of no run: view all, stop any, use the brake
        ((), "v-- ---", "--- ---"),
        (("stop_own_run",), "vs- ---", "--- ---"),
        (("view_run",), "v-- v--", "v-- v--"),
        (("stop_any_run",), "vs- -s-", "-s- -s-"),
        (("kill_run",), "v-- ---", "--- ---"),
        (("stop_own_run", "kill_run"), "vsk ---", "--- ---"),
        (("stop_any_run", "kill_run"), "vsk -s-", "-sk -s-"),
        (("use_brake",), "v-- --b", "--- --b"),
        (("view_run", "stop_any_run", "kill_run", "use_brake"), "vsk vsb", "vsk vsb"),
    ],
)
def test_table_of_permissions_where_owners_need_one_to_stop(
    submit: Callable[..., Run],
    alice: User,
    charlie: User,
    settings: Any,
    permissions: tuple[str, ...],
    own: str,
    foreign: str,
    is_owner: bool,
) -> None:
    settings.RUNS_OWNERS_MAY_STOP = False
    charlie.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    run = submit(charlie if is_owner else alice)

    rights = [
        *zip("vsk", allowed(charlie, run), strict=True),
        (" ", True),
        ("v", policy.may_view_all(charlie)),
        ("s", policy.may_stop_all(charlie)),
        ("b", policy.may_use_brake(charlie)),
    ]
    assert "".join(letter if has else "-" for letter, has in rights) == (own if is_owner else foreign)
    may_stop = policy.may_stop(charlie, run)
    assert policy.stoppable_runs(charlie).filter(pk=run.pk).exists() == may_stop
    assert policy.may_retry(charlie, run) == may_stop
