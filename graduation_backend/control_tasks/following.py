"""`start --follow` and `status --follow`: one run and everything below it, live, to its end.

On a terminal the tree stays at the bottom while the news scroll by, and Ctrl+C asks what to do; otherwise the news are
plain lines, or JSON lines of events, and Ctrl+C leaves.
"""

from __future__ import annotations

import time
from typing import Any

from django.utils import timezone

from graduation_backend.control_tasks import exits
from graduation_backend.control_tasks.acting import Acting
from graduation_backend.control_tasks.ending import require_completed, tell_end
from graduation_backend.control_tasks.feeds import choose_feed
from graduation_backend.control_tasks.keyboard import Interrupts, Keyboard, interrupts, leaving_cleanly
from graduation_backend.control_tasks.news import Follower
from graduation_backend.control_tasks.terminal import Screen
from runs import control
from runs.errors import RunAlreadyEnded
from runs.ladder import Rung, next_rung
from runs.models import Run
from runs.states import StopMode, StopSource
from runs.words import duration

WAIT_SECONDS = 0.2  # for events; then times and countdowns are drawn again
ANSWER_SECONDS = 0.2  # how often is looked, while a question is open, whether there was a second Ctrl+C

# The letter that asks for each rung, and the rest of its word.
_CHOICES = {
    None: ("c", "ancel it"),
    Rung.CANCEL: ("c", "ancel it"),
    Rung.INTERRUPT: ("i", "nterrupt it now"),
    Rung.KILL: ("k", "ill it now"),
}


def follow(run: Run, options: dict[str, Any], screen: Screen, acting: Acting, *, from_start: bool) -> int:
    """Show what the run does until it has ended.

    Returns:
        The exit code: that of a run which completed.

    Raises:
        Error: it did not complete; or the time of `--timeout` is up; or the person left, and the run goes on.
    """
    follower = Follower(run, from_start=from_start)
    shown = choose_feed(screen, is_json=options["json"])
    begun = time.monotonic()
    timeout: float | None = options.get("timeout")
    with interrupts() as pressed, leaving_cleanly(), shown:
        try:
            while True:
                shown.show(follower.look(WAIT_SECONDS), follower)
                if follower.is_over:
                    break
                if pressed.take():
                    shown.pause()
                    _ask(follower, screen, acting, pressed)
                    shown.go_on()
                waited = time.monotonic() - begun
                if timeout is not None and waited >= timeout:
                    raise exits.Error(
                        f"after {duration(waited)}: it is {follower.root.display_status}; {_goes_on(follower.root)}",
                        exits.TIMED_OUT,
                    )
        except KeyboardInterrupt:
            raise exits.Interrupted(_goes_on(follower.root)) from None
        shown.end(follower)
    run = control.get(run.id)
    if not options["json"]:
        tell_end(run, screen)
    return require_completed(run)


def _goes_on(run: Run) -> str:
    if run.is_terminal:
        return f"run {run.id} is {run.status}; what is below it may still be stopping"
    return f"run {run.id} goes on; to cancel it: manage.py control_tasks cancel --task-id {run.id}"


# --- Ctrl+C -----------------------------------------------------------------------------------------------


def _ask(follower: Follower, screen: Screen, acting: Acting, pressed: Interrupts) -> None:
    """Ask the person who pressed Ctrl+C what to do, and do it.

    Raises:
        Interrupted: they leave, or nobody can be asked.
    """
    run = control.get(follower.root.id)
    keyboard = Keyboard()
    if not keyboard.is_there or not screen.is_terminal:
        raise exits.Interrupted(_goes_on(run))
    rung = None if run.stop_plan is None else next_rung(run.stop_plan, timezone.now())
    letter, rest = _CHOICES[rung]
    is_being_killed = run.is_stopping and rung is None
    offered = "" if run.is_terminal or is_being_killed else f"({letter}){rest}, "
    leave = "(l)eave" if run.is_stopping or run.is_terminal else "(l)eave it running"
    screen.ask_for_key(f"Run {run.id} is {run.display_status}. {offered}{leave}, (g)o on following?")
    key = _wait_for_answer(keyboard, pressed, {letter, "g", "l"} if offered else {"g", "l"})
    screen.note(key)
    if key == "l":
        raise exits.Interrupted(_goes_on(control.get(run.id)))
    if key != "g":
        mode = StopMode.CANCEL if rung is None else rung.mode
        _stop(run, mode, screen, acting)


def _wait_for_answer(keyboard: Keyboard, pressed: Interrupts, letters: set[str]) -> str:
    """The letter; a second Ctrl+C, and the end of the terminal, leave."""
    with keyboard:
        while True:
            key = keyboard.wait(ANSWER_SECONDS).lower()
            if pressed.take() or key in ("interrupt", "end of input", "q", "escape"):
                return "l"
            if key in letters:
                return key


def _stop(run: Run, mode: StopMode, screen: Screen, acting: Acting) -> None:
    try:
        acting.require_stop(run, mode)
        control.cancel(run.id, source=StopSource.CLI, mode=mode, **acting.who_asks())
    except RunAlreadyEnded:
        pass  # which it tells itself
    except exits.Error as refusal:
        screen.note(str(refusal))
