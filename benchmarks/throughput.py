"""Runs per second, and submit-to-first-node latency, of a ten-node graph: the engine against a plain Celery task
that calls `graph.invoke` with the same checkpointer, in turns in the same worker.

    python -m benchmarks.throughput [--runs 200] [--rounds 5]
"""

from __future__ import annotations

import argparse
import statistics
import time
import uuid

from benchmarks.harness import milliseconds, percentile, services


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200, help="runs in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--latencies", type=int, default=100)
    options = parser.parse_args()
    with services():
        measure_throughput(10)  # warm up: imports, first checkpoints
        measure_latency(5)
        rounds = [measure_throughput(options.runs) for _ in range(options.rounds)]
        plain, engine = measure_latency(options.latencies)
    rates = [statistics.median(values) for values in zip(*rounds, strict=True)]
    ratios = [ours / theirs for theirs, ours in rounds]
    print(f"throughput  plain {rates[0]:.0f} runs/s   engine {rates[1]:.0f} runs/s")
    print(
        f"            ratio {statistics.median(ratios):.2f} (rounds {' '.join(f'{r:.2f}' for r in ratios)}), aim ≥ 0.70"
    )
    for part in (50, 95):
        theirs, ours = percentile(plain, part), percentile(engine, part)
        print(
            f"latency p{part} plain {milliseconds(theirs)}   engine {milliseconds(ours)}"
            f"   ratio {ours / theirs:.2f}" + (", aim ≤ 2.00" if part == 50 else "")
        )


def measure_throughput(count: int) -> tuple[float, float]:
    """Plain and engine runs per second, from the first submit to the last end."""
    return _plain_rate(count), _engine_rate(count)


def _plain_rate(count: int) -> float:
    from benchmarks.graphs import invoke
    from runs.connections import redis_client

    client = redis_client()
    client.delete("bench:done")
    started = time.perf_counter()
    for _ in range(count):
        invoke.delay()
    while int(client.get("bench:done") or 0) < count:
        time.sleep(0.005)
    return count / (time.perf_counter() - started)


def _engine_rate(count: int) -> float:
    from runs import control
    from runs.models import Run

    started = time.perf_counter()
    ids = [control.submit("ten_nodes", {}).id for _ in range(count)]
    while Run.objects.filter(id__in=ids, status="completed").count() < count:
        time.sleep(0.005)
    return count / (time.perf_counter() - started)


def measure_latency(count: int) -> tuple[list[float], list[float]]:
    """Seconds from the call that submits to the first line of the first node, one at a time, in turns."""
    from benchmarks.graphs import invoke
    from runs import control
    from runs.connections import redis_client

    client = redis_client()
    plain, engine = [], []
    for _ in range(count):
        for submit, into in (
            (invoke.delay, plain),
            (lambda name: control.submit("ten_nodes", {"name": name}), engine),
        ):
            name = uuid.uuid4().hex
            started = time.time()
            submit(name)
            _, first = client.blpop([f"bench:first:{name}"], timeout=10)
            into.append(float(first) - started)
            time.sleep(0.05)  # let the run end: the next one finds an idle worker
    return plain, engine


if __name__ == "__main__":
    main()
