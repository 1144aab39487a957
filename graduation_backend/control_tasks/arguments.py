"""The words of `control_tasks`: its subcommands and their options."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentTypeError
from math import isfinite
from pathlib import Path
from typing import Any, NoReturn

from django.core.management.base import CommandParser

from graduation_backend.control_tasks import exits, plain_arguments
from graduation_backend.control_tasks.terminal import printable
from runs.states import CANCELLING, PAUSING, Status

ACTIONS = (
    *("list", "start", "status", "cancel", "cancel-all", "pause", "resume", "retry", "why", "graphs"),
    *plain_arguments.ACTIONS,
)
DEFAULT_LIMIT = 50  # of `list --all`


class OneLineParser(CommandParser):
    """Says what is wrong in one line; the usage is a `--help` away."""

    def error(self, message: str) -> NoReturn:
        if not self.called_from_command_line:
            raise exits.Error(message, exits.USAGE)
        self.exit(exits.USAGE, f"Error: {printable(message)}; see: {self.prog} --help\n")


def add_arguments(parser: CommandParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", parser_class=OneLineParser)
    _add_list(actions)
    _add_start(actions)
    _add_status(actions)
    _add_cancel(actions)
    _add_cancel_all(actions)
    _add_pause(actions)
    _add_resume(actions)
    _add_retry(actions)
    _add_why(actions)
    _add_graphs(actions)
    plain_arguments.add_arguments(actions, _add)


def _add(actions: Any, name: str, description: str) -> CommandParser:
    parser: CommandParser = actions.add_parser(name, help=description, description=description, allow_abbrev=False)
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _add_list(actions: Any) -> None:
    parser = _add(actions, "list", "List the active graph runs and the active Celery tasks.")
    parser.add_argument(
        "--status",
        action="append",
        default=[],
        choices=[*Status.values, CANCELLING, PAUSING],
        metavar="S",
        help="only runs with this status, may be repeated: %(choices)s",
    )
    parser.add_argument("--graph", metavar="G", help="only runs of this graph")
    parser.add_argument("--all", action="store_true", help="also runs that have ended")
    parser.add_argument("--tree", action="store_true", help="show children below their parents")
    parser.add_argument(
        "--limit",
        type=_whole_number,
        metavar="N",
        help=f"the newest N runs (all active ones; with --all {DEFAULT_LIMIT})",
    )


def _add_start(actions: Any) -> None:
    parser = _add(actions, "start", "Queue a run of a graph and print its id.")
    parser.add_argument("graph", metavar="GRAPH", help="its name in `control_tasks graphs`")
    parser.add_argument(
        "--input",
        type=parse_input,
        default={},
        metavar="JSON|@FILE|-",
        help="the graph's input: JSON, a file of it, or - for stdin (default: {})",
    )
    parser.add_argument("--owner", metavar="EMAIL", help="whose run it is (default: nobody's)")
    parser.add_argument("--thread", metavar="ID", help="LangGraph's checkpoint thread (default: its own)")
    parser.add_argument("--priority", type=int, metavar="N", help="0 to 9, higher is sooner (default: 5)")
    parser.add_argument("--key", metavar="KEY", help="the same key again gives the same run, not a second one")
    for name, what in (
        ("--grace", "from a stop to the kill"),
        ("--interrupt-after", "from a stop to the interrupt"),
        ("--max-seconds", "from its start; a run that is not over by then is stopped"),
    ):
        parser.add_argument(
            name, type=_seconds, metavar="SECONDS", help=f"{what} (default: its graph's in RUNS_GRAPHS)"
        )
    _add_wait(parser, "wait until it has ended, and exit with 1 if it did not complete")


def _add_status(actions: Any) -> None:
    parser = _add(actions, "status", "Show one run in detail, or one plain Celery task.")
    _add_task_id(parser)


def _add_cancel(actions: Any) -> None:
    parser = _add(actions, "cancel", "Stop a run and everything below it, or a plain Celery task.")
    _add_task_id(parser)
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--force", action="store_true", help="kill: end its process at once")
    how.add_argument("--interrupt", action="store_true", help="raise an exception inside its nodes at once")
    parser.add_argument(
        "--grace",
        type=_seconds,
        metavar="SECONDS",
        help="how long it has before it is killed (default: the run's own, or RUNS_GRACE_SECONDS)",
    )
    parser.add_argument(
        "--interrupt-after",
        type=_seconds,
        metavar="SECONDS",
        help="how long it has before it is interrupted (default: the run's own, or RUNS_INTERRUPT_AFTER_SECONDS)",
    )
    parser.add_argument(
        "--node",
        metavar="NAME|ID",
        help="stop only this running node: its name, its path in subgraphs (a/b), or the id of one execution",
    )
    parser.add_argument("--every", action="store_true", help="with --node: all executions that the name stands for")
    parser.add_argument("--no-cascade", action="store_true", help="leave its children alone")
    parser.add_argument("--reason", default="", metavar="TEXT", help="kept with the run")
    parser.add_argument("--dry-run", action="store_true", help="only show what would be stopped")
    _add_wait(parser, "wait until all of it has stopped")


def _add_cancel_all(actions: Any) -> None:
    parser = _add(actions, "cancel-all", "Stop every active run.")
    parser.add_argument("--graph", metavar="G", help="only runs of this graph")
    parser.add_argument("--owner", metavar="EMAIL", help="only runs of this account")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--force", action="store_true", help="kill: end their processes at once")
    how.add_argument("--interrupt", action="store_true", help="raise an exception inside their nodes at once")
    parser.add_argument("--yes", action="store_true", help="don't ask")
    parser.add_argument("--reason", default="", metavar="TEXT", help="kept with the runs")
    parser.add_argument("--tasks", action="store_true", help="also the plain Celery tasks")
    _add_wait(parser, "wait until all of them have stopped")


def _add_pause(actions: Any) -> None:
    parser = _add(actions, "pause", "Pause a run and everything below it: it leaves at its next step, and can go on.")
    _add_task_id(parser)
    parser.add_argument("--no-cascade", action="store_true", help="leave its children alone")
    parser.add_argument("--reason", default="", metavar="TEXT", help="kept until it is resumed")
    _add_wait(parser, "wait until nothing of it executes, and exit with 1 if it ended instead")


def _add_resume(actions: Any) -> None:
    parser = _add(actions, "resume", "Let a paused run go on, and everything below it that is paused.")
    _add_task_id(parser)


def _add_retry(actions: Any) -> None:
    parser = _add(actions, "retry", "Try a run that failed or was cancelled again, as a new run, and print its id.")
    _add_task_id(parser)
    parser.add_argument(
        "--from-start", action="store_true", help="begin anew (default: go on from its last checkpoint)"
    )
    parser.add_argument("--reason", default="", metavar="TEXT", help="kept with the new run")
    _add_wait(parser, "wait until it has ended, and exit with 1 if it did not complete")


def _add_why(actions: Any) -> None:
    parser = _add(actions, "why", "Show what a stopping run is still doing, or how it was stopped: its receipt.")
    _add_task_id(parser)


def _add_graphs(actions: Any) -> None:
    parser = _add(actions, "graphs", "List the graphs that can be started.")
    parser.add_argument("--check", action="store_true", help="import each, and exit with 1 if one fails")


def _add_task_id(parser: CommandParser) -> None:
    parser.add_argument("--task-id", required=True, metavar="ID", help="of the run, which is its Celery task's id, too")


def _add_wait(parser: CommandParser, description: str) -> None:
    parser.add_argument("--wait", action="store_true", help=description)
    parser.add_argument("--timeout", type=_seconds, metavar="SECONDS", help="with --wait: exit with 4 after that time")


def parse_input(text: str) -> Any:
    """The value of `--input`: JSON, `@file` with JSON, or `-` for JSON from stdin."""
    where = "this"
    if text == "-":
        where, text = "stdin", sys.stdin.read()
    elif text.startswith("@"):
        where = text[1:]
        try:
            text = Path(where).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise ArgumentTypeError(f"{where} can't be read: {reason}") from None
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        near = f", near {text[error.pos : error.pos + 20]!r}" if text[error.pos :].strip() else ""
        raise ArgumentTypeError(
            f"{where} is not JSON: {error.msg} at line {error.lineno} column {error.colno}{near}"
        ) from None
    except RecursionError:
        raise ArgumentTypeError(f"{where} is nested too deeply") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ArgumentTypeError(f"{name} is no JSON value; say null or a string")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not isfinite(seconds) or seconds < 0:
        raise ArgumentTypeError(f"{text!r} is not a number of seconds")
    return seconds


def _whole_number(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is not a whole number from 1 up")
    return int(text)
