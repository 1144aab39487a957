"""Pytest plugin, loaded before Django's settings: gives the test run its own data directory, database and graphs.

`TEST_DATABASE_URL`, `TEST_REDIS_URL` and `TEST_BROKER_URL` choose other services than SQLite and the embedded
Valkey.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# A test run that was started in the background ignores Ctrl+C, and so would everything that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Nothing of the developer's own installation may leak into a test.
for name in [
    "DATABASE_URL",
    "REDIS_URL",
    "CELERY_BROKER_URL",
    "SECRET_KEY",
    "DEBUG",
    "ALLOWED_HOSTS",
    "PUBLIC_URL",
    "PORT",
    "EMAIL_URL",
    "BOOKS_MODEL",
    "LANGSMITH_TRACING",
    "LANGSMITH_API_KEY",
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
]:
    os.environ.pop(name, None)

DATA_DIR = Path(tempfile.mkdtemp(prefix="runs-tests-"))
atexit.register(shutil.rmtree, DATA_DIR, ignore_errors=True)

os.environ["DATA_DIR"] = str(DATA_DIR)
os.environ["LANGGRAPH_JSON"] = str(ROOT / "tests" / "graphs" / "langgraph.json")
os.environ.setdefault("RUNS_GRACE_SECONDS", "3")
os.environ.setdefault("RUNS_INTERRUPT_AFTER_SECONDS", "2")
os.environ.setdefault("RUNS_LEASE_SECONDS", "6")
for ours, theirs in (
    ("DATABASE_URL", "TEST_DATABASE_URL"),
    ("REDIS_URL", "TEST_REDIS_URL"),
    ("CELERY_BROKER_URL", "TEST_BROKER_URL"),
):
    if os.environ.get(theirs):
        os.environ[ours] = os.environ[theirs]
