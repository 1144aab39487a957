"""Who may see, stop and kill which run."""

from __future__ import annotations

from collections.abc import Callable

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
