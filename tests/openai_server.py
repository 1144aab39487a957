"""A real HTTP server that speaks the chat completions of the OpenAI API, for tests.

    with openai_server() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", "test")

It answers any question by the JSON schema that the question asks for. `server.queue(Reply(...))` scripts
the next answers; `server.requests` tells what came, when, and whether the client left early. Other
processes need only the URL. `python -m tests.openai_server --port 8099` runs it for the hand.
"""

import argparse
import json
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

POLL_SECONDS = 0.01  # between looks at whether the client has left

Answer = str | dict[str, Any] | Callable[[dict[str, Any]], str | dict[str, Any]] | None


@dataclass
class Reply:
    """How to answer one request.

    Args:
        answer: text, a JSON object, or a function of the request's body; None fills the asked schema.
        status: an HTTP status; from 400 on the body is an OpenAI error.
        hold: wait for this event before the rest is sent.
        hold_after: so many chunks of a streamed answer are sent before the hold; 0 holds the headers too.
        delay_seconds: before the answer.
        chunk_seconds: between the chunks of a streamed answer.
        refusal: what the model says instead of an answer.
    """

    answer: Answer = None
    status: int = 200
    hold: threading.Event | None = None
    hold_after: int = 0
    delay_seconds: float = 0.0
    chunk_seconds: float = 0.0
    refusal: str | None = None


@dataclass
class Request:
    """One request as it came; times are of time.monotonic()."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    began_at: float
    ended_at: float | None = None
    chunks_sent: int = 0
    disconnected: bool = False

    @property
    def streaming(self) -> bool:
        return bool(self.body.get("stream"))

    @property
    def text(self) -> str:
        """All that was said to the model."""
        return "\n".join(str(message["content"]) for message in self.body["messages"])


@dataclass
class OpenAIServer:
    """Safe to use from any thread: the script and the records change under one condition's lock."""

    default: Reply = field(default_factory=Reply)
    requests: list[Request] = field(default_factory=list)
    url: str = ""
    closing: threading.Event = field(default_factory=threading.Event)
    _script: deque[Reply] = field(default_factory=deque)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def queue(self, *replies: Reply) -> None:
        """Answer the next requests so; later ones get the default."""
        with self._changed:
            self._script.extend(replies)

    def wait_until(self, condition: Callable[["OpenAIServer"], bool], timeout_seconds: float = 10.0) -> None:
        """Wait until the condition holds for the server; it is looked at whenever a request changes."""
        with self._changed:
            if not self._changed.wait_for(lambda: condition(self), timeout_seconds):
                raise TimeoutError(f"not so after {timeout_seconds} s; {len(self.requests)} requests")

    def wait_for_requests(self, count: int, timeout_seconds: float = 10.0) -> None:
        self.wait_until(lambda server: len(server.requests) >= count, timeout_seconds)

    def begin(self, request: Request) -> Reply:
        with self._changed:
            self.requests.append(request)
            self._changed.notify_all()
            return self._script.popleft() if self._script else self.default

    def update(self, request: Request, **fields: Any) -> None:
        with self._changed:
            for name, value in fields.items():
                setattr(request, name, value)
            self._changed.notify_all()


@contextmanager
def openai_server(*, port: int = 0, default: Reply | None = None) -> Iterator[OpenAIServer]:
    """Serve on a free port of this machine until the block ends; held answers are let go then."""
    state = OpenAIServer(default=default or Reply())
    http = _HTTPServer(("127.0.0.1", port), _Handler)
    http.state = state
    state.url = f"http://127.0.0.1:{http.server_address[1]}/v1"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        state.closing.set()
        http.shutdown()
        http.server_close()
        thread.join()


def sample_of(schema: dict[str, Any], root: dict[str, Any] | None = None, name: str = "text") -> Any:
    """Return the smallest plausible value of a JSON schema."""
    root = root or schema
    if "$ref" in schema:
        return sample_of(root["$defs"][schema["$ref"].rsplit("/", 1)[-1]], root, name)
    if "enum" in schema:
        return schema["enum"][0]
    if "anyOf" in schema:
        return sample_of(schema["anyOf"][0], root, name)
    kind = schema.get("type")
    if kind == "object":
        return {key: sample_of(value, root, key) for key, value in schema.get("properties", {}).items()}
    if kind == "array":
        return [sample_of(schema.get("items", {}), root, name)]
    return {"string": f"A {name}.", "number": 0.5, "integer": 1, "boolean": True}.get(kind or "string")


