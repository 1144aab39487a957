"""From a node to the browser: latency, a thousand sockets, and what the events cost the graph.

    python -m benchmarks.live [--sockets 1000] [--runs 100] [--rate 1.0] [--seconds 20]

A real Daphne serves, and a real worker executes the graphs whose latency and cost are measured. The many busy runs are
rows in the database and events that this process gives to its sink, because a worker with two slots executes two runs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import threading
import time
import uuid
from collections import Counter
from typing import Any

import psutil

from benchmarks.harness import milliseconds, percentile, services
from tests import environment


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sockets", type=int, default=1_000)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--rate", type=float, default=1.0, help="events a second of each run")
    parser.add_argument("--seconds", type=float, default=20.0, help="of the load")
    parser.add_argument("--events", type=int, default=400, help="of the latency")
    parser.add_argument("--tokens", type=int, default=30_000, help="in a round of the cost")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with services():
        from tests.acceptance.test_web_shutdown import WebProcess

        measure_cost(2_000, 10_000.0)  # warm up
        paced = [measure_cost(options.tokens, 10_000.0) for _ in range(options.rounds)]
        flat_out = [measure_cost(options.tokens, 0.0) for _ in range(options.rounds)]
        web = WebProcess(environment.DATA_DIR / "live.log", WEB_ON_SHUTDOWN="leave")
        try:
            latencies = asyncio.run(measure_latency(web.port, options.events))
            load = asyncio.run(measure_load(web, options))
        finally:
            web.destroy()
    ratio = statistics.median(ours / plain for plain, ours in paced)
    print(f"10,000 tokens a second: the node takes {ratio:.3f} of the time without events, aim ≤ 1.10")
    plain, ours = (statistics.median(values) / options.tokens * 1e6 for values in zip(*flat_out, strict=True))
    print(f"a token without a pause: plain {plain:.1f} µs, engine {ours:.1f} µs")
    print(
        f"node to socket: p50 {milliseconds(percentile(latencies, 50))}, p99 {milliseconds(percentile(latencies, 99))}"
        ", aim ≤ 60 ms, ≤ 200 ms"
    )
    print(load)


def measure_cost(tokens: int, per_second: float) -> tuple[float, float]:
    """Seconds that a node takes to hear a model out: in a plain task, and in a run."""
    from benchmarks.graphs import babble_plainly
    from runs import control
    from runs.connections import redis_client

    seconds = []
    for start in (
        lambda state: babble_plainly.delay(**state),
        lambda state: control.submit("babbling", state),
    ):
        name = uuid.uuid4().hex
        start({"name": name, "tokens": tokens, "per_second": per_second})
        while (taken := redis_client().lpop(f"bench:babble:{name}")) is None:
            time.sleep(0.05)
        seconds.append(float(taken))
    return seconds[0], seconds[1]


def make_owner() -> tuple[Any, str]:
    from django.contrib.auth import get_user_model
    from django.test import Client

    user, _ = get_user_model().objects.get_or_create(email="bench@example.com")
    client = Client()
    client.force_login(user)
    return user, f"sessionid={client.cookies['sessionid'].value}"


class Watcher:
    """One socket that notes when each event came."""

    def __init__(self, port: int, cookie: str, run_id: Any) -> None:
        self._url = f"ws://127.0.0.1:{port}/ws/runs/{run_id}/"
        self._headers = {"Cookie": cookie}
        self._origin = f"http://127.0.0.1:{port}"
        self.latencies: list[float] = []
        self.numbers: list[int] = []

    async def open(self) -> None:
        from websockets.asyncio.client import connect

        self._socket = await connect(
            self._url, origin=self._origin, additional_headers=self._headers, open_timeout=60, compression=None
        )
        while json.loads(await self._socket.recv())["type"] != "snapshot":
            continue

    async def watch(self) -> None:
        """Until the run has ended, or somebody cancels this."""
        async for text in self._socket:
            now = time.time()
            message = json.loads(text)
            if message["type"] == "heartbeat":
                await self._socket.send('{"action": "alive"}')
            elif message["type"] == "custom":
                data = message["data"]["data"]
                self.latencies.append(now - (data["at"] if isinstance(data, dict) else data))
                if isinstance(data, dict):
                    self.numbers.append(data["number"])
            elif message["type"] == "run.status" and message["data"]["status"] == "completed":
                return

    async def close(self) -> None:
        await self._socket.close()


async def measure_latency(port: int, events: int) -> list[float]:
    """Seconds from the node that writes to the client that has read."""
    from asgiref.sync import sync_to_async

    from runs import control

    user, cookie = await sync_to_async(make_owner)()
    run = await sync_to_async(control.submit)("reporting", {"tokens": events, "per_second": 23.0}, owner=user)
    watcher = Watcher(port, cookie, run.id)
    await watcher.open()
    await watcher.watch()
    await watcher.close()
    return watcher.latencies


async def measure_load(web: Any, options: argparse.Namespace) -> str:
    from asgiref.sync import sync_to_async

    user, cookie = await sync_to_async(make_owner)()
    run_ids = await sync_to_async(_make_runs)(user, options.runs)
    process = psutil.Process(web.process.pid)
    before = process.memory_info().rss
    watchers = [Watcher(web.port, cookie, run_ids[number % options.runs]) for number in range(options.sockets)]
    tasks: list[asyncio.Task[None]] = []
    for start in range(0, len(watchers), 50):
        opened = watchers[start : start + 50]
        await asyncio.gather(*(watcher.open() for watcher in opened))
        tasks += [asyncio.create_task(watcher.watch()) for watcher in opened]  # it answers heartbeats from now on
    await asyncio.sleep(1.0)
    cpu, began = sum(process.cpu_times()[:2]), time.time()
    told = Counter[Any]()
    stopping = threading.Event()
    telling = threading.Thread(target=_tell, args=(run_ids, options.rate, told, stopping))
    telling.start()
    await asyncio.sleep(options.seconds)
    stopping.set()
    await asyncio.to_thread(telling.join)
    await asyncio.sleep(3.0)
    seconds = time.time() - began
    used = sum(process.cpu_times()[:2]) - cpu
    memory = (process.memory_info().rss - before) / options.sockets
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    wrong = [
        watcher
        for number, watcher in enumerate(watchers)
        if watcher.numbers != list(range(told[run_ids[number % options.runs]]))
    ]
    latencies = [latency for watcher in watchers for latency in watcher.latencies]
    await asyncio.gather(*(watcher.close() for watcher in watchers), return_exceptions=True)
    return (
        f"{options.sockets} sockets on {options.runs} runs: {len(latencies)} messages in {options.seconds:g} s, "
        f"{len(wrong)} sockets with a loss or a repetition, {memory / 1024:.0f} KiB a socket, "
        f"{used / seconds * 100:.0f} % of a core, "
        f"p50 {milliseconds(percentile(latencies, 50))}, p99 {milliseconds(percentile(latencies, 99))}"
    )


def _make_runs(owner: Any, count: int) -> list[Any]:
    from runs.models import Run, new_run_id
    from runs.registry import create

    run_ids = [new_run_id() for _ in range(count)]
    for run_id in run_ids:
        run = Run(id=run_id, graph="reporting", root_id=run_id, owner=owner, thread_id=str(run_id), input={})
        run.task, run.queue = "runs.tasks.execute_run", "nobody"
        create(run)
    return run_ids


def _tell(run_ids: list[Any], rate: float, told: Counter[Any], stopping: threading.Event) -> None:
    """Have each run say something `rate` times a second, one after the other."""
    from runs import events

    pause = 1 / (rate * len(run_ids))
    due = time.perf_counter()
    while True:
        for run_id in run_ids:
            if stopping.is_set():
                return
            data = {"number": told[run_id], "at": time.time()}
            events.sink().emit(run_id, "custom", {"node": "report", "namespace": "report:1", "data": data})
            told[run_id] += 1
            due += pause
            time.sleep(max(0.0, due - time.perf_counter()))


if __name__ == "__main__":
    main()
