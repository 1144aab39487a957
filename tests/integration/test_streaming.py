"""What is streamed beside the values, and what a stop finds under way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from runs import control, events, executions
from runs.links import LocalLink
from runs.models import Run
from runs.tokens import StopOrder
from tests.integration.engine import Elsewhere, make_run
from tests.services import Marks, wait_until

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("no_worker", "own_checkpoints", "redis_server"),
]


@pytest.fixture
def link() -> LocalLink:
    return LocalLink("tester", alone=False)


@pytest.fixture(autouse=True)
def nothing_is_left_running() -> Iterator[None]:
    yield
    events.sink().flush()
    assert executions.running_here() == []


def told(run: Run, kind: str) -> list[dict[str, Any]]:
    events.sink().flush()
    return [event["data"] for event in events.read_events(run.id) if event["type"] == kind]


@pytest.mark.parametrize("graph", ["speaking", "speaking_async"])
def test_tokens_and_custom_parts_become_events(link: LocalLink, settings: Any, graph: str) -> None:
    settings.RUNS_STREAM_MODES = ("messages", "custom")
    run = make_run(graph=graph, input={"marks": ""})
    executions.execute(run.id, link)

    ended = Run.objects.get(id=run.id)
    assert (ended.status, ended.output["values"]) == ("completed", ["a quiet word"])
    tokens = told(run, "token")
    assert "".join(token["text"] for token in tokens) == "a quiet word"
    assert len({token["message_id"] for token in tokens}) == 1
    assert {token["node"] for token in tokens} == {"speak"}
    (custom,) = told(run, "custom")
    assert (custom["node"], custom["data"]) == ("speak", {"page": 1})
    assert custom["namespace"] == tokens[0]["namespace"]


def test_model_that_is_only_invoked_streams_nothing_unless_it_is_asked_for(link: LocalLink) -> None:
    run = make_run(graph="speaking", input={"marks": ""})
    executions.execute(run.id, link)
    assert Run.objects.get(id=run.id).output["values"] == ["a quiet word"]
    assert told(run, "token") == []
    assert [custom["data"] for custom in told(run, "custom")] == [{"page": 1}]


@pytest.mark.parametrize("modes", [(), ("messages",), ("custom", "debug")])
def test_model_that_streams_is_told_in_the_order_in_which_its_node_says_it(
    link: LocalLink, settings: Any, modes: tuple[str, ...]
) -> None:
    settings.RUNS_STREAM_MODES = modes
    run = make_run(graph="saying_below", input={"marks": ""})
    executions.execute(run.id, link)
    events.sink().flush()
    ended = Run.objects.get(id=run.id)
    assert ended.output["values"] == ["one two three four"]
    said = [event for event in events.read_events(run.id) if event["type"] in ("token", "custom")]
    told_tokens = [event["data"] for event in said if event["type"] == "token"]
    assert "".join(token["text"] for token in told_tokens) == "one two three four"
    assert {token["node"] for token in told_tokens} == {"speak"}
    namespaces = {event["data"]["namespace"] for event in said}
    assert len(namespaces) == 1
    assert [part.partition(":")[0] for part in namespaces.pop().split("|")] == ["inner", "speak"]
    if "messages" not in modes:  # LangGraph's own mode takes another way than what the node writes
        behind = [event["type"] for event in said].index("custom")
        assert "".join(event["data"]["text"] for event in said[:behind]) == "one two"
        assert said[behind]["data"]["data"] == {"after": "two"}


def test_async_node_is_told_too(link: LocalLink) -> None:
    run = make_run(graph="saying_async", input={"marks": ""})
    executions.execute(run.id, link)
    assert "".join(token["text"] for token in told(run, "token")) == "one two"
    assert [custom["data"] for custom in told(run, "custom")] == [1]
    assert [(log["level"], log["message"], log["node"]) for log in told(run, "log")] == [("WARNING", "async", "speak")]


def test_log_record_of_a_node_is_told_without_secrets(link: LocalLink, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    run = make_run(graph="saying", input={"marks": ""})
    executions.execute(run.id, link)
    (log,) = told(run, "log")
    assert (log["level"], log["message"], log["node"]) == ("INFO", "the key is [secret]", "speak")
    assert log["logger"].endswith("speaking")


def test_question_to_a_human_is_seen_while_it_streams(link: LocalLink, settings: Any) -> None:
    settings.RUNS_STREAM_MODES = ("messages",)
    run = make_run(graph="speaking_asking", input={"marks": ""})
    executions.execute(run.id, link)
    waiting = Run.objects.get(id=run.id)
    assert (waiting.status, list(waiting.questions.values())) == ("waiting", ["go on?"])
    control.answer(run.id, dict.fromkeys(waiting.questions, "yes"))
    executions.execute(run.id, link)
    assert Run.objects.get(id=run.id).output["values"] == ["yes"]


def test_interrupt_reaches_a_node_in_the_pool_of_a_stream(link: LocalLink, settings: Any, marks: Marks) -> None:
    settings.RUNS_STREAM_MODES = ("messages",)
    run = make_run(graph="looping", input={"marks": str(marks)})
    executing = Elsewhere(executions.execute, run.id, link)
    marks.wait_for("begun")
    control.cancel(run.id)
    assert executions.deliver(StopOrder(run.id, 1, "enough", rung=1))
    assert executing.result().status == "cancelled"


def test_stop_keeps_the_node_and_the_call_that_it_met(link: LocalLink, marks: Marks) -> None:
    run = make_run(graph="using_tool", input={"marks": str(marks)})
    executing = Elsewhere(executions.execute, run.id, link)
    marks.wait_for("call.begun")
    wait_until(lambda: Run.objects.get(id=run.id).current_call == "tool look_up", "the call is shown")
    control.cancel(run.id)
    assert executions.deliver(StopOrder(run.id, 1, "enough"))
    marks.open("call")
    assert executing.result().status == "cancelled"
    ended = Run.objects.get(id=run.id)
    assert (ended.stop_node, ended.stop_call) == ("speak", "tool look_up")
    assert (ended.current_node, ended.current_call) == ("", "")
