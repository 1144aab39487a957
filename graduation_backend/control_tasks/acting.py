"""`--as USER`: the command sees and does what that account may, as the pages and the API do; without it, everything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet

from authentication.models import User
from graduation_backend.control_tasks import exits
from graduation_backend.control_tasks.accounts import get_account
from runs import control, policy
from runs.errors import RunNotFound
from runs.models import Run
from runs.states import StopMode


@dataclass(frozen=True)
class Acting:
    """As whom a command acts; `account` None is whoever types it."""

    account: User | None = None

    @property
    def visible_runs(self) -> QuerySet[Run] | None:
        """What it may see; None is everything."""
        return None if self.account is None else policy.visible_runs(self.account)

    @property
    def sees_plain_tasks(self) -> bool:
        """They have no owner."""
        return self.account is None or self.account.has_perm(policy.VIEW_ANY)

    def find(self, task_id: str) -> Run | None:
        """The run with this id; None also if it may not be seen."""
        run = control.find(task_id)
        if run is None or self.account is None or policy.may_view(self.account, run):
            return run
        return None

    def get(self, task_id: str) -> Run:
        """The same.

        Raises:
            RunNotFound.
        """
        run = self.find(task_id)
        if run is None:
            raise RunNotFound(task_id)
        return run

    def require_stop(
        self, run: Run, mode: StopMode, *, grace_seconds: float | None = None, cascade: bool = True
    ) -> None:
        """Check that it may stop this run, and like this.

        Raises:
            Error: it may not.
        """
        if self.account is None:
            return
        if not policy.may_stop(self.account, run):
            raise self._refusal("stop this run", policy.STOP_ANY)
        if mode is StopMode.KILL and not policy.may_kill(self.account, run):
            raise self._refusal("kill a run at once", policy.KILL)
        refusal = policy.refusal_of_stop(self.account, [run.id], mode, grace_seconds, cascade=cascade)
        if refusal is not None:
            raise exits.Error(f"{self.account}: {refusal}")

    def require_stop_of_plain_tasks(self, mode: StopMode) -> None:
        """Check that it may end a plain Celery task, which has no owner.

        Raises:
            Error: it may not.
        """
        if self.account is not None and not self.account.has_perm(policy.STOP_ANY):
            raise self._refusal("end a plain Celery task", policy.STOP_ANY)
        if self.account is not None and mode is StopMode.KILL and not policy.may_kill_any(self.account):
            raise self._refusal("kill a plain Celery task at once", policy.KILL)

    def who_asks(self) -> dict[str, Any]:
        """The arguments of a stop that say who asks for it: the account, and the person who typed its name."""
        if self.account is None:
            return {"actor": control.cli_actor()}
        return {"by": self.account, "actor": f"{self.account} ({control.cli_actor()})"[:200]}

    def _refusal(self, what: str, permission: str) -> exits.Error:
        return exits.Error(f"{self.account} may not {what}: that takes the permission {permission}")


def acting_as(email: str | None) -> Acting:
    """As whom `--as` says.

    Raises:
        Error: there is no such account, or it is not active.
    """
    account = get_account(email)
    if account is not None and not account.is_active:
        raise exits.Error(f"the account {account} is not active, so it may do nothing", exits.USAGE)
    return Acting(account)
