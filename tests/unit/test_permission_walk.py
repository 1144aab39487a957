"""Who gets what, on every route, every socket and every command: a table, and the promise that nothing else leaks.

alice owns everything there is; bob is another user and charlie staff without a permission. A route that is not in the
table fails the test, so that nobody adds one without saying who may.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from http.cookies import SimpleCookie
from io import StringIO
from typing import Any

import pytest
from allauth.usersessions.models import UserSession
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import Permission
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import transaction
from django.http import HttpResponse
from django.test import Client
from django.urls import URLPattern, get_resolver
from django.utils import timezone

from authentication import keys
from authentication.keys import Scope
from authentication.models import ApiKey, User
from books.models import Book, Section
from graduation_backend.asgi import application
from graduation_backend.control_tasks.arguments import ACTIONS
from runs import consumers, control
from runs.models import BulkStop, Freeze, NodeExecution, NodeStop, Run, Tombstone, Worker
from tests.unit.web.conftest import _quick_and_private  # noqa: F401 - a fixture

pytestmark = pytest.mark.usefixtures("redis_server", "no_worker")

SECRET = "the-keeper-has-a-secret"
CAST = {
    "alice": (),
    "bob": (),
    "charlie": (),
    "viewer": ("view_run",),
    "operator": ("view_run", "stop_any_run"),
    "stopper": ("stop_any_run",),  # may see none, so may reach none
    "killer": ("view_run", "stop_any_run", "kill_run"),
}
STAFF = ("charlie", "viewer", "operator", "stopper", "killer")
OUTSIDERS = ("nobody", "expired", "wrong", "bob", "charlie", "stopper")
CALLERS = (*CAST, "nobody", "expired", "wrong")
SEE, STOP, KILL = {"alice", "viewer", "operator", "killer"}, {"alice", "operator", "killer"}, {"killer"}


@dataclass(frozen=True)
class Rule:
    """One method of one address: who is let in (None is everybody), with which statuses; and what the others get."""

    method: str
    allowed: set[str] | None
    ok: tuple[int, ...]
    body: Any = None
    forbidden: int = 404  # to whom is logged in and may not even know
    query: str = ""


def of_api(method: str, allowed: set[str], *ok: int, **more: Any) -> Rule:
    return Rule(method, allowed, ok, **more)


MEMBERS = set(CAST)
API: dict[str, list[Rule]] = {
    "graphs": [of_api("GET", MEMBERS, 200)],
    "graphs/<graph>/runs": [of_api("POST", MEMBERS, 201, body={"input": {}})],
    "runs": [of_api("GET", MEMBERS, 200)],
    "runs/cancel": [
        of_api("POST", MEMBERS, 202, body={}),
        of_api("POST", KILL, 202, body={"mode": "kill"}, forbidden=403),
    ],
    "runs/cancel-by-key": [of_api("POST", MEMBERS, 200, 202, body={"idempotency_key": "of-alice"})],
    "stops/<stop_id>": [of_api("GET", {"alice"}, 200)],
    "runs/<run_id>": [of_api("GET", SEE, 200)],
    "runs/<run_id>/tree": [of_api("GET", SEE, 200)],
    "runs/<run_id>/nodes": [of_api("GET", SEE, 200)],
    "runs/<run_id>/receipt": [of_api("GET", SEE, 200), of_api("GET", SEE, 200, query="?look=true")],
    "runs/<run_id>/events": [of_api("GET", SEE, 200, query="?follow=false")],
    "runs/<run_id>/cancel": [of_api("POST", STOP, 200, body={}), of_api("POST", KILL, 200, body={"mode": "kill"})],
    "runs/<run_id>/nodes/<node>/cancel": [of_api("POST", STOP, 409, body={})],
    "runs/<run_id>/pause": [of_api("POST", STOP, 200, body={})],
    "runs/<run_id>/resume": [of_api("POST", STOP, 409, body={})],
    "runs/<run_id>/retry": [of_api("POST", STOP, 409, body={})],
    "runs/<run_id>/stop": [of_api("POST", STOP, 202)],
    "graphs/<graph_id>/executions/<graph_exec_id>/stop": [of_api("POST", STOP, 200)],
    "stats": [of_api("GET", {"viewer", "operator", "killer"}, 200, forbidden=403)],
    # Nobody of the cast has the permissions for plain tasks: tests/unit/celery_tasks has those who do.
    **{name: [of_api("GET", set(), 200, forbidden=403)] for name in ("tasks", "tasks/<task_id>", "queues", "workers")},
    **{f"tasks/<task_id>/{name}": [of_api("POST", set(), 200, body={}, forbidden=403)] for name in ("cancel", "retry")},
}
PUBLIC = {
    "healthz",
    "readyz",
    "favicon.ico",
    "api/openapi.json",
    "api/docs",
    "api/",
    "accounts/login/",
    "accounts/reset/",
    "accounts/reset/done/",
    "accounts/reset/<str:uidb36>/<str:key>/",
    "accounts/reset/complete/",
    "accounts/signup/",
    "accounts/confirm/",
    "accounts/confirm/<str:key>/",
    "accounts/inactive/",
    "accounts/two-step/authenticate/",
    "admin/login/",
}
OWN = {  # of whoever is logged in
    "accounts/logout/",
    "accounts/password/",
    "accounts/password/first/",
    "accounts/again/",
    "accounts/email/",
    "accounts/sessions/",
    "accounts/two-step/",
    "accounts/two-step/reauthenticate/",
    *(f"accounts/two-step/recovery-codes/{name}" for name in ("", "download/", "generate/")),
    *(f"accounts/two-step/totp/{name}/" for name in ("activate", "deactivate")),
    "accounts/keys/",
    "runs/",
    "runs/rows",
    "runs/start/",
    "runs/start/<str:graph>",
    "runs/stop",
    "",
    "books/rows",
    "books/sample",
}
PAGES_TO_SEE = {f"runs/<uuid:run_id>/{name}" for name in ("", "live", "children", "input.json", "output.json", "look")}
PAGES_TO_STOP = {f"runs/<uuid:run_id>/{name}" for name in ("stop", "pause", "resume", "retry")}
BOOKS = {
    f"books/<uuid:book_id>/{name}"
    for name in ("", "live", "process", "continue", "stop", "delete", "report", "report.json", "report.md")
}
KEYS = {"accounts/keys/<uuid:key_id>/revoke", "accounts/sessions/<int:session_id>/end"}
# allauth's own, for programs: each is about the account of its session alone, and names none.
HEADLESS = "_allauth/"
_MODEL = ("", "add/", *(f"<path:object_id>/{name}" for name in ("history/", "delete/", "change/", "")))
ADMIN_MODELS = {
    f"admin/{model}/{name}"
    for model in (
        "authentication/user",
        "auth/group",
        "authentication/apikey",
        "runs/freeze",
        "runs/run",
        "runs/worker",
        "books/book",
        "celery_tasks/plaintask",
    )
    for name in _MODEL
}
ADMIN_ACTIONS = {
    "admin/r/<path:content_type_id>/<path:object_id>/",
    "admin/authentication/user/<id>/password/",
    "admin/celery_tasks/plaintask/<path:object_id>/retry/",
    "admin/celery_tasks/livetask/",
    "admin/celery_tasks/livetask/task/<path:task_id>/<str:verb>/",
    "admin/celery_tasks/livetask/worker/<path:hostname>/<str:order>/",
    "admin/runs/freeze/<int:freeze_id>/live/",
    "admin/runs/freeze/pull/",
    "admin/runs/freeze/<path:object_id>/lift/",
    "admin/runs/run/<uuid:run_id>/nodes/<uuid:execution_id>/cancel/",
    "admin/runs/run/live/",
    "admin/runs/run/dashboard/",
    "admin/runs/run/cancel-all/",
    *(f"admin/runs/run/<path:object_id>/{name}/" for name in ("cancel", "interrupt", "kill", "retry", "look")),
    *(f"admin/runs/run/<path:object_id>/{name}/" for name in ("pause", "resume")),
    *(f"admin/books/book/<path:object_id>/{name}/" for name in ("process", "cancel", "process-page", "cancel-page")),
}
ADMIN_OWN = {  # of whoever is staff; what they list is of the models above
    "admin/",
    "admin/search/",
    "admin/logout/",
    "admin/password_change/",
    "admin/password_change/done/",
    "admin/autocomplete/",
    "admin/jsi18n/",
    "admin/^(?P<app_label>authentication|auth|runs|celery_tasks|books)/$",
    "admin/(?P<url>.*)$",
}
ADMIN_LISTS = {"admin/runs/run/", "admin/runs/run/live/"}  # of each staff user's own runs
SOCKETS = {"ws/runs/", "ws/runs/<uuid:run_id>/"}
# Which commands take `--as`; the others are for whoever can read the database anyhow.
COMMANDS = {
    "list": ["list", "--all", "--json"],
    "status": ["status", "--task-id={run}"],
    "cancel": ["cancel", "--task-id={run}"],
}
UNCHECKED = {"start", "cancel-all", "pause", "resume", "retry", "why", "graphs", "workers", "unfreeze"}
UNCHECKED |= {"tasks", "queues", "retry-task", "tell-worker"}


def routes() -> Iterator[str]:
    def walk(patterns: Any, before: str) -> Iterator[str]:
        for one in patterns:
            route = before + str(one.pattern)
            if isinstance(one, URLPattern):
                yield route
            else:
                yield from walk(one.url_patterns, route)

    return walk(get_resolver().url_patterns, "")


# --- the world --------------------------------------------------------------------------------------------


@dataclass
class World:
    people: dict[str, User]
    run: Run
    child: Run
    parts: dict[str, str]
    secrets: dict[str, str]
    cookies: dict[str, str] = field(default_factory=dict)  # of sessions

    @property
    def markers(self) -> list[str]:
        """What no outsider may read anywhere; the id of the run itself is in the addresses that they ask for."""
        return [SECRET, str(self.child.id), "alice@example.com", self.parts["<uuid:execution_id>"]]

    def cookie_of(self, name: str) -> str:
        if name not in self.cookies:
            self.cookies[name] = cookie_of(self.people[name]).decode()
        return self.cookies[name]

    def state(self) -> list[Any]:
        of_alice = self.people["alice"].pk
        columns = ("id", "status", "stop_requested_at", "pause_requested_at")
        return [
            list(Run.objects.filter(owner=of_alice).order_by("id").values_list(*columns)),
            list(Book.objects.filter(owner=of_alice).values_list("id", "title", "run")),
            list(ApiKey.objects.filter(user=of_alice).values_list("id", "revoked_at").order_by("id")),
            list(User.objects.filter(pk=of_alice).values_list("email", "password", "is_active", "is_staff")),
            list(Freeze.objects.values_list("id", "lifted_at")),
            list(UserSession.objects.filter(user=of_alice).values_list("id", "session_key")),
            NodeStop.objects.count(),
            Tombstone.objects.filter(owner=of_alice).count(),
        ]

    def send(self, caller: str, method: str, path: str, body: Any = None) -> HttpResponse:
        client = Client(raise_request_exception=False)
        headers = {}
        if caller in self.people:
            client.cookies = SimpleCookie(self.cookie_of(caller))
        elif caller == "expired":
            headers["Authorization"] = f"Bearer {self.secrets['expired']}"
        elif caller == "wrong":
            scope = "wrong for reading" if method == "GET" else "wrong for the rest"
            headers["X-API-Key"] = self.secrets[scope]
        data = json.dumps(body) if body is not None else ""
        kind = "application/json" if path.startswith("/api/") else "application/x-www-form-urlencoded"
        return client.generic(method, path, data, content_type=kind, headers=headers)  # type: ignore[return-value]


@pytest.fixture
def world(db: None) -> World:
    return make_world()


def make_world() -> World:
    people = {}
    for name, permissions in CAST.items():
        people[name] = User.objects.create_user(f"{name}@example.com", is_staff=name in STAFF)
        people[name].user_permissions.set(Permission.objects.filter(codename__in=permissions))
    alice = people["alice"]
    content: dict[str, Any] = {"metadata": {"for": SECRET}, "ring": False}
    run = control.submit("quick", {"text": SECRET}, owner=alice, idempotency_key="of-alice", **content)
    child = control.submit("quick", {"text": SECRET}, parent=run.id, child_key="a", **content)
    node = NodeExecution.objects.create(
        id=uuid.uuid4(), run=run, attempt=0, node="review", status="running", started_at=timezone.now()
    )
    book = Book.objects.create(owner=alice, title=SECRET, author=SECRET, file_name=SECRET, file="none.txt", run=run)
    Section.objects.create(book=book, position=1, number=1, kind="chapter", title=SECRET, text=SECRET)
    bulk = BulkStop.objects.create(by=alice, source="api", mode="cancel", reason=SECRET, matched=0)
    freeze = Freeze.objects.create(scope="graph", graph="none", source="cli", reason="told to everybody")
    worker = Worker.objects.create(
        id="w1",
        hostname=SECRET,
        pid=1,
        pool="prefork",
        concurrency=2,
        started_at=run.created_at,
        heartbeat_at=run.created_at,
    )
    session = UserSession.objects.create(user=alice, session_key="of alice", ip="127.0.0.1", user_agent=SECRET)
    key, _ = keys.make(alice, SECRET, list(Scope))
    secrets = {
        "expired": keys.make(alice, "b", list(Scope), lasts=timedelta(seconds=-1))[1],
        "wrong for reading": keys.make(alice, "c", [Scope.RUN, Scope.STOP, Scope.ADMIN])[1],
        "wrong for the rest": keys.make(alice, "d", [Scope.READ, Scope.ADMIN])[1],
    }
    objects = {
        "user": alice.pk,
        "apikey": key.pk,
        "freeze": freeze.pk,
        "run": run.id,
        "worker": worker.pk,
        "book": book.pk,
    }
    parts = {
        **{name: str(run.id) for name in ("<run_id>", "<uuid:run_id>", "<graph_exec_id>")},
        **dict.fromkeys(("<graph>", "<graph_id>", "<str:graph>"), "quick"),
        **{f"object of {name}": str(value) for name, value in objects.items()},
        "<node>": "review",
        "<stop_id>": str(bulk.id),
        "<uuid:execution_id>": str(node.pk),
        "<uuid:book_id>": str(book.pk),
        "<uuid:key_id>": str(key.pk),
        "<int:freeze_id>": str(freeze.pk),
        "<id>": str(alice.pk),
        "<path:content_type_id>": "1",
        "<str:uidb36>/<str:key>": "x/y-z",
        "<str:key>": "x",
        "<int:session_id>": str(session.pk),
        **dict.fromkeys(("<task_id>", "<path:task_id>"), str(run.id)),
        "<str:verb>": "revoke",
        "<path:hostname>": SECRET,
        "<str:order>": "ping",
        "^(?P<app_label>authentication|auth|runs|celery_tasks|books)/$": "runs/",
        "(?P<url>.*)$": "nothing/",
    }
    return World(people, run, child, parts, secrets)


def fill(route: str, world: World) -> str:
    path = route
    for name in ("user", "apikey", "freeze", "run", "worker", "book"):
        if f"/{name}/<path:object_id>" in path:
            path = path.replace("<path:object_id>", world.parts[f"object of {name}"])
    for part, value in world.parts.items():
        path = path.replace(part, value)
    return "/" + path.replace("<path:object_id>", "1")


def check(world: World, caller: str, method: str, path: str, body: Any = None) -> HttpResponse:
    """Send it in a world of its own; whoever may not must read nothing and change nothing, whatever the answer."""
    what = f"{caller}: {method} {path}"
    before = world.state()
    if caller in world.people:
        world.cookie_of(caller)
    with transaction.atomic():
        answer = world.send(caller, method, path, body)
        after = world.state()
        transaction.set_rollback(True)
    assert answer.status_code < 500 or path == "/readyz", what
    text = b"" if answer.streaming else answer.content
    if caller in OUTSIDERS or (caller != "alice" and answer.status_code in (401, 403, 404)):
        text = b"".join(answer.streaming_content) if answer.streaming else text  # type: ignore[attr-defined]
        leaks = [marker for marker in world.markers if marker in text.decode("utf-8", "replace")]
        leaks = [marker for marker in leaks if marker not in path]
        assert not leaks, f"{what} {answer.status_code} tells {leaks}"
    if caller not in STOP:
        assert after == before, f"{what} {answer.status_code} has changed what is alice's"
    return answer


# --- the walks --------------------------------------------------------------------------------------------


def test_every_route_is_in_the_table() -> None:
    known = {f"api/{route}" for route in API}
    known |= PUBLIC | OWN | PAGES_TO_SEE | PAGES_TO_STOP | BOOKS | KEYS | ADMIN_MODELS | ADMIN_ACTIONS | ADMIN_OWN
    found = {route for route in routes() if not route.lstrip("^").startswith(HEADLESS)}
    assert found - known == set(), "say in the table who may"
    assert known - found == set(), "these are no routes any more"


def test_every_operation_of_the_api_is_in_the_table(client: Client) -> None:
    paths = client.get("/api/openapi.json").json()["paths"]
    found = {(path.removeprefix("/api/"), method.upper()) for path, methods in paths.items() for method in methods}
    known = {(route.replace("<", "{").replace(">", "}"), rule.method) for route, rules in API.items() for rule in rules}
    assert found == known


def test_every_socket_and_command_is_in_the_table() -> None:
    assert {str(one.pattern) for one in consumers.websocket_urlpatterns} == SOCKETS
    assert set(ACTIONS) == set(COMMANDS) | UNCHECKED


@pytest.mark.parametrize("caller", CALLERS)
def test_api(world: World, caller: str) -> None:
    for route, rules in API.items():
        path = fill(f"api/{route}", world)
        for rule in rules:
            answer = check(world, caller, rule.method, path + rule.query, rule.body)
            assert answer.status_code in expected(caller, rule), (caller, rule, answer.content)
            if answer.status_code >= 400:
                assert answer["Content-Type"] == "application/problem+json"
    listed = [run["id"] for run in world.send(caller, "GET", "/api/runs").json().get("items", [])]
    assert (str(world.run.id) in listed) == (caller in SEE)


def expected(caller: str, rule: Rule) -> tuple[int, ...]:
    if caller in ("nobody", "expired"):
        return (401,)
    if caller == "wrong":
        return (403,)
    assert rule.allowed is not None
    if caller in rule.allowed:
        return rule.ok
    if rule.method == "POST" and caller in SEE:
        return (403,)  # may see it, and not do that
    return (rule.forbidden,)


@pytest.mark.parametrize("caller", ["wrong", "bob", "viewer"])
def test_pages(world: World, caller: str) -> None:
    for route in sorted(PUBLIC | OWN | PAGES_TO_SEE | PAGES_TO_STOP | BOOKS | KEYS):
        path = fill(route, world)
        for method in ("GET", "POST"):
            code = check(world, caller, method, path).status_code
            if code == 405 or route in PUBLIC:
                continue
            what = f"{caller}: {method} {path} {code}"
            if caller not in world.people:  # a key opens no page
                assert code == 302, what
            elif route in PAGES_TO_SEE | PAGES_TO_STOP and caller not in SEE:
                assert code == 404, what
            elif route in PAGES_TO_STOP and caller not in STOP:
                assert code == 403, what
            elif route in BOOKS | KEYS and caller != "alice":
                assert code in (286, 403, 404), what  # 286 ends the polling of a part
            elif route in ("accounts/again/", "accounts/two-step/reauthenticate/"):
                assert code == 403, what  # who has neither can't be asked for it
            else:
                assert code in (200, 204, 302, 303, 400, 404, 409, 422), what


def test_headless_accounts_tell_and_change_nothing_of_others(world: World) -> None:
    for route in sorted(route for route in routes() if route.startswith(HEADLESS)):  # not our own, which is no path
        for method in ("GET", "DELETE"):
            check(world, "bob", method, "/" + route)


@pytest.mark.parametrize("caller", ["nobody", "charlie"])
def test_admin(world: World, caller: str) -> None:
    world.run.refresh_from_db()
    for route in sorted(ADMIN_MODELS | ADMIN_ACTIONS | ADMIN_OWN):
        path = fill(route, world)
        for method in ("GET", "POST"):
            answer = check(world, caller, method, path)
            code, what = answer.status_code, f"{caller}: {method} {path} {answer.status_code}"
            if caller not in STAFF or (route in (ADMIN_MODELS | ADMIN_ACTIONS) - ADMIN_LISTS and caller in OUTSIDERS):
                assert code in (301, 302, 403, 404, 405), what


@pytest.mark.django_db(transaction=True)
def test_sockets() -> None:
    world = make_world()
    cookies = {name: cookie_of(user) for name, user in world.people.items()}

    async def ask(caller: str, path: str, message: Any = None) -> tuple[list[str], int | None]:
        headers = [(b"host", b"localhost"), (b"origin", b"http://localhost")]
        if caller in cookies:
            headers.append((b"cookie", cookies[caller]))
        elif caller != "nobody":
            secret = world.secrets["expired" if caller == "expired" else "wrong for reading"]
            headers.append((b"authorization", f"Bearer {secret}".encode()))
        socket = WebsocketCommunicator(application, path, headers=headers)
        await socket.connect(timeout=10)
        texts: list[str] = []
        while (output := await socket.receive_output(timeout=10))["type"] != "websocket.close":
            texts.append(output["text"])
            kind = json.loads(output["text"])["type"]
            if kind == "reply" or (kind == "snapshot" and message is None):
                await socket.disconnect(timeout=10)
                return texts, None
            if kind == "snapshot":
                await socket.send_to(text_data=json.dumps(message))
        return texts, int(output["code"])

    async def walk() -> None:
        closed = {"nobody": 4401, "expired": 4401, "wrong": 4403}
        for caller in CALLERS:
            texts, code = await ask(caller, "/ws/runs/")
            assert code == closed.get(caller), caller
            assert (str(world.run.id) in "".join(texts)) == (caller in SEE), caller
            texts, code = await ask(caller, f"/ws/runs/{world.run.id}/")
            assert code == (None if caller in SEE else closed.get(caller, 4404)), caller
            assert (SECRET in "".join(texts)) == (caller in SEE) or caller in SEE, caller
            if caller in SEE:
                for mode, may in (("kill", KILL), ("softly", set())):
                    texts, _ = await ask(caller, f"/ws/runs/{world.run.id}/", {"action": "cancel", "mode": mode})
                    reply = json.loads(texts[-1])["data"]
                    assert reply["ok"] == (caller in may), (caller, mode)
                    if not reply["ok"] and caller not in STOP:
                        assert reply["error"] == "You may not stop this run."

    asyncio.run(walk())


def cookie_of(user: User) -> bytes:
    client = Client()
    client.force_login(user)
    return client.cookies.output(attrs=[], header="", sep=";").strip().encode()


@pytest.mark.parametrize("caller", CAST)
def test_commands(world: World, caller: str) -> None:
    for action, words in COMMANDS.items():
        for more, may in ((), SEE if action != "cancel" else STOP), (("--force",), KILL):
            if more and action != "cancel":
                continue
            before = world.state()
            with transaction.atomic():
                code, told = run_command(
                    *(word.format(run=world.run.id) for word in words), *more, f"--as={caller}@example.com"
                )
                after = world.state()
                transaction.set_rollback(True)
            what = f"{caller}: {action} {more} {code} {told}"
            if action == "list":
                assert (str(world.run.id) in told) == (caller in SEE), what
            else:
                assert (code == 0) == (caller in may), what
            if caller in OUTSIDERS:
                assert not [marker for marker in world.markers if marker in told], what
            if caller not in may:
                assert after == before, what
    for action in UNCHECKED:
        assert run_command(action, f"--as={caller}@example.com")[0] == 2, action


def run_command(*words: str) -> tuple[int, str]:
    out = StringIO()
    try:
        call_command("control_tasks", *words, stdout=out, stderr=out)
    except CommandError as error:
        return error.returncode, out.getvalue() + str(error)
    except SystemExit as error:
        return int(error.code or 0), out.getvalue()
    return 0, out.getvalue()
