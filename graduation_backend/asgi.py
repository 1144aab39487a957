"""What Daphne serves."""

from __future__ import annotations

import os
import sys
from typing import Any

from channels.routing import ProtocolTypeRouter
from django.conf import settings
from django.core.asgi import get_asgi_application

from graduation_backend import startup

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "graduation_backend.settings")


async def refuse_websocket(scope: Any, receive: Any, send: Any) -> None:
    """Close before accepting, which a browser sees as 403."""
    await receive()
    await send({"type": "websocket.close"})


django_application = get_asgi_application()
# A test or a shell imports this too, without serving it. (Daphne's server is loaded in every process,
# as an installed app; its command line is not.)
if "daphne.cli" in sys.modules or "runserver" in sys.argv[1:2]:
    startup.refuse_wrong_limits()
    startup.refuse_unmigrated_database()
    startup.start_embedded_redis()
if "daphne.cli" in sys.modules:
    from graduation_backend import web_shutdown  # it needs Django's apps

    web_shutdown.install(settings.WEB_ON_SHUTDOWN)

application = ProtocolTypeRouter({"http": django_application, "websocket": refuse_websocket})
