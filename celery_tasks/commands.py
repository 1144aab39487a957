"""What a worker can be told beside Celery's own commands. Imported by every worker, and for the name by its callers."""

from __future__ import annotations

import os
import signal
from typing import Any

from celery.worker.control import control_command

SHUT_DOWN = "shut_down_gracefully"


@control_command(name=SHUT_DOWN, visible=False)
def shut_down_gracefully(state: Any, **_: Any) -> dict[str, str]:
    """Celery's own `shutdown` ends the event loop without a word to the supervisor; a signal goes the whole way."""
    os.kill(os.getpid(), signal.SIGTERM)
    return {"ok": "it ends when its runs are settled"}
