from __future__ import annotations

import os
import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from graduation_backend.launcher import COLOURS, Launcher, Options
from graduation_backend.processes import Console, is_coloured


class Command(BaseCommand):
    help = "Start the web server, a worker and, if REDIS_URL is not set, a private Redis. Ctrl+C stops them all."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        environment = settings.ENVIRONMENT
        parser.add_argument("--port", type=int, default=environment.port, help="of the web server (%(default)s)")
        parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s); 0.0.0.0 for all")
        parser.add_argument(
            "--concurrency",
            type=int,
            default=environment.worker_concurrency,
            help="how many runs execute at a time (%(default)s)",
        )
        parser.add_argument("--no-sample", action="store_true", help="don't queue the sample book on first start")

    def handle(self, *args: Any, **options: Any) -> None:
        chosen = Options(
            host=options["host"],
            port=options["port"],
            concurrency=options["concurrency"],
            add_sample=not options["no_sample"],
        )
        is_plain = options["no_color"] or not is_coloured(sys.stdout, os.environ)
        console = Console(sys.stdout, colours=COLOURS, coloured=not is_plain)
        sys.exit(Launcher(chosen, console, os.environ).run())
