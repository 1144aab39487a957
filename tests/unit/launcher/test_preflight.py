from __future__ import annotations

import socket

import pytest

from graduation_backend import preflight
from graduation_backend.preflight import NotPossible


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_taken_port_is_named_with_the_way_out(host: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(NotPossible, match=rf"Port {port} is taken.*PORT={port + 1} ./start_services.sh"):
            preflight.check_port_is_free(host, port)


def test_port_that_was_used_a_moment_ago_is_free() -> None:
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            accepted, _address = server.accept()
            accepted.close()  # the server's end goes first and stays in TIME_WAIT
    preflight.check_port_is_free("127.0.0.1", port)


def test_address_of_another_machine_is_refused() -> None:
    with pytest.raises(NotPossible, match=r"Can't listen on 192\.0\.2\.1 port 8000: "):
        preflight.check_port_is_free("192.0.2.1", 8000)


def test_broker_that_does_not_answer_is_told_without_its_password() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"amqp://me:hunter2@127.0.0.1:{probe.getsockname()[1]}//"
        with pytest.raises(NotPossible, match=r"The broker of CELERY_BROKER_URL .* does not answer") as caught:
            preflight.check_broker_answers(url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://me:hunter2@host:6380/1", "redis://host:6380/1"),
        ("rediss://host", "rediss://host"),
        ("unix:///run/redis.sock?password=hunter2", "unix:///run/redis.sock"),
    ],
)
def test_address_is_shown_without_its_password(url: str, shown: str) -> None:
    assert preflight.without_password(url) == shown
