from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandParser

from graduation_backend import embedded_redis
from graduation_backend.control_tasks import exits
from graduation_backend.control_tasks.arguments import parse_input
from graduation_backend.control_tasks.terminal import Screen
from graduation_backend.environment import BASE_DIR
from graduation_backend.processes import ending_with_this_process
from runs.errors import RunsError
from runs.states import StopMode

# Set for the inner of the two processes: the one that has services of its own, and measures.
INSIDE = "STOP_CONFORMANCE_INSIDE"
INTERRUPT_AFTER_SECONDS = 1.0
SHARE_OF_GRACE = 3  # the interrupt comes after a third of a grace that is shorter


class Command(BaseCommand):
    help = (
        "Start graphs, stop them while they run, and see after what time, by which rung, and what is left. Without "
        "--graph: those of runs/testing, each hard to stop in its own way. Needs no services that run: it starts a "
        "database, a Valkey and a worker of its own, and ends them. Exit codes: 0 all stopped, 1 one did not."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--graph", action="append", metavar="NAME", help="a graph of your LANGGRAPH_JSON; may be repeated"
        )
        parser.add_argument(
            "--input", type=parse_input, metavar="JSON|@FILE|-", help="the graph's input: JSON, a file of it, or stdin"
        )
        parser.add_argument(
            "--mode", action="append", choices=StopMode.values, help="how to stop; may be repeated (default: all)"
        )
        parser.add_argument(
            "--stream",
            action="append",
            choices=["messages", "custom"],
            help="have LangGraph stream these, too, so that it executes nodes in its own pool; may be repeated",
        )
        parser.add_argument("--grace", type=float, default=3.0, metavar="SECONDS", help="until the kill (%(default)g)")
        parser.add_argument("--json", action="store_true", help="print JSON")
        parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write a page with the table")

    def handle(self, *args: Any, **options: Any) -> None:
        if sys.platform == "win32":
            raise exits.Error("Celery's prefork pool does not exist on Windows, so there is nothing to measure")
        if options["grace"] <= 0:
            raise exits.Error(f"--grace is {options['grace']:g}, needed is more than 0", exits.USAGE)
        if options["graph"] is None and options["input"] is not None:
            raise exits.Error("--input needs --graph", exits.USAGE)
        try:
            code = self._measure(options) if INSIDE in os.environ else _call_inside(options)
        except RunsError as error:
            raise exits.as_error(error) from error
        except KeyboardInterrupt:
            code = exits.INTERRUPTED
        if code:
            sys.exit(code)

    def _measure(self, options: dict[str, Any]) -> int:
        from runs.testing import conformance, report

        screen = Screen(self.stdout, self.stderr, no_color=options["no_color"])
        descriptions = conformance.list_graphs()
        graphs = options["graph"] or list(descriptions)
        server = embedded_redis.start_as_child(settings.DATA_DIR)
        try:
            call_command("migrate", interactive=False, verbosity=0)
            with screen.progress() as tell:
                tell("starting a worker")
                with conformance.worker_under_test(
                    "graduation_backend", settings.DATA_DIR, os.environ, ending_with_this_process
                ) as worker:
                    measured = conformance.measure_all(
                        worker,
                        graphs,
                        options["mode"] or conformance.MODES,
                        grace_seconds=options["grace"],
                        input=options["input"] or {},
                        tells_begun=not options["graph"],
                        tell=tell,
                    )
        finally:
            embedded_redis.stop(settings.DATA_DIR)
            if server is not None:
                server.wait()
        if options["json"]:
            screen.json([one.as_json() for one in measured])
        else:
            screen.show(report.as_table(measured))
            for problem in report.list_problems(measured):
                screen.note(problem)
        if options["markdown"]:
            page = report.as_markdown(
                measured,
                descriptions,
                grace_seconds=options["grace"],
                interrupt_seconds=settings.RUNS_INTERRUPT_AFTER_SECONDS,
                streams=settings.RUNS_STREAM_MODES,
            )
            options["markdown"].write_text(page, encoding="utf-8")
        return exits.DONE if all(one.is_passed for one in measured) else exits.FAILED


def _call_inside(options: dict[str, Any]) -> int:
    """Run this very command once more, with the same words, among services of its own in a temporary directory."""
    from runs import catalog
    from runs.testing import conformance

    for graph in options["graph"] or ():
        catalog.get_entry(graph)
    source = settings.RUNS_LANGGRAPH_JSON if options["graph"] else conformance.HOSTILE_JSON
    with tempfile.TemporaryDirectory(prefix="stop-conformance-", ignore_cleanup_errors=True) as folder:
        directory = Path(folder).resolve()
        conformance.write_catalog(source, directory / "langgraph.json")
        redis_url = embedded_redis.embedded_redis_url(directory)
        environment = {
            **os.environ,
            INSIDE: "1",
            "DATA_DIR": str(directory),
            "LANGGRAPH_JSON": str(directory / "langgraph.json"),
            # Named, because a .env file may name others.
            "DATABASE_URL": f"sqlite:///{directory / 'db.sqlite3'}",
            "REDIS_URL": redis_url,
            "CELERY_BROKER_URL": redis_url.replace("unix://", "redis+socket://", 1),
            "RUNS_GRACE_SECONDS": str(options["grace"]),
            "RUNS_STREAM_MODES": ",".join(options["stream"] or ()),
            "RUNS_INTERRUPT_AFTER_SECONDS": str(min(INTERRUPT_AFTER_SECONDS, options["grace"] / SHARE_OF_GRACE)),
        }
        if not options["graph"]:
            environment["LANGSMITH_TRACING"] = "false"
        command = [sys.executable, str(BASE_DIR / "manage.py"), "stop_conformance", *_as_words(options)]
        inner = subprocess.Popen(ending_with_this_process(command), env=environment)
        while True:
            try:
                return inner.wait()
            except KeyboardInterrupt:
                continue  # the terminal has told the inner one, too; it ends its services


def _as_words(options: dict[str, Any]) -> list[str]:
    words = ["--grace", str(options["grace"])]
    for name in ("graph", "mode", "stream"):
        for value in options[name] or ():
            words += [f"--{name}", value]
    if options["input"] is not None:
        words += ["--input", json.dumps(options["input"])]
    if options["markdown"]:
        words += ["--markdown", str(options["markdown"])]
    return words + ["--json"] * options["json"] + ["--no-color"] * options["no_color"]
