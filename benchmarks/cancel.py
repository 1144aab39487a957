"""From the call of cancel to the last effect of a node that asks `should_stop()` every 20 ms.

python -m benchmarks.cancel [--trials 100]
"""

from __future__ import annotations

import argparse
import time
import uuid

from benchmarks.harness import milliseconds, percentile, services


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=100)
    options = parser.parse_args()
    with services():
        measure(5)
        last_effects, ends = measure(options.trials)
    for name, values, aims in (
        ("last effect", last_effects, {50: 15, 99: 60}),
        ("cancelled", ends, {}),
    ):
        parts = [
            f"p{part} {milliseconds(percentile(values, part))}" + (f" (aim ≤ {aims[part]} ms)" if part in aims else "")
            for part in (50, 95, 99)
        ]
        print(f"{name:12} {'   '.join(parts)}")


def measure(count: int) -> tuple[list[float], list[float]]:
    """Seconds from the call of cancel to the node's last effect (0 if it came before), and to `cancelled`."""
    from runs import control
    from runs.connections import redis_client

    client = redis_client()
    last_effects, ends = [], []
    for trial in range(count):
        name = uuid.uuid4().hex
        run = control.submit("polling", {"name": name})
        while client.get(f"bench:tick:{name}") is None:
            time.sleep(0.005)
        time.sleep(0.05 + 0.02 * (trial % 7) / 7)  # meet the node's period at every phase
        called = time.time()
        control.cancel(run.id)
        ended = control.wait(run.id, timeout_seconds=10)
        last = float(client.get(f"bench:tick:{name}") or 0)
        last_effects.append(max(0.0, last - called))
        ends.append((ended.stop_gone_at.timestamp() if ended.stop_gone_at else 0) - called)
    return last_effects, ends


if __name__ == "__main__":
    main()
