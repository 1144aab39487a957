from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import Iterator
from uuid import uuid4

import pytest

from runs import tokens
from runs.errors import RunCancelled
from runs.tokens import CancelToken


@pytest.fixture
def token() -> CancelToken:
    return CancelToken(uuid4(), 1)


@pytest.fixture
def current(token: CancelToken) -> Iterator[CancelToken]:
    """The token as a node sees it."""
    tokens.enter(token, alone=True)
    yield token
    tokens.leave(token)
    tokens._current.set(None)


def test_token_before_the_request_says_go_on(token: CancelToken) -> None:
    assert not token.should_stop()
    token.raise_if_cancelled()
    token.sleep(0)


def test_token_after_the_request_raises_with_the_reason(token: CancelToken) -> None:
    token.request("enough")

    assert token.should_stop()
    with pytest.raises(RunCancelled) as raised:
        token.raise_if_cancelled()
    assert (raised.value.run_id, raised.value.reason) == (token.run_id, "enough")


def test_second_request_keeps_the_first_reason(token: CancelToken) -> None:
    token.request("first")
    asked_at = token.requested_at
    token.request("second")

    assert (token.reason, token.requested_at) == ("first", asked_at)


def test_request_from_many_threads_keeps_one_reason(token: CancelToken) -> None:
    barrier = threading.Barrier(8)
    seen: list[str] = []

    def request(reason: str) -> None:
        barrier.wait()
        token.request(reason)
        seen.append(token.reason)

    threads = [threading.Thread(target=request, args=(str(number),)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert set(seen) == {token.reason}


def test_run_cancelled_passes_except_exception() -> None:
    assert not issubclass(RunCancelled, Exception)


def test_acknowledged_at_is_the_first_boundary(token: CancelToken) -> None:
    token.request("")
    assert token.acknowledged_at is None
    for _ in range(2):
        with pytest.raises(RunCancelled):
            token.raise_if_cancelled()
        first = token.acknowledged_at
    assert token.acknowledged_at == first


def test_sleep_ends_at_the_request(token: CancelToken) -> None:
    sleeping = threading.Event()
    token.when_requested(lambda: None)
    raised: list[BaseException] = []

    def sleep() -> None:
        sleeping.set()
        try:
            token.sleep(600)
        except RunCancelled as error:
            raised.append(error)

    thread = threading.Thread(target=sleep)
    thread.start()
    sleeping.wait()
    token.request("")
    thread.join(10)

    assert len(raised) == 1


def test_sleep_of_a_stopped_token_does_not_sleep(token: CancelToken) -> None:
    token.request("")
    began = time.monotonic()
    with pytest.raises(RunCancelled):
        token.sleep(600)
    assert time.monotonic() - began < 5


def test_asleep_ends_at_the_request_from_another_thread(token: CancelToken) -> None:
    async def main() -> None:
        sleeper = asyncio.create_task(token.asleep(600))
        await asyncio.sleep(0)
        await asyncio.get_running_loop().run_in_executor(None, token.request, "")
        with pytest.raises(RunCancelled):
            await asyncio.wait_for(sleeper, 10)

    asyncio.run(main())


def test_asleep_without_a_request_returns(token: CancelToken) -> None:
    asyncio.run(token.asleep(0.001))
    token.request("")  # nobody of the closed loop is called


def test_asleep_of_a_stopped_token_does_not_sleep(token: CancelToken) -> None:
    token.request("")
    with pytest.raises(RunCancelled):
        asyncio.run(asyncio.wait_for(token.asleep(600), 10))


def test_waiter_that_comes_late_is_called_at_once(token: CancelToken) -> None:
    token.request("")
    called: list[int] = []
    token.when_requested(lambda: called.append(1))
    assert called == [1]


def test_waiter_that_was_forgotten_is_not_called(token: CancelToken) -> None:
    called: list[int] = []

    def wake() -> None:
        called.append(1)

    token.when_requested(wake)
    token.forget(wake)
    token.forget(wake)
    token.request("")
    assert called == []


def test_spawns_are_counted_for_each_node(token: CancelToken) -> None:
    assert [token.next_spawn("a"), token.next_spawn("b"), token.next_spawn("a")] == [1, 1, 2]


def test_spawns_of_a_node_that_runs_anew_are_counted_from_one(token: CancelToken) -> None:
    token.next_spawn("a")
    token.next_spawn("b")
    token.begin_node("a")
    assert [token.next_spawn("a"), token.next_spawn("b")] == [1, 2]


def test_node_finds_its_token(current: CancelToken) -> None:
    current.request("enough")
    assert tokens.should_stop()
    with pytest.raises(RunCancelled):
        tokens.raise_if_cancelled()
    with pytest.raises(RunCancelled):
        tokens.sleep(600)
    with pytest.raises(RunCancelled):
        asyncio.run(tokens.asleep(600))


def test_thread_of_a_node_finds_the_only_token_of_its_process(current: CancelToken) -> None:
    found: list[CancelToken | None] = []
    thread = threading.Thread(target=lambda: found.append(tokens.find_token()))
    thread.start()
    thread.join()
    assert found == [current]


def test_token_of_a_context_hides_the_one_of_the_process(current: CancelToken) -> None:
    other = CancelToken(uuid4(), 1)

    def enter_other() -> CancelToken | None:
        tokens.enter(other, alone=False)
        return tokens.find_token()

    assert contextvars.copy_context().run(enter_other) is other
    assert tokens.find_token() is current


def test_leaving_keeps_the_token_of_a_later_run(current: CancelToken) -> None:
    later = CancelToken(uuid4(), 1)
    contextvars.copy_context().run(tokens.enter, later, alone=True)
    tokens.leave(current)
    found = contextvars.Context().run(tokens.find_token)
    tokens.leave(later)
    assert found is later


def test_outside_a_run_nothing_stops() -> None:
    assert tokens.find_token() is None
    assert not tokens.should_stop()
    tokens.raise_if_cancelled()
    tokens.sleep(0)
    asyncio.run(tokens.asleep(0))
