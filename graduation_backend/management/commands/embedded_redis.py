from __future__ import annotations

import json
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from graduation_backend import embedded_redis


class Command(BaseCommand):
    help = "Start, stop or show the private Redis that is used when REDIS_URL is not set."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("action", choices=["start", "stop", "status"])
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, action: str, json: bool, **options: Any) -> None:
        data_dir = settings.DATA_DIR
        if action == "start":
            if not settings.REDIS_IS_EMBEDDED:
                raise CommandError("REDIS_URL is set, so the embedded Redis is not used. Unset it first.")
            changed = embedded_redis.ensure_running(data_dir)
        else:
            changed = action == "stop" and embedded_redis.stop(data_dir)
        self._show(embedded_redis.server_pid(data_dir), changed=changed, as_json=json)

    def _show(self, pid: int | None, *, changed: bool, as_json: bool) -> None:
        running = embedded_redis.is_running(settings.DATA_DIR)
        if as_json:
            facts = {"running": running, "pid": pid, "changed": changed, "in_use": settings.REDIS_IS_EMBEDDED}
            self.stdout.write(json.dumps(facts))
        elif running:
            self.stdout.write(f"{'Started' if changed else 'Running'}, pid {pid}, in {settings.DATA_DIR / 'redis'}")
        elif pid is not None:
            self.stdout.write(f"Does not answer, pid {pid}. To end it: {embedded_redis.STOP_COMMAND}")
        else:
            self.stdout.write("Stopped" if changed else "Not running")
