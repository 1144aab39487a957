"""API keys: made, found, revoked.

A key is 256 random bits, so a plain SHA-256 of it can't be guessed back, and finding one is one look at an index. The
key itself is shown once, to the person who made it.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection
from datetime import timedelta
from enum import StrEnum

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from authentication.models import ApiKey, PersonByKey, User

PREFIX = "gbk_"  # secret scanners know a key by it
START_LENGTH = len(PREFIX) + 6
MOST_KEYS = 50  # valid ones of one account
USED_EVERY = timedelta(minutes=1)  # how exact `last_used_at` is


class Scope(StrEnum):
    """What a key may be used for, within what its owner may do."""

    READ = "read"  # look at runs
    RUN = "run"  # start, resume and retry them
    STOP = "stop"  # cancel and pause them
    ADMIN = "admin"  # use the owner's permissions over the runs of others


class TooManyKeys(Exception):
    """An account has as many valid keys as it may have."""


def make(user: User, name: str, scopes: Collection[Scope], *, lasts: timedelta | None = None) -> tuple[ApiKey, str]:
    """Make a key.

    Args:
        lasts: after which it is no longer valid; None is never.

    Returns:
        Its row, and the key itself, which is kept nowhere.

    Raises:
        TooManyKeys.
    """
    secret = PREFIX + secrets.token_urlsafe(32)
    with transaction.atomic():
        User.objects.select_for_update().get(pk=user.pk)
        if valid_keys(user).count() >= MOST_KEYS:
            raise TooManyKeys(f"An account has at most {MOST_KEYS} keys; revoke one first.")
        key = ApiKey.objects.create(
            user_id=user.pk,
            name=name,
            start=secret[:START_LENGTH],
            digest=_digest(secret),
            scopes=sorted(Scope(scope).value for scope in scopes),
            expires_at=None if lasts is None else timezone.now() + lasts,
        )
    return key, secret


def valid_keys(user: User) -> QuerySet[ApiKey]:
    not_expired = Q(expires_at=None) | Q(expires_at__gt=timezone.now())
    return ApiKey.objects.filter(not_expired, user_id=user.pk, revoked_at=None)


def find(secret: str) -> ApiKey | None:
    """The key, if it is valid and its owner's account is active; notes that it was used."""
    key = ApiKey.objects.select_related("user").filter(digest=_digest(secret)).first()
    if key is None or not key.is_valid or not key.user.is_active:
        return None
    now = timezone.now()
    if key.last_used_at is None or now - key.last_used_at > USED_EVERY:
        ApiKey.objects.filter(pk=key.pk).update(last_used_at=now)
    return key


def person_of(key: ApiKey) -> User:
    """Who comes with a key, with the permissions that it lets them use."""
    if Scope.ADMIN in key.scopes:
        return key.user
    return PersonByKey.objects.get(pk=key.user_id)


def refusal(key: ApiKey, scope: Scope) -> str | None:
    """Why a key may not be used for something, in words; None if it may."""
    if scope in key.scopes:
        return None
    return f"This takes a key with the scope {scope}; the scopes of this one are {', '.join(key.scopes)}."


def revoke(key: ApiKey) -> None:
    """From now on the key opens nothing; its row stays."""
    ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=timezone.now())


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
