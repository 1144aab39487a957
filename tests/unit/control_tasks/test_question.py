"""What Ctrl+C asks who follows a run, on a real pseudo-terminal."""

from __future__ import annotations

import os
from collections.abc import Callable
from io import StringIO

import pytest
from django.core.management.base import OutputWrapper

from authentication.models import User
from graduation_backend.control_tasks import exits
from graduation_backend.control_tasks.acting import Acting
from graduation_backend.control_tasks.following import _ask
from graduation_backend.control_tasks.keyboard import Interrupts
from graduation_backend.control_tasks.news import Follower
from graduation_backend.control_tasks.terminal import Screen
from runs import control, registry
from runs.models import Run
from runs.states import Status
from tests.unit.control_tasks.test_command import Typed, claim

pytestmark = pytest.mark.usefixtures("redis_server", "db")

Ask = Callable[..., str]


@pytest.fixture
def run() -> Run:
    return claim(control.submit("quick", {}))


@pytest.fixture
def ask(keys: int, run: Run) -> Ask:
    """Ask, answer with these keys, and return what was asked."""

    def answer(pressed: str, *, acting: Acting | None = None, interrupts: Interrupts | None = None) -> str:
        said = StringIO()
        screen = Screen(OutputWrapper(Typed()), OutputWrapper(said))
        os.write(keys, pressed.encode())
        _ask(Follower(run, from_start=True), screen, acting or Acting(), interrupts or Interrupts())
        return said.getvalue()

    return answer


def test_g_goes_on(ask: Ask, run: Run) -> None:
    assert "is running. (c)ancel it, (l)eave it running, (g)o on following? g" in ask("xg")
    assert control.get(run.id).display_status == "running"


def test_each_answer_climbs_one_rung(ask: Ask, run: Run) -> None:
    ask("c")
    assert control.get(run.id).stop_mode == "cancel"
    assert "is cancelling. (i)nterrupt it now, (l)eave, (g)o on" in ask("I")
    assert control.get(run.id).stop_interrupt_at is not None
    assert "is cancelling. (k)ill it now, (l)eave" in ask("k")
    assert "is cancelling. (l)eave, (g)o on following?" in ask("ckg")


@pytest.mark.parametrize("pressed", ["l", "q", "\x1b"])
def test_leaving_says_how_to_cancel(pressed: str, ask: Ask, run: Run) -> None:
    with pytest.raises(exits.Interrupted, match=f"run {run.id} goes on; to cancel it: .* --task-id {run.id}"):
        ask(pressed)
    assert control.get(run.id).display_status == "running"


def test_second_ctrl_c_leaves(ask: Ask, run: Run) -> None:
    again = Interrupts()
    again.press(2, None)

    with pytest.raises(exits.Interrupted):
        ask("", interrupts=again)
    assert control.get(run.id).display_status == "running"


def test_run_that_ended_meanwhile_is_no_error(ask: Ask, run: Run) -> None:
    registry.settle(run.id, 1, Status.COMPLETED)

    assert "is completed. (l)eave, (g)o on following?" in ask("cg")
    with pytest.raises(exits.Interrupted, match=f"run {run.id} is completed"):
        ask("l")


def test_account_that_may_not_stop_is_told_so(ask: Ask, run: Run) -> None:
    outsider = User.objects.create_user("carol@example.com")

    assert "carol@example.com may not stop this run" in ask("c", acting=Acting(outsider))
    assert control.get(run.id).display_status == "running"
