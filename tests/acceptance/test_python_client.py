"""A Python client made from the API's schema, against a real Daphne: it starts a run, looks at it and cancels it."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from authentication import keys
from authentication.keys import Scope
from authentication.models import User
from runs.models import Run
from tests.browser import Site

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("no_worker")]

NAME = "made_client"


@pytest.fixture
def client_package(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with urllib.request.urlopen(f"{site.address}/api/openapi.json", timeout=10) as answer:  # noqa: S310 - our own
        (tmp_path / "openapi.json").write_bytes(answer.read())
    (tmp_path / "config.json").write_text(json.dumps({"package_name_override": NAME, "post_hooks": []}))
    made = subprocess.run(
        [
            sys.executable,
            "-m",
            "openapi_python_client",
            "generate",
            "--meta=none",
            "--fail-on-warning",
            "--path=openapi.json",
            f"--output-path={NAME}",
            "--config=config.json",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    monkeypatch.syspath_prepend(str(tmp_path))
    yield NAME
    for module in [name for name in sys.modules if name.partition(".")[0] == NAME]:
        del sys.modules[module]


def test_client_starts_looks_and_cancels(site: Site, client_package: str) -> None:
    alice = User.objects.create_user("alice@example.com")
    _, secret = keys.make(alice, "a program", [Scope.READ, Scope.RUN, Scope.STOP])

    def part(name: str) -> Any:
        return import_module(f"{client_package}.{name}")

    models = part("models")
    caller = part("client").AuthenticatedClient(base_url=site.address, token=secret)
    functions = {
        path.stem.rpartition("routes_")[2]: part(f"api.{path.parent.name}.{path.stem}").sync_detailed
        for path in Path(part("api").__file__).parent.glob("*/*.py")
        if path.stem != "__init__"
    }
    started = functions["start"]("quick", client=caller, body=models.Start(input_={"text": "x"}), idempotency_key="k")
    assert started.status_code == 201
    run = started.parsed
    assert (run.graph, run.status, run.owner) == ("quick", "queued", "alice@example.com")
    again = functions["start"]("quick", client=caller, body=models.Start(input_={}), idempotency_key="k")
    assert (again.status_code, again.parsed.id) == (200, run.id)

    assert functions["get_run"](run.id, client=caller).parsed.id == run.id
    listed = functions["list_runs"](client=caller).parsed
    assert [item.id for item in listed.items] == [run.id]

    cancelled = functions["cancel"](run.id, client=caller, body=models.Cancel(reason="enough"))
    assert (cancelled.status_code, cancelled.parsed.run.status) == (200, "cancelled")
    assert cancelled.parsed.run.stop.reason == "enough"
    assert Run.objects.get(id=run.id).status == "cancelled"
