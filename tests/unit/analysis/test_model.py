"""The analyst that asks a model, against a real server on this machine."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.runnables import RunnableLambda

from books.analysis import AnalysisFailed, get_analyst
from books.analysis.model import MAX_PIECES, PIECE_CHARACTERS, ModelAnalyst, cut_pieces
from books.analysis.text import Text
from tests.openai_server import OpenAIServer, Reply, openai_server

MODEL = "openai:gpt-4o-mini"
TEXT = "Anna met Mr. Bell in London. “Hello, Anna,” said Mr. Bell. They walked to the river together."
DRAFT: dict[str, Any] = {
    "summary": "Anna meets Mr. Bell.",
    "keywords": ["River", "meeting"],
    "people": [
        {"name": "Anna", "aliases": ["she"]},
        {"name": "Mr. Bell", "aliases": ["Bell"]},
        {"name": "Nobody Here", "aliases": []},
    ],
    "places": ["London", "Atlantis"],
    "tone": 7.0,
}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAIServer]:
    with openai_server(default=Reply(answer=DRAFT)) as running:
        monkeypatch.setenv("OPENAI_BASE_URL", running.url)
        monkeypatch.setenv("OPENAI_API_KEY", "test")
        yield running


def analyse(analyst: ModelAnalyst | None = None, text: str = TEXT) -> Any:
    return (analyst or ModelAnalyst(MODEL)).analyse_chapter(number=1, title="A meeting", text=text)


def test_get_analyst_model_name_gives_model_analyst() -> None:
    assert get_analyst(MODEL) == ModelAnalyst(MODEL)


@pytest.mark.parametrize("streaming", [True, False])
def test_chapter_numbers_are_counted_not_believed(server: OpenAIServer, streaming: bool) -> None:
    chapter = analyse(ModelAnalyst(MODEL, streaming=streaming))

    assert server.requests[0].streaming is streaming
    assert chapter.summary == "Anna meets Mr. Bell."
    assert [(p.name, p.mentions) for p in chapter.people] == [("Anna", 2), ("Mr. Bell", 2)]
    assert [(p.name, p.mentions) for p in chapter.places] == [("London", 1)]
    assert [(m.a, m.b, m.passages) for m in chapter.meetings] == [("Anna", "Mr. Bell", 1)]
    assert chapter.tone.score == 1
    assert chapter.length.words == 17
    assert chapter.keywords == ["river", "meeting"]


def test_chapter_text_is_sent_as_material(server: OpenAIServer) -> None:
    analyse()

    assert TEXT in server.requests[0].text
    assert server.requests[0].body["messages"][0]["role"] == "system"


def test_chapter_model_without_schema_support_is_asked_by_tool(server: OpenAIServer) -> None:
    with pytest.warns(UserWarning, match="function_calling"):
        chapter = analyse(ModelAnalyst("openai:gpt-3.5-turbo"))

    assert server.requests[0].body["tools"]
    assert chapter.summary == "Anna meets Mr. Bell."


def test_empty_chapter_asks_nothing(server: OpenAIServer) -> None:
    chapter = analyse(text=" \n")

    assert chapter.summary == ""
    assert server.requests == []


def test_long_chapter_is_read_in_pieces(server: OpenAIServer) -> None:
    sentence = "Anna walked with Mr. Bell along the river and said nothing. "
    repeats = 2 * PIECE_CHARACTERS // len(sentence)
    server.queue(
        Reply(answer=DRAFT),
        Reply(answer=DRAFT | {"people": [{"name": "Bell", "aliases": ["Mr. Bell"]}]}),
        Reply(answer=DRAFT),
        Reply(answer={"summary": "All of it.", "keywords": ["river"]}),
    )

    chapter = analyse(text=sentence * (repeats + 20))

    assert len(server.requests) == 4
    assert chapter.summary == "All of it."
    assert {p.name: p.mentions for p in chapter.people} == {"Anna": repeats + 20, "Mr. Bell": repeats + 20}


def test_cut_pieces_endless_word_stays_within_the_limits() -> None:
    pieces = cut_pieces(Text("a" * (MAX_PIECES + 5) * PIECE_CHARACTERS))

    assert len(pieces) == MAX_PIECES
    assert all(len(piece) <= PIECE_CHARACTERS for piece in pieces)


def test_report_takes_words_from_the_model_and_numbers_from_the_chapters(server: OpenAIServer) -> None:
    analyst = ModelAnalyst(MODEL)
    chapter = analyse(analyst)
    server.queue(Reply(answer={"summary": "A book of meetings.", "keywords": ["meetings"]}))

    report = analyst.write_report(title="Meetings", author=None, chapters=[chapter])

    assert "Anna meets Mr. Bell." in server.requests[-1].text
    assert (report.summary, report.keywords) == ("A book of meetings.", ["meetings"])
    assert report.statistics.words == 17
    assert [person.name for person in report.people] == ["Anna", "Mr. Bell"]


@pytest.mark.parametrize(
    ("replies", "message"),
    [
        ([Reply(status=401)], "OPENAI_API_KEY"),
        ([Reply(status=404)], "BOOKS_MODEL"),
        ([Reply(status=400)], "scripted 400"),
        ([Reply(status=429)], "too many requests"),
        ([Reply(status=500)], "Try again later"),
        ([Reply(refusal="I would rather not.")], "I would rather not."),
        ([Reply(answer='{"summary": "cut o')] * 2, "structured output"),
        ([Reply(answer={"summary": 1})] * 2, "structured output"),
    ],
)
@pytest.mark.parametrize("streaming", [True, False])
def test_failure_says_what_to_do(server: OpenAIServer, replies: list[Reply], message: str, streaming: bool) -> None:
    server.queue(*replies)

    with pytest.raises(AnalysisFailed, match=message):
        analyse(ModelAnalyst(MODEL, streaming=streaming, connection_retries=0))

    assert len(server.requests) == len(replies)


def test_malformed_answer_is_asked_for_again_once(server: OpenAIServer) -> None:
    server.queue(Reply(answer="no JSON at all"))

    assert analyse().summary == "Anna meets Mr. Bell."
    assert len(server.requests) == 2


def test_busy_provider_is_asked_again(server: OpenAIServer) -> None:
    server.queue(Reply(status=429))

    assert analyse().summary == "Anna meets Mr. Bell."
    assert len(server.requests) == 2


@pytest.mark.parametrize("streaming", [True, False])
def test_slow_answer_ends_at_the_timeout(server: OpenAIServer, streaming: bool) -> None:
    never = threading.Event()
    server.queue(Reply(hold=never))

    with pytest.raises(AnalysisFailed, match=r"0\.3 seconds"):
        analyse(ModelAnalyst(MODEL, streaming=streaming, timeout_seconds=0.3, connection_retries=0))

    server.wait_until(lambda running: running.requests[0].disconnected)


def test_no_server_says_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    with openai_server() as gone:
        monkeypatch.setenv("OPENAI_BASE_URL", gone.url)
    monkeypatch.setenv("OPENAI_API_KEY", "test")

    with pytest.raises(AnalysisFailed, match="OPENAI_BASE_URL"):
        analyse(ModelAnalyst(MODEL, connection_retries=0))


def test_missing_key_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)

    with pytest.raises(AnalysisFailed, match="OPENAI_API_KEY"):
        analyse()


def test_missing_package_says_how_to_install() -> None:
    with pytest.raises(AnalysisFailed, match="pip install"):
        analyse(ModelAnalyst("anthropic:claude-sonnet-4-5"))


@pytest.mark.parametrize("name", ["nonsense", "no-such-provider:model"])
def test_unknown_name_says_what_a_name_looks_like(name: str) -> None:
    with pytest.raises(AnalysisFailed, match="such as openai:"):
        analyse(ModelAnalyst(name))


class Tokens(BaseCallbackHandler):
    """Notes the tokens, and raises `stop` at the third."""

    raise_error = True

    def __init__(self, stop: BaseException | None = None) -> None:
        self.stop = stop
        self.seen: list[str] = []
        self.threads: set[int] = set()

    def on_llm_new_token(self, token: Any, **kwargs: Any) -> None:
        self.seen.append(token)
        self.threads.add(threading.get_ident())
        if self.stop and len(self.seen) == 3:
            raise self.stop


class RunCancelled(BaseException):
    """Stands for the cancellation of a run, which nothing may swallow."""


def run_in_node(handler: Tokens) -> Any:
    """Call the analyst as a graph's node does: the callbacks come from the config around it."""
    node = RunnableLambda(lambda text: analyse(text=text))
    return node.invoke(TEXT, config={"callbacks": [handler]})


def test_callbacks_of_the_caller_see_tokens_in_its_own_thread(server: OpenAIServer) -> None:
    handler = Tokens()

    chapter = run_in_node(handler)

    assert chapter.summary in "".join(handler.seen)
    assert handler.threads == {threading.get_ident()}


def test_cancellation_in_a_callback_passes_through_and_hangs_up(server: OpenAIServer) -> None:
    never = threading.Event()
    server.queue(Reply(answer=DRAFT, hold=never, hold_after=8))

    with pytest.raises(RunCancelled):
        run_in_node(Tokens(stop=RunCancelled()))

    server.wait_until(lambda running: running.requests[0].disconnected)
    assert len(server.requests) == 1
