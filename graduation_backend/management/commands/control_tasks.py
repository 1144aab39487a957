from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import DatabaseError

from graduation_backend.control_tasks import arguments, exits, plain_arguments
from graduation_backend.control_tasks.terminal import Screen
from runs.errors import RunsError


class Command(BaseCommand):
    help = (
        "See, start, pause and stop graph runs and Celery tasks. Exit codes: 0 done, 1 failed or refused, "
        "2 wrong usage, 3 no such id, 4 --wait timed out (what was waited for goes on), 130 left by Ctrl+C. "
        "With --as EMAIL, list, status and cancel show and do only what that account may; without it, whoever can "
        "type the command may do everything."
    )
    requires_system_checks: list[str] = []

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        # Django makes the parser itself; only its complaint is ours.
        parser.error = partial(arguments.complain, parser)  # type: ignore[method-assign]
        return parser

    def add_arguments(self, parser: CommandParser) -> None:
        arguments.add_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        if options["action"] is None:
            raise exits.Error(f"say what to do: {', '.join(arguments.ACTIONS)}", exits.USAGE)
        if options.get("timeout") is not None and not options["wait"] and not options.get("follow"):
            raise exits.Error("--timeout needs --wait", exits.USAGE)
        if options.get("interval") is not None and not options["watch"]:
            raise exits.Error("--interval needs --watch", exits.USAGE)
        screen = Screen(self.stdout, self.stderr, no_color=options["no_color"])
        try:
            code = _find_action(options["action"])(options, screen)
        except (RunsError, DatabaseError) as error:
            raise exits.as_error(error) from error
        except KeyboardInterrupt:
            code = exits.INTERRUPTED
        except BrokenPipeError:
            # Whoever read our output has gone (`| head`); Python would complain again when it flushes.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = exits.FAILED
        if code:
            sys.exit(code)


def _find_action(name: str) -> Callable[[dict[str, Any], Screen], int]:
    # Imported here, so that each loads only what it needs.
    if name == "list":
        from graduation_backend.control_tasks.listing import list_tasks

        return list_tasks
    if name == "status":
        from graduation_backend.control_tasks.details import show_status

        return show_status
    if name == "why":
        from graduation_backend.control_tasks.receipt import show_receipt

        return show_receipt
    if name in ("start", "graphs"):
        from graduation_backend.control_tasks import starting

        return starting.start if name == "start" else starting.list_graphs
    if name in ("pause", "resume"):
        from graduation_backend.control_tasks import pausing

        return pausing.pause if name == "pause" else pausing.resume
    if name == "workers":
        from graduation_backend.control_tasks.workers import list_workers

        return list_workers
    if name == "retry":
        from graduation_backend.control_tasks.retrying import retry

        return retry
    if name == "unfreeze":
        from graduation_backend.control_tasks.brake import unfreeze

        return unfreeze
    if name in plain_arguments.ACTIONS:
        from graduation_backend.control_tasks import plain_tasks

        return plain_tasks.ACTIONS[name]
    from graduation_backend.control_tasks import stopping

    return stopping.cancel if name == "cancel" else stopping.cancel_all