class _HTTPServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    state: OpenAIServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that leave are what these tests are about."""


class _ClientLeftError(ConnectionError):
    pass


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _HTTPServer
    connection: socket.socket

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._send_json(200, {"object": "list", "data": [{"id": "test-model", "object": "model"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        request = Request(self.path, dict(self.headers), body, began_at=time.monotonic())
        reply = self.server.state.begin(request)
        try:
            self._answer(request, reply)
        except ConnectionError:
            self.close_connection = True
            self.server.state.update(request, disconnected=True)
        finally:
            self.server.state.update(request, ended_at=time.monotonic())

    def _answer(self, request: Request, reply: Reply) -> None:
        self._pause(reply.delay_seconds)
        if not (request.streaming and reply.hold_after):
            self._wait(reply.hold)
        if reply.status >= 400:
            error = {"message": f"scripted {reply.status}", "type": "scripted", "code": None, "param": None}
            self._send_json(reply.status, {"error": error})
        elif request.streaming:
            self._stream(request, reply)
        else:
            message = _message(request.body, reply)
            reason = "tool_calls" if message.get("tool_calls") else "stop"
            choice = {"index": 0, "message": message, "finish_reason": reason, "logprobs": None}
            self._send_json(200, _completion(request.body, "chat.completion", [choice]) | {"usage": _USAGE})

    def _stream(self, request: Request, reply: Reply) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number, (delta, reason) in enumerate(_deltas(_message(request.body, reply))):
            if number == reply.hold_after:
                self._wait(reply.hold)
            self._pause(reply.chunk_seconds if number else 0)
            choice = {"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}
            self._send_event(json.dumps(_completion(request.body, "chat.completion.chunk", [choice])))
            self.server.state.update(request, chunks_sent=number + 1)
        if request.body.get("stream_options", {}).get("include_usage"):
            usage = _completion(request.body, "chat.completion.chunk", []) | {"usage": _USAGE}
            self._send_event(json.dumps(usage))
        self._send_event("[DONE]")
        self.wfile.write(b"0\r\n\r\n")

    def _send_event(self, data: str) -> None:
        payload = f"data: {data}\n\n".encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(payload), payload))
        self.wfile.flush()

    def _send_json(self, status: int, value: dict[str, Any]) -> None:
        payload = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def _pause(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        closing = self.server.state.closing
        while (left := end - time.monotonic()) > 0 and not closing.wait(min(left, POLL_SECONDS)):
            self._check_client()

    def _wait(self, event: threading.Event | None) -> None:
        while event and not event.wait(POLL_SECONDS) and not self.server.state.closing.is_set():
            self._check_client()

    def _check_client(self) -> None:
        readable, _, _ = select.select([self.connection], [], [], 0)
        if readable and not self.connection.recv(1, socket.MSG_PEEK):
            raise _ClientLeftError


_USAGE = {"prompt_tokens": 10, "completion_tokens": 10, "total_tokens": 20}


def _completion(body: dict[str, Any], kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
    model = body.get("model")
    return {"id": "chatcmpl-test", "object": kind, "created": 0, "model": model, "choices": choices}


def _message(body: dict[str, Any], reply: Reply) -> dict[str, Any]:
    """Return the assistant's message: a call of the first tool, an object of the asked schema, or text."""
    message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": reply.refusal}
    if reply.refusal:
        return message
    tools = body.get("tools") or []
    answer = reply.answer(body) if callable(reply.answer) else reply.answer
    if answer is None:
        answer = sample_of(schema) if (schema := _asked_schema(body)) else "A plain answer in a few words."
    text = answer if isinstance(answer, str) else json.dumps(answer)
    if not tools:
        return message | {"content": text}
    function = {"name": tools[0]["function"]["name"], "arguments": text}
    return message | {"tool_calls": [{"id": "call_test", "type": "function", "function": function}]}


def _asked_schema(body: dict[str, Any]) -> dict[str, Any] | None:
    if body.get("tools"):
        return dict(body["tools"][0]["function"]["parameters"])
    form = body.get("response_format") or {}
    return dict(form["json_schema"]["schema"]) if form.get("type") == "json_schema" else None


def _deltas(message: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str | None]]:
    yield {"role": "assistant", "content": ""}, None
    if message["refusal"]:
        yield {"refusal": message["refusal"]}, None
        yield {}, "stop"
        return
    for number, call in enumerate(message.get("tool_calls") or []):
        head = call | {"index": number, "function": call["function"] | {"arguments": ""}}
        yield {"tool_calls": [head]}, None
        for piece in _pieces(call["function"]["arguments"]):
            yield {"tool_calls": [{"index": number, "function": {"arguments": piece}}]}, None
    for piece in _pieces(message["content"] or ""):
        yield {"content": piece}, None
    yield {}, "tool_calls" if message.get("tool_calls") else "stop"


def _pieces(text: str, size: int = 12) -> Iterator[str]:
    for start in range(0, len(text), size):
        yield text[start : start + size]


def _main() -> None:
    parser = argparse.ArgumentParser(description="Speak OpenAI's chat completions on this machine.")
    parser.add_argument("--port", type=int, default=8099)
    parser.add_argument("--chunk-seconds", type=float, default=0.02)
    options = parser.parse_args()
    with openai_server(port=options.port, default=Reply(chunk_seconds=options.chunk_seconds)) as server:
        print(f"OPENAI_BASE_URL={server.url}", flush=True)
        server.closing.wait()


if __name__ == "__main__":
    _main()
