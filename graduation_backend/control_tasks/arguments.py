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
    "list",
    "start",
    "status",
    "cancel",
    "cancel-all",
    "pause",
    "resume",
    "retry",
    "why",
    "graphs",
    "workers",
    "unfreeze",
    *plain_arguments.ACTIONS,
)
DEFAULT_LIMIT = 50  # of `list --all`
LEAST_INTERVAL_SECONDS = 0.1


class OneLineParser(CommandParser):
    """Says what is wrong in one line; the usage is a `--help` away."""

    def error(self, message: str) -> NoReturn:
        complain(self, message)


def complain(parser: CommandParser, message: str) -> NoReturn:
    """End with one line for a person, raise for a caller in Python."""
    if not parser.called_from_command_line:
        raise exits.Error(message, exits.USAGE)
    parser.exit(exits.USAGE, f"Error: {printable(message)}; see: {parser.prog} --help\n")


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
    _add_workers(actions)
    _add_unfreeze(actions)
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
    _add_graph(parser)
    parser.add_argument("--all", action="store_true", help="also runs that have ended")
    parser.add_argument("--tree", action="store_true", help="show children below their parents")
    parser.add_argument(
        "--limit",
        type=_whole_number,
        metavar="N",
        help=f"the newest N runs (all active ones; with --all {DEFAULT_LIMIT})",
    )
    parser.add_argument(
        "--watch",
        action="store_true",
        help="go on, live, until q or Ctrl+C; for a file or a pipe a table, with --json a line, at each change",
    )
    parser.add_argument(
        "--interval", type=_interval, metavar="SECONDS", help="with --watch: between looks (default: 1)"
    )
    _add_as(parser, "list only what this account may see")


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
    _add_follow(parser)
    _add_wait(parser, "wait until it has ended, and exit with 1 if it did not complete")


def _add_status(actions: Any) -> None:
    parser = _add(actions, "status", "Show one run in detail, or one plain Celery task.")
    _add_task_id(parser)
    _add_follow(parser)
    _add_as(parser, "act as this account: it must be one that may see the run, and stop it when Ctrl+C asks")


def _add_cancel(actions: Any) -> None:
    parser = _add(actions, "cancel", "Stop a run and everything below it, or a plain Celery task.")
    _add_task_id(parser)
    _add_mode(parser, "its process", "its nodes")
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
    _add_no_cascade(parser)
    _add_reason(parser, "kept with the run")
    parser.add_argument(
        "--dry-run", action="store_true", help="only show what would be stopped, and what it is doing now"
    )
    _add_as(parser, "act as this account: it must be one that may stop the run; kept with the run")
    _add_wait(parser, "wait until all of it has stopped")


def _add_cancel_all(actions: Any) -> None:
    parser = _add(actions, "cancel-all", "Stop every active run.")
    _add_graph(parser)
    parser.add_argument("--owner", metavar="EMAIL", help="only runs of this account")
    _add_mode(parser, "their processes", "their nodes")
    parser.add_argument("--yes", action="store_true", help="don't ask")
    _add_reason(parser, "kept with the runs")
    parser.add_argument("--tasks", action="store_true", help="also the plain Celery tasks")
    parser.add_argument(
        "--freeze", action="store_true", help="and let nothing new of it begin, until `control_tasks unfreeze`"
    )
    _add_wait(parser, "wait until all of them have stopped")


def _add_pause(actions: Any) -> None:
    parser = _add(actions, "pause", "Pause a run and everything below it: it leaves at its next step, and can go on.")
    _add_task_id(parser)
    _add_no_cascade(parser)
    _add_reason(parser, "kept until it is resumed")
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
    _add_reason(parser, "kept with the new run")
    _add_follow(parser)
    _add_wait(parser, "wait until it has ended, and exit with 1 if it did not complete")


def _add_why(actions: Any) -> None:
    parser = _add(actions, "why", "Show what a stopping run is still doing, or how it was stopped: its receipt.")
    _add_task_id(parser)


def _add_graphs(actions: Any) -> None:
    parser = _add(actions, "graphs", "List the graphs that can be started.")
    parser.add_argument("--check", action="store_true", help="import each, and exit with 1 if one fails")


def _add_workers(actions: Any) -> None:
    _add(actions, "workers", "List the workers: slots, current runs, and when each was last heard of.")


def _add_graph(parser: CommandParser) -> None:
    parser.add_argument("--graph", metavar="G", help="only runs of this graph")


def _add_as(parser: CommandParser, description: str) -> None:
    parser.add_argument("--as", dest="as_user", metavar="EMAIL", help=f"{description} (default: everything is allowed)")


def _add_follow(parser: CommandParser) -> None:
    parser.add_argument(
        "--follow",
        action="store_true",
        help="show it live until it ends, and exit with 1 if it did not complete; Ctrl+C asks whether to cancel it; "
        "with --json its events, one a line",
    )


def _add_mode(parser: CommandParser, processes: str, nodes: str) -> None:
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--force", action="store_true", help=f"kill: end {processes} at once")
    how.add_argument("--interrupt", action="store_true", help=f"raise an exception inside {nodes} at once")


def _add_no_cascade(parser: CommandParser) -> None:
    parser.add_argument("--no-cascade", action="store_true", help="leave its children alone")


def _add_reason(parser: CommandParser, description: str) -> None:
    parser.add_argument("--reason", default="", metavar="TEXT", help=description)


def _add_unfreeze(actions: Any) -> None:
    parser = _add(actions, "unfreeze", "Lift the emergency brake: let what is queued begin again.")
    parser.add_argument("--graph", metavar="G", help="only the freeze of this graph")
    parser.add_argument("--owner", metavar="EMAIL", help="only the freeze of this account")


def _add_task_id(parser: CommandParser) -> None:
    parser.add_argument("--task-id", required=True, metavar="ID", help="of the run, which is its Celery task's id, too")


def _add_wait(parser: CommandParser, description: str) -> None:
    parser.add_argument("--wait", action="store_true", help=description)
    parser.add_argument(
        "--timeout", type=_seconds, metavar="SECONDS", help="with --wait or --follow: exit with 4 after it"
    )


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


def _interval(text: str) -> float:
    seconds = _seconds(text)
    if seconds < LEAST_INTERVAL_SECONDS:
        raise ArgumentTypeError(f"{text!r} is too short: allowed is {LEAST_INTERVAL_SECONDS} or more")
    return seconds


def _whole_number(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is not a whole number from 1 up")
    return int(text)
