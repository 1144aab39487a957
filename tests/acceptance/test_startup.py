"""The two programs, started by hand on a machine where nothing is prepared."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.environment import ROOT
from tests.services import process_environment

WORKER = ["celery", "-A", "graduation_backend", "worker", "--loglevel=info", "--pool=prefork", "--concurrency=2"]
WEB = ["daphne", "-b", "127.0.0.1", "-p", "0", "graduation_backend.asgi:application"]


@pytest.mark.parametrize("program", [WORKER, WEB], ids=["celery", "daphne"])
def test_database_without_tables_is_told_in_one_line(program: list[str], tmp_path: Path, db: None) -> None:
    environment = {**process_environment(), "DATA_DIR": str(tmp_path), "DATABASE_URL": f"sqlite:///{tmp_path}/new.db"}
    environment.pop("REDIS_URL", None)

    done = subprocess.run(
        [sys.executable, "-m", *program], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )

    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].endswith("run `python manage.py migrate` first")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "redis").exists()


@pytest.mark.parametrize("program", [WORKER, WEB], ids=["celery", "daphne"])
def test_wrong_limits_are_told_in_one_line(program: list[str], tmp_path: Path, db: None) -> None:
    wrong = tmp_path / "wrong_settings.py"
    wrong.write_text(
        'from graduation_backend.settings import *\nRUNS_GRAPHS = {"quick": {"max_second": 5}}\n', encoding="utf-8"
    )
    environment = {**process_environment(), "DJANGO_SETTINGS_MODULE": "wrong_settings", "PYTHONPATH": str(tmp_path)}

    done = subprocess.run(
        [sys.executable, "-m", *program], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )

    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1] == (
        "Configuration error: RUNS_GRAPHS['quick'] has the key 'max_second'; "
        "allowed are: grace_seconds, interrupt_after_seconds, max_seconds"
    )
    assert "Traceback" not in done.stderr
