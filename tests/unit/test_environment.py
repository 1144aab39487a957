from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from graduation_backend.environment import (
    BASE_DIR,
    WrongEnvironment,
    kept_secret,
    made_data_dir,
    read_environment,
)

WRONG = [
    ("DEBUG", "maybe", "1, true, yes, on, 0, false, no, off"),
    ("PUBLIC_URL", "example.org", "http:, https:"),
    ("LOG_LEVEL", "LOUD", "'DEBUG', 'INFO', 'WARNING' or 'ERROR'"),
    ("SIGN_UP", "sometimes", "'open' or 'closed'"),
    ("PORT", "0", "greater than or equal to 1"),
    ("PORT", "70000", "less than or equal to 65535"),
    ("PORT", "http", "valid integer"),
    ("WORKER_CONCURRENCY", "0", "greater than 0"),
    ("WORKER_CONCURRENCY", "513", "less than or equal to 512"),
    ("RUNS_GRACE_SECONDS", "-1", "greater than 0"),
    ("RUNS_GRACE_SECONDS", "86401", "less than or equal to 86400"),
    ("RUNS_INTERRUPT_AFTER_SECONDS", "soon", "valid number"),
    ("WEB_ON_SHUTDOWN", "requeue", "executes no runs that it could requeue, allowed are cancel and leave"),
    ("WEB_ON_SHUTDOWN", "stop", "allowed are cancel"),
    ("RUNS_LEASE_SECONDS", "1", "greater than or equal to 2"),
    ("RUNS_ON_SHUTDOWN", "kill", "'cancel', 'requeue' or 'leave'"),
    ("BOOKS_MODEL", "gpt", "PROVIDER:MODEL"),
]
WRONG_SECRETS = [
    ("SECRET_KEY", "hunter2", "at least 50 characters"),
    ("DATABASE_URL", "mysql://me:hunter2@host/db", "sqlite:, postgres:, postgresql:"),
    ("REDIS_URL", "http://:hunter2@host", "redis:, rediss:, unix:"),
    ("CELERY_BROKER_URL", "sqs://me:hunter2@host", "redis:, rediss:, redis+socket:, amqp:, amqps:, memory:"),
    ("EMAIL_URL", "imap://me:hunter2@host", "smtp:, smtps:"),
]


@pytest.fixture(autouse=True)
def _no_dotenv(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in {name for name, *_ in WRONG + WRONG_SECRETS}:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(("name", "value", "allowed"), WRONG)
def test_wrong_value_is_named_with_its_value_and_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, allowed: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(WrongEnvironment) as caught:
        read_environment()
    message = str(caught.value)
    assert message.startswith(f"{name}='{value}': ")
    assert allowed in message
    assert "\n" not in message


@pytest.mark.parametrize(("name", "value", "allowed"), WRONG_SECRETS)
def test_wrong_secret_is_named_but_never_shown(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, allowed: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(WrongEnvironment) as caught:
        read_environment()
    message = str(caught.value)
    assert message.startswith(f"{name}=(hidden): ")
    assert allowed in message
    assert "hunter2" not in message


def test_interrupt_later_than_kill_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNS_INTERRUPT_AFTER_SECONDS", "40")
    monkeypatch.setenv("RUNS_GRACE_SECONDS", "30")
    with pytest.raises(WrongEnvironment, match="RUNS_INTERRUPT_AFTER_SECONDS=40 is more than RUNS_GRACE_SECONDS=30"):
        read_environment()


def test_every_wrong_value_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "http")
    monkeypatch.setenv("DEBUG", "maybe")
    with pytest.raises(WrongEnvironment) as caught:
        read_environment()
    assert {line.partition("=")[0] for line in str(caught.value).splitlines()} == {"PORT", "DEBUG"}


def test_empty_value_means_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "")
    monkeypatch.setenv("REDIS_URL", "")
    environment = read_environment()
    assert (environment.port, environment.redis_url) == (8000, None)


def test_data_dir_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WrongEnvironment, match=r"DATA_DIR=.*can't be made: Not a directory"):
        made_data_dir(tmp_path / "file" / "data")


def test_kept_secret_is_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "new" / "secret"
    secret = kept_secret(path)
    assert len(secret) > 50
    assert kept_secret(path) == secret
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(path.parent) == ["secret"]


@pytest.mark.parametrize(
    "command",
    [
        ["manage.py", "check"],
        ["-m", "celery", "-A", "graduation_backend", "worker"],
        ["-m", "daphne", "graduation_backend.asgi:application"],
    ],
    ids=["manage.py", "celery", "daphne"],
)
def test_program_with_a_wrong_value_ends_with_one_line(tmp_path: Path, command: list[str]) -> None:
    ended = subprocess.run(
        [sys.executable, *command],
        cwd=BASE_DIR,
        env={**os.environ, "DATA_DIR": str(tmp_path), "WORKER_CONCURRENCY": "many"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith("Configuration error: WORKER_CONCURRENCY='many': ")
    assert len(ended.stderr.splitlines()) == 1
    assert ended.stdout == ""
