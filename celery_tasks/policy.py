"""Who may look at plain tasks and workers, and who may do what to them: whoever has the permission for it.

Every surface with a logged-in user asks here. The command line does not, because whoever can type it can read the
database and the broker.
"""

from __future__ import annotations

from enum import StrEnum

from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import AnonymousUser, PermissionsMixin

Person = AbstractBaseUser | AnonymousUser


class Right(StrEnum):
    VIEW = "celery_tasks.view_plaintask"
    REVOKE = "celery_tasks.revoke_task"
    TERMINATE = "celery_tasks.terminate_task"
    RETRY = "celery_tasks.retry_task"
    CONTROL_WORKER = "celery_tasks.control_worker"
    SHUT_DOWN_WORKER = "celery_tasks.shutdown_worker"


def may(user: Person, right: Right) -> bool:
    """Whoever does something must also be allowed to look."""
    if not isinstance(user, PermissionsMixin) or not user.is_authenticated or not user.is_active:
        return False
    return user.has_perm(right) and user.has_perm(Right.VIEW)
