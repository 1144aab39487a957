"""Tells the sockets when what a user may see may have changed; without it they find out at their next heartbeat."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.signals import user_logged_out
from django.db import transaction
from django.db.models.signals import m2m_changed, post_delete, post_save

from runs.connections import ACCESS_KEY, RedisError, redis_client

logger = logging.getLogger(__name__)

LENGTH = 1_000  # entries; who reads none of them for so long looks at the next heartbeat


def install() -> None:
    """Once, when Django's apps are there."""
    user = get_user_model()
    user_logged_out.connect(_on_logout, dispatch_uid="runs.access")
    post_save.connect(_on_save, sender=user, dispatch_uid="runs.access")
    post_delete.connect(_on_save, sender=user, dispatch_uid="runs.access")
    for name in ("user_permissions", "groups"):
        if hasattr(user, name):
            m2m_changed.connect(_on_permissions, sender=getattr(user, name).through, dispatch_uid=f"runs.access.{name}")


def _on_logout(sender: Any, user: Any = None, **_: Any) -> None:
    if user is not None:
        _tell(user.pk)


def _on_save(sender: Any, instance: Any, created: bool = False, update_fields: Any = None, **_: Any) -> None:
    if not created and (update_fields is None or set(update_fields) != {"last_login"}):
        _tell(instance.pk)


def _on_permissions(sender: Any, instance: Any, action: str, reverse: bool, **_: Any) -> None:
    if action.startswith("post_") and not reverse:
        _tell(instance.pk)


def _tell(user_id: Any) -> None:
    transaction.on_commit(partial(_write, str(user_id)))


def _write(user_id: str) -> None:
    try:
        redis_client().xadd(ACCESS_KEY, {"user": user_id}, maxlen=LENGTH, approximate=True)
    except RedisError as error:
        logger.info("sockets hear of a changed user at their next heartbeat: %s", error)
