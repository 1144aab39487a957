"""Where LangGraph keeps checkpoints and its store: a SQLite file, or the PostgreSQL database.

Each process opens its own, after the fork. Both savers also answer LangGraph's async calls, so that sync and async
graphs share one connection and one thread can be resumed by either.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cache
from typing import Any
from uuid import UUID

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
)
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.store.base import BaseStore, Op, Result
from langgraph.store.postgres import PostgresStore
from langgraph.store.sqlite import SqliteStore

from runs import tokens
from runs.conf import runs_settings

SQLITE_TIMEOUT_SECONDS = 20
SETUP_LOCK = 0x72756E73  # any number that nobody else locks in this database: "runs"


class _AsyncBySync(BaseCheckpointSaver[Any]):
    """LangGraph's async calls, answered by the sync ones on the spot: a checkpoint takes about a millisecond."""

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        return self.get_tuple(config)

    async def alist(self, *args: Any, **kwargs: Any) -> AsyncIterator[CheckpointTuple]:
        for found in self.list(*args, **kwargs):
            yield found

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        return self.put(config, checkpoint, metadata, new_versions)

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        self.put_writes(config, writes, task_id, task_path)

    async def aget_delta_channel_history(self, *args: Any, **kwargs: Any) -> Any:
        return self.get_delta_channel_history(*args, **kwargs)


class SqliteCheckpoints(_AsyncBySync, SqliteSaver):
    pass


class PostgresCheckpoints(_AsyncBySync, PostgresSaver):
    pass


class _GuardedStore(BaseStore):
    """A store whose every access is a boundary at which a stopping run stops."""

    def __init__(self, inner: BaseStore) -> None:
        self.inner = inner

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        tokens.raise_if_cancelled()
        return self.inner.batch(ops)

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        tokens.raise_if_cancelled()
        if isinstance(self.inner, (SqliteStore, PostgresStore)):
            return await asyncio.get_running_loop().run_in_executor(None, self.inner.batch, list(ops))
        return await self.inner.abatch(ops)


def guarded(store: BaseStore) -> BaseStore:
    return store if isinstance(store, _GuardedStore) else _GuardedStore(store)


def checkpointer() -> BaseCheckpointSaver[Any]:
    """This process's checkpointer, opened at its first use."""
    return _checkpointer(os.getpid(), runs_settings().checkpoint_url)


def default_store() -> BaseStore:
    """This process's store, for graphs that bring none."""
    return _store(os.getpid(), runs_settings().checkpoint_url)


def find_input(thread_id: str, run_ids: Sequence[UUID]) -> str | None:
    """The id of the checkpoint in which the oldest of these runs, given newest first, had its input and no more."""
    thread: RunnableConfig = {"configurable": {"thread_id": thread_id, "checkpoint_ns": ""}}
    for run_id in reversed(run_ids):
        found = checkpointer().list(thread, filter={"source": "input", "run_id": str(run_id)}, limit=1)
        for checkpoint in found:
            return str(checkpoint.config["configurable"]["checkpoint_id"])
    return None


def open_sqlite(path: str, *, autocommit: bool) -> sqlite3.Connection:
    """A connection to a file that several processes write to at once."""
    connection = sqlite3.connect(
        path,
        timeout=SQLITE_TIMEOUT_SECONDS,
        check_same_thread=False,
        isolation_level=None if autocommit else "DEFERRED",
    )
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    return connection


@cache
def _checkpointer(_pid: int, url: str) -> BaseCheckpointSaver[Any]:
    with _set_up_alone(_pid, url):
        if url.startswith("sqlite:///"):
            saver: SqliteCheckpoints | PostgresCheckpoints = SqliteCheckpoints(
                open_sqlite(url.removeprefix("sqlite:///"), autocommit=False)
            )
        else:
            saver = PostgresCheckpoints(_postgres_pool(_pid, url))
        saver.setup()
    return saver


@cache
def _store(_pid: int, url: str) -> BaseStore:
    with _set_up_alone(_pid, url):
        if url.startswith("sqlite:///"):
            store: SqliteStore | PostgresStore = SqliteStore(
                open_sqlite(url.removeprefix("sqlite:///"), autocommit=True)
            )
        else:
            store = PostgresStore(_postgres_pool(_pid, url))
        store.setup()
    return guarded(store)


@contextmanager
def _set_up_alone(_pid: int, url: str) -> Iterator[None]:
    """LangGraph's tables can't be made by two processes at once.

    On PostgreSQL the lock is tried again and again: a statement that waits for it would itself be waited for, by the
    setup's `CREATE INDEX CONCURRENTLY`. On SQLite it is an empty database beside the file, locked as a whole.
    """
    if url.startswith("sqlite:///"):
        lock = sqlite3.connect(f"{url.removeprefix('sqlite:///')}.setup", SQLITE_TIMEOUT_SECONDS, isolation_level=None)
        with closing(lock):
            lock.execute("BEGIN EXCLUSIVE")
            yield
        return
    with _postgres_pool(_pid, url).connection() as connection:
        while not connection.execute("SELECT pg_try_advisory_lock(%s) AS taken", [SETUP_LOCK]).fetchone()["taken"]:
            time.sleep(0.05)
        try:
            yield
        finally:
            connection.execute("SELECT pg_advisory_unlock(%s)", [SETUP_LOCK])


@cache
def _postgres_pool(_pid: int, url: str) -> Any:
    from psycopg.rows import dict_row
    from psycopg_pool import ConnectionPool

    return ConnectionPool(
        url,
        min_size=1,
        max_size=4,
        open=True,
        check=ConnectionPool.check_connection,
        kwargs={"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row},
    )
