"""Programs that come with a key: what it opens, and that nothing else does."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.http import HttpResponse
from django.urls import get_resolver

from authentication import keys
from authentication.keys import Scope
from authentication.models import ApiKey, User
from graduation_backend.api import RUN_ROUTES, STOP_ROUTES
from runs import control
from runs.models import Run

pytestmark = pytest.mark.django_db

EVERY = list(Scope)


def make(user: User, *scopes: Scope, lasts: timedelta | None = timedelta(days=1)) -> str:
    return keys.make(user, "a program", scopes, lasts=lasts)[1]


def start(owner: User) -> Run:
    return control.submit("quick", {}, owner=owner, ring=False)


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


@pytest.mark.parametrize("header", ["Authorization", "X-API-Key"])
def test_key_opens_what_is_its_owner_s(api: Any, alice: User, bob: User, header: str) -> None:
    own, other = start(alice), start(bob)
    secret = make(alice, Scope.READ)
    headers = bearer(secret) if header == "Authorization" else {header: secret}
    assert api().get(f"runs/{own.id}", **headers).status_code == 200
    assert api().get(f"runs/{other.id}", **headers).status_code == 404
    assert [run["id"] for run in api().get("runs", **headers).json()["items"]] == [str(own.id)]


def test_key_is_stored_as_a_hash_alone(alice: User) -> None:
    key, secret = keys.make(alice, "a program", [Scope.READ])
    stored = str(ApiKey.objects.filter(pk=key.pk).values())
    assert secret not in stored
    assert secret[keys.START_LENGTH :] not in stored


@pytest.mark.parametrize(
    ("scope", "method", "path", "code"),
    [
        (Scope.READ, "get", "runs", 200),
        (Scope.READ, "post", "graphs/quick/runs", 403),
        (Scope.READ, "post", "runs/{}/cancel", 403),
        (Scope.RUN, "get", "runs", 403),
        (Scope.RUN, "post", "graphs/quick/runs", 201),
        (Scope.RUN, "post", "runs/{}/cancel", 403),
        (Scope.STOP, "post", "runs/{}/cancel", 200),
        (Scope.STOP, "post", "runs/{}/stop", 202),
        (Scope.STOP, "post", "graphs/quick/runs", 403),
        (Scope.ADMIN, "post", "runs/{}/cancel", 403),
    ],
)
def test_scope_says_what_a_key_is_for(api: Any, alice: User, scope: Scope, method: str, path: str, code: int) -> None:
    run = start(alice)
    send = getattr(api(), method)
    body = ({"input": {}},) if path.startswith("graphs") else ()
    answer: HttpResponse = send(path.format(run.id), *body, **bearer(make(alice, scope)))
    assert answer.status_code == code
    if code == 403:
        assert f"the scopes of this one are {scope}" in answer.json()["detail"]
        assert Run.objects.count() == 1
        assert control.get(run.id).status == "queued"


def test_only_the_scope_admin_takes_the_permissions_along(api: Any, admin: User, bob: User) -> None:
    admin.user_permissions.add(Permission.objects.get(codename="stop_any_run"))
    run = start(bob)
    without, with_admin = make(admin, Scope.READ, Scope.RUN, Scope.STOP), make(admin, *EVERY)
    assert api().get(f"runs/{run.id}", **bearer(without)).status_code == 404
    assert api().post(f"runs/{run.id}/cancel", **bearer(without)).status_code == 404
    assert api().get(f"runs/{run.id}", **bearer(with_admin)).status_code == 200
    assert api().post(f"runs/{run.id}/cancel", **bearer(with_admin)).status_code == 200
    assert control.get(run.id).stop_actor == str(admin.email)


def test_key_that_is_not_valid_opens_nothing_whoever_is_logged_in(api: Any, alice: User) -> None:
    revoked, secret = keys.make(alice, "revoked", EVERY)
    keys.revoke(revoked)
    for wrong in ("gbk_unknown", "", "x" * 5_000, secret, make(alice, *EVERY, lasts=timedelta(seconds=-1))):
        answer = api(alice if wrong else None).get("runs", **bearer(wrong))
        assert (answer.status_code, answer["Content-Type"]) == (401, "application/problem+json"), wrong


def test_key_of_an_account_that_is_not_active_opens_nothing(api: Any, alice: User) -> None:
    secret = make(alice, *EVERY)
    User.objects.filter(pk=alice.pk).update(is_active=False)
    assert api().get("runs", **bearer(secret)).status_code == 401


def test_use_is_noted(api: Any, alice: User) -> None:
    secret = make(alice, Scope.READ)
    assert alice.api_keys.get().last_used_at is None
    api().get("runs", **bearer(secret))
    assert alice.api_keys.get().last_used_at is not None


def test_account_has_a_limit_of_keys(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "MOST_KEYS", 1)
    first, _ = keys.make(alice, "first", EVERY)
    with pytest.raises(keys.TooManyKeys, match="at most 1"):
        keys.make(alice, "second", EVERY)
    keys.revoke(first)
    keys.make(alice, "second", EVERY)


def test_every_route_that_changes_something_has_a_scope(api: Any) -> None:
    operations = api().client.get("/api/openapi.json").json()["paths"]
    changing = {path for path, methods in operations.items() if set(methods) - {"get"}}
    resolver = get_resolver()
    names = set()
    for path in changing:
        filled = path.replace("{graph}", "g").replace("{graph_id}", "g").replace("{node}", "n")
        for part in ("{run_id}", "{graph_exec_id}", "{task_id}"):
            filled = filled.replace(part, "00000000-0000-0000-0000-000000000000")
        names.add(resolver.resolve(filled).url_name)
    assert names == RUN_ROUTES | STOP_ROUTES


def test_json_that_is_none_or_too_deep_is_refused(api: Any, alice: User) -> None:
    client = api(alice).client

    def start_with(body: str) -> tuple[int, str]:
        answer = client.post("/api/graphs/quick/runs", body, content_type="application/json")
        return answer.status_code, answer.json().get("detail", "")

    assert start_with('{"input": ')[0] == 400
    assert "The body is no JSON: Expecting value: line 1" in start_with('{"input": ')[1]
    assert start_with('{"input": ' + "[" * 63 + "]" * 63 + "}")[0] == 201
    for levels in (64, 100_000):
        status, detail = start_with('{"input": ' + "[" * levels + "]" * levels + "}")
        assert (status, detail) == (400, "The JSON is nested more than 64 levels deep.")


@pytest.mark.parametrize(
    "body", ['{"input": {"a": "x\\u0000"}}', '{"input": {"\\u0000": 1}}', '{"input": {}, "thread_id": "\\u0000"}']
)
def test_nul_is_refused_in_a_body(api: Any, alice: User, body: str) -> None:
    answer = api(alice).client.post("/api/graphs/quick/runs", body, content_type="application/json")
    assert (answer.status_code, answer.json()["detail"]) == (400, "No text may hold a NUL character.")
    assert not Run.objects.exists()


def test_text_that_only_looks_like_nul_is_taken(api: Any, alice: User) -> None:
    answer = api(alice).post("graphs/quick/runs", {"input": {"text": "a \\u0000"}})
    assert answer.status_code == 201


@pytest.mark.parametrize("path", ["/api/runs?graph=%00", "/api/graphs/%00/runs"])
def test_nul_is_refused_in_an_address(api: Any, alice: User, path: str) -> None:
    answer = api(alice).client.get(path)
    assert answer.status_code == 400
    assert "NUL" in answer.content.decode()
