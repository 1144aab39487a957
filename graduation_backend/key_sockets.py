"""Programs on the WebSockets: they come with an API key in a header, as they do to the REST API.

A key in a header is sent by nobody's browser on behalf of another page, so there is no origin to check; and whoever
comes with one is its owner, whatever cookies say. A key in the address would end up in logs and is not looked for.
"""

from __future__ import annotations

from functools import partial

from authentication import keys
from authentication.keys import Scope
from authentication.models import User
from runs import consumers
from runs.consumers import Close


class KeySockets:
    """Lets sockets with a key through to `with_key`, all others to `without`."""

    def __init__(self, with_key: consumers.Application, without: consumers.Application) -> None:
        self._with_key = with_key
        self._without = without

    async def __call__(self, scope: consumers.Scope, receive: consumers.Receive, send: consumers.Send) -> None:
        secret = key_of(scope)
        if secret is None:
            await self._without(scope, receive, send)
            return
        hooks = {"find_user": partial(find_person, secret), "find_refusal": partial(find_refusal, secret)}
        await self._with_key({**scope, **hooks}, receive, send)


def key_of(scope: consumers.Scope) -> str | None:
    """What `Authorization: Bearer KEY` or `X-API-Key: KEY` says."""
    headers: dict[bytes, str] = {
        name.lower(): value.decode("latin-1").strip() for name, value in scope.get("headers", ())
    }
    kind, _, secret = headers.get(b"authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return secret.strip()
    return headers.get(b"x-api-key") or None


def find_person(secret: str) -> User | None:
    """Who comes with this key now; None if it is not valid any more.

    Raises:
        Close: the key is not for looking.
    """
    key = keys.find(secret)
    if key is None:
        return None
    refusal = keys.refusal(key, Scope.READ)
    if refusal is not None:
        raise Close(consumers.FORBIDDEN, refusal)
    return keys.person_of(key)


def find_refusal(secret: str) -> str | None:
    """Why this key may not stop anything, in words."""
    key = keys.find(secret)
    return "The key is not valid any more." if key is None else keys.refusal(key, Scope.STOP)
