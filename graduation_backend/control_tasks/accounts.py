"""Accounts by their e-mail address."""

from __future__ import annotations

from typing import overload

from authentication.models import User
from graduation_backend.control_tasks import exits


@overload
def get_account(email: str) -> User: ...
@overload
def get_account(email: None) -> None: ...
@overload
def get_account(email: str | None) -> User | None: ...


def get_account(email: str | None) -> User | None:
    """The account with this address; None for None.

    Raises:
        Error: there is none.
    """
    if email is None:
        return None
    account = User.objects.filter(email__iexact=email).first()
    if account is None:
        raise exits.Error(f"there is no account {email}; see /admin/ for those there are", exits.USAGE)
    return account
