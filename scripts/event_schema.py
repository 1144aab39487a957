"""Writes `docs/events.md` from the types of the events.

python -m scripts.event_schema
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from runs import event_types
from runs.event_types import any_event

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "events.md"

HEAD = """\
# Events

What happens in a run, as a WebSocket, `GET /api/runs/{id}/events` and the streams in Redis tell it. This page is made
from `runs/event_types.py` by `python -m scripts.event_schema`; a test checks that it is current.

- `/ws/runs/{id}/?after=CURSOR` follows one run, `/ws/runs/?after=CURSOR` the changes of all that the user may see:
  `run.status`, `run.stop`, `progress` and `child.spawned`.
- `cursor` names an event. A client that comes back sends the last one that it has, and gets every event behind it,
  once and in order. `after=0` is from the first on. Without `after`, and where the stream no longer holds what follows
  (it keeps the last 10,000 events, for a week after the last one; the list's for a day), the first is one `snapshot`.
- Every 15 seconds, and whenever much was sent, comes `{"type": "heartbeat", "at": …}`, without a cursor; the client
  answers each with `{"action": "alive"}`. The server looks at every heartbeat of its own whether the user still may.
- `{"action": "cancel", "mode": "cancel|interrupt|kill", "reason": "…"}` stops the run of the socket, and is answered by
  `{"type": "reply", "data": {"action": "cancel", "ok": true}}`, or `"ok": false` with an `error`.
- A session opens a socket, and the page must be of this site: the handshake needs an `Origin` of `ALLOWED_HOSTS`.
  Or an API key does, in `Authorization: Bearer KEY` or `X-API-Key: KEY` and never in the address: with the scope `read`
  to watch and `stop` to cancel, without an `Origin`. When it is revoked or expires, the next heartbeat ends with 4401.
- As Server-Sent Events, `id` is the cursor, `event` the type and `data` the same JSON; `Last-Event-ID` is `after`.

| code | means |
|---|---|
| 4400 | a bad cursor or message |
| 4401 | log in first, or again |
| 4403 | you may not see it any more |
| 4404 | there is no such run, or none that you may see |
| 4408 | too slow: reconnect with your cursor |
| 4012 | the server ends: reconnect with your cursor |
| 4013 | Redis is away: reconnect later with your cursor |
| 4011, and any other | it was our fault, or the line was cut: reconnect with your cursor |

| type | what happened |
|---|---|
"""


def main() -> None:
    DOCUMENT.write_text(make_document(), encoding="utf-8")


def make_document() -> str:
    schema = json.dumps(make_schema(), indent=2, ensure_ascii=False)
    return f"{HEAD}{''.join(_rows())}\n## Schema\n\n```json\n{schema}\n```\n"


def make_schema() -> dict[str, Any]:
    """JSON Schema of one event."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **any_event.json_schema()}


def _rows() -> list[str]:
    """One row for each kind of event: its types, and the first sentence of what its data say of themselves."""
    rows = []
    for name, event in vars(event_types).items():
        if not name.endswith("Event") or not isinstance(event, type):
            continue
        schema = TypeAdapter(event).json_schema()
        kinds = schema["properties"]["type"]
        names = " ".join(f"`{kind}`" for kind in kinds.get("enum", [kinds.get("const")]))
        data = schema["properties"]["data"]["$ref"].rpartition("/")[2]
        rows.append(f"| {names} | {' '.join(schema['$defs'][data]['description'].split())} |\n")
    return rows


if __name__ == "__main__":
    main()
