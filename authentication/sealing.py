"""Secrets that have to be read back, so that a copy of the database alone opens nothing.

The key comes from `SECRET_KEY`; keys that were replaced go on opening by `SECRET_KEY_FALLBACKS`.
"""

from __future__ import annotations

import base64
import hashlib

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.utils.encoding import force_str


class NotOpened(Exception):
    """It was sealed with another secret key."""


def seal(text: str) -> str:
    return _box().encrypt(text.encode()).decode()


def open_sealed(sealed: str) -> str:
    """
    Raises:
        NotOpened.
    """
    try:
        return _box().decrypt(sealed.encode()).decode()
    except InvalidToken:
        raise NotOpened("sealed with another SECRET_KEY") from None


def _box() -> MultiFernet:
    keys = [force_str(key) for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)]
    digests = (hashlib.sha256(f"authentication.sealing:{key}".encode()).digest() for key in keys)
    return MultiFernet([Fernet(base64.urlsafe_b64encode(digest)) for digest in digests])
