"""Made-up requests after the API's own schema: whatever is sent, it is never the server's fault."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from django.core.wsgi import get_wsgi_application
from django.test import Client
from hypothesis import HealthCheck, given, seed, settings

from authentication import keys
from authentication.keys import Scope
from authentication.models import User

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("no_worker", "redis_server")]

EXAMPLES = 6  # of each operation


def test_no_request_is_answered_with_our_fault(client: Client) -> None:
    admin = User.objects.create_superuser("admin@example.com")
    _, secret = keys.make(admin, "a program", list(Scope))
    schema = schemathesis.openapi.from_dict(client.get("/api/openapi.json").json())
    schema.app = get_wsgi_application()
    faults: dict[tuple[str, int], str] = {}

    def send(case: Any) -> None:
        case.query = {**(case.query or {}), "wait": 0} if "wait" in (case.query or {}) else case.query
        answer = case.call(headers={"X-API-Key": secret})
        if answer.status_code >= 500:
            faults.setdefault((case.operation.label, answer.status_code), answer.text[:300])

    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.path.endswith("/events"):
            continue  # it goes on for as long as its caller listens
        quick = settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        seed(7)(quick(given(case=operation.as_strategy())(send)))()
    assert not faults
