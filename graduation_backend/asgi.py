"""What Daphne serves."""

from __future__ import annotations

import os
import sys

from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from channels.sessions import SessionMiddlewareStack
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.urls import re_path

from graduation_backend import startup

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "graduation_backend.settings")


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

from graduation_backend.key_sockets import KeySockets  # noqa: E402 - they need Django's apps
from runs import consumers  # noqa: E402

websockets = URLRouter([*consumers.websocket_urlpatterns, re_path("", consumers.refuse)])  # type: ignore[arg-type]
# The sockets find the session's user by themselves, again and again.
of_browsers = AllowedHostsOriginValidator(SessionMiddlewareStack(websockets))
application = ProtocolTypeRouter(
    {"http": django_application, "websocket": KeySockets(with_key=websockets, without=of_browsers)}
)
