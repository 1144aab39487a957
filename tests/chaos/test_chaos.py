"""Kill, freeze, empty and restart what runs depend on, in an order that a seed decides; then look at every run."""

from __future__ import annotations

import faulthandler
import random
import secrets
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from runs import events
from runs.models import Run
from tests.chaos.faults import LEASE_SECONDS, Faults, Services
from tests.chaos.invariants import list_violations
from tests.chaos.load import Load
from tests.databases import WITHOUT_POSTGRES, PostgresCluster, find_postgres, using_database
from tests.environment import ROOT
from tests.services import wait_until

GRAPHS = ROOT / "tests" / "chaos" / "langgraph.json"
GRACE_SECONDS = 2.0
INTERRUPT_AFTER_SECONDS = 1.0
STEP_SECONDS = 0.1
FAULT_SECONDS = 2.5  # between two faults, on average
CANCEL_ALL_SHARE = 0.03  # of the faults are followed by the stop of everything
STUCK_SECONDS = 60.0
END_SECONDS = 90.0  # within which everything ends once nothing is done to it any more
ENDING_SECONDS = 40.0  # for what a worker needs to end


@pytest.fixture
def cluster(pytestconfig: pytest.Config) -> Iterator[PostgresCluster | None]:
    if pytestconfig.getoption("chaos_database") != "postgres":
        yield None
        return
    binaries = find_postgres()
    if binaries is None:
        pytest.skip(WITHOUT_POSTGRES)
    made = PostgresCluster(binaries)
    yield made
    made.destroy()


@pytest.fixture
def environment(settings: Any) -> dict[str, str]:
    """Short times, here and in the workers."""
    values = {
        "RUNS_GRACE_SECONDS": GRACE_SECONDS,
        "RUNS_INTERRUPT_AFTER_SECONDS": INTERRUPT_AFTER_SECONDS,
        "RUNS_LEASE_SECONDS": LEASE_SECONDS,
    }
    for name, value in values.items():
        setattr(settings, name, value)
    settings.RUNS_LANGGRAPH_JSON = GRAPHS
    return {**{name: str(value) for name, value in values.items()}, "LANGGRAPH_JSON": str(GRAPHS)}


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_chaos_breaks_no_invariant(
    pytestconfig: pytest.Config,
    shared_worker: Any,
    cluster: PostgresCluster | None,
    environment: dict[str, str],
    django_db_blocker: Any,
    tmp_path: Path,
) -> None:
    seed = pytestconfig.getoption("seed") or secrets.randbelow(10**6)
    seconds = pytestconfig.getoption("chaos_seconds")
    runs = pytestconfig.getoption("chaos_runs")
    url = cluster.url if cluster else f"sqlite:///{tmp_path / 'chaos.sqlite3'}"
    shared_worker.remove()
    with ExitStack() as stack:
        stack.enter_context(django_db_blocker.unblock())
        stack.enter_context(using_database(url))
        services = Services(tmp_path, environment, cluster)
        stack.callback(services.destroy)
        # Two sources of chance: what is done to the services does not depend on what becomes of the runs.
        load = Load(tmp_path / "notes.jsonl", random.Random(seed))
        faults = Faults(services, random.Random(seed + 1))
        do_chaos(load, faults, seconds=seconds, runs=runs, steps=tmp_path / "steps")

        faults.wake(everything=True)
        services.wait_ready()
        began_to_end = time.monotonic()
        with suppress(AssertionError):  # it is told below, run by run
            wait_until(load.finish, "every run has ended", END_SECONDS)
        ending = time.monotonic() - began_to_end
        for worker in services.workers:
            worker.stop(seconds=ENDING_SECONDS)
        events.sink().flush()
        load.reader.end()  # after the last event was written
        violations = list_violations(
            load,
            tmp_path / "notes.jsonl",
            redis_lost_at=faults.redis_lost_at,
            redis_emptied_at=faults.redis_emptied_at,
            machine_woken_at=faults.machine_woken_at,
        )
        violations += [f"2: process {process} is left" for process in services.survivors()]
        report = describe(seed, load, faults, ending)
        print(report)
        again = f"python -m pytest tests/chaos --seed {seed} --chaos-seconds {seconds:g} --chaos-runs {runs}"
        again += f" --chaos-database {pytestconfig.getoption('chaos_database')}"
        assert not violations, "\n".join([*violations, report, f"again: {again}", f"logs: {tmp_path}"])


def do_chaos(load: Load, faults: Faults, *, seconds: float, runs: int, steps: Path) -> None:
    """Until that many seconds have passed and that many runs were submitted; writes down each step."""
    chance = faults.random
    began = time.monotonic()
    next_fault = began + chance.expovariate(1 / FAULT_SECONDS)
    with steps.open("w", buffering=1) as written:

        def step(name: str) -> None:
            written.write(f"{timezone.now():%H:%M:%S.%f} {name}\n")

        while time.monotonic() - began < seconds or len(load.submitted) < runs:
            # Should this process hang itself, it says where.
            faulthandler.dump_traceback_later(STUCK_SECONDS, file=written)
            step(load.do_one())
            if time.monotonic() >= next_fault:
                step(f"    {faults.do_one()}")
                next_fault = time.monotonic() + chance.expovariate(1 / FAULT_SECONDS)
                if chance.random() < CANCEL_ALL_SHARE:
                    step(load.cancel_everything())
            time.sleep(STEP_SECONDS)
        faulthandler.cancel_dump_traceback_later()


def describe(seed: int, load: Load, faults: Faults, ending: float) -> str:
    statuses = Counter(Run.objects.values_list("status", flat=True))
    resurrected = Run.objects.filter(resurrections__gt=0).count()
    killed = Run.objects.filter(stop_rung=2).count()
    return "\n".join(
        [
            f"seed {seed}: {sum(statuses.values())} runs, {sum(faults.done.values())} faults, "
            f"{len(load.accepted)} stops accepted, all ended {ending:.1f} s after the last fault",
            f"ended: {_table(statuses)}; resurrected {resurrected}, stopped by a kill {killed}",
            f"faults: {_table(faults.done)}",
            f"asked: {_table(load.done)}; streams followed {len(load.reader.seen)}",
        ]
    )


def _table(counted: Counter[str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in sorted(counted.items()))
