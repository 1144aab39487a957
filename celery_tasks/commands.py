"""What a worker can be told beside Celery's own commands. Imported by every worker, and for the name by its callers."""

from __future__ import annotations

import os
import signal
from typing import Any

from celery.worker.control import Panel, control_command

SHUT_DOWN = "shut_down_gracefully"
GROW = "grow_pool"


@control_command(name=SHUT_DOWN, visible=False)
def shut_down_gracefully(state: Any, **_: Any) -> dict[str, str]:
    """Celery's own `shutdown` ends the event loop without a word to the supervisor; a signal goes the whole way."""
    os.kill(os.getpid(), signal.SIGTERM)
    return {"ok": "it ends when its runs are settled"}


@control_command(name=GROW, visible=False)
def grow_pool(state: Any, n: int = 1, **_: Any) -> dict[str, str]:
    """Celery's own `pool_grow` forks only when its timer looks at the pool again, up to 5 s later."""
    said: dict[str, str] = Panel.data["pool_grow"](state, n)
    hub = getattr(state.consumer, "hub", None)
    if hub is not None:
        hub.call_soon(state.consumer.pool.maintain_pool)
    return said
