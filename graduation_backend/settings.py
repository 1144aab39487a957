"""Django's settings: what `environment.py` read, composed. Nothing else reads the environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import dj_database_url
import dj_email_url
from django.templatetags.static import static
from django.urls import reverse_lazy
from kombu import Queue

from graduation_backend import content_policy
from graduation_backend.embedded_redis import embedded_redis_url
from graduation_backend.environment import BASE_DIR, kept_secret_key, made_data_dir, read_environment

ENVIRONMENT = read_environment()

DATA_DIR: Path = made_data_dir(ENVIRONMENT.data_dir)

# --- Django -----------------------------------------------------------------------------------------------

DEBUG = ENVIRONMENT.debug
SECRET_KEY = ENVIRONMENT.secret_key or kept_secret_key(DATA_DIR)
PUBLIC_URL = (ENVIRONMENT.public_url or f"http://127.0.0.1:{ENVIRONMENT.port}").rstrip("/")
PUBLIC_HOST = urlsplit(PUBLIC_URL).hostname or "127.0.0.1"
ALLOWED_HOSTS = [*ENVIRONMENT.allowed_hosts, *{PUBLIC_HOST, "127.0.0.1", "localhost", "[::1]"}]
CSRF_TRUSTED_ORIGINS = [*ENVIRONMENT.csrf_trusted_origins, PUBLIC_URL]

INSTALLED_APPS = [
    "daphne",
    "unfold",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "django_htmx",
    "ninja",
    "authentication",  # before allauth, whose templates it replaces
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.usersessions",
    "allauth.headless",
    "django_celery_results",
    "runs",
    "celery_tasks",
    "books",
    "graduation_backend",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "graduation_backend.content_policy.ContentPolicyMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "graduation_backend.refusals.RefusalMiddleware",
]

ROOT_URLCONF = "graduation_backend.urls"
ASGI_APPLICATION = "graduation_backend.asgi.application"

TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "graduation_backend" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "runs.context.standing_freezes",
            ],
        },
    },
]

# Source: internals 10. WAL with immediate transactions is the mode in which several processes write to one
# SQLite file without a "database is locked".
SQLITE_OPTIONS = {
    "timeout": 20,  # seconds
    "transaction_mode": "IMMEDIATE",
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
}
DATABASES: dict[str, dict[str, Any]] = {
    "default": dict(
        dj_database_url.parse(ENVIRONMENT.database_url or f"sqlite:///{DATA_DIR / 'db.sqlite3'}", conn_max_age=0)
    )
}
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    DATABASES["default"]["OPTIONS"] = SQLITE_OPTIONS
    # A file of its own, so that a test run has the same locking as production (not a shared-memory database).
    DATABASES["default"]["TEST"] = {"NAME": DATA_DIR / "test.sqlite3"}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_USER_MODEL = "authentication.User"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LOGIN_URL = reverse_lazy("login")
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = reverse_lazy("login")

# --- Accounts (allauth) -----------------------------------------------------------------------------------

AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
SIGN_UP = ENVIRONMENT.sign_up
ACCOUNT_ADAPTER = "authentication.adapter.AccountAdapter"
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_EMAIL_VERIFICATION = "mandatory"
ACCOUNT_PREVENT_ENUMERATION = True
ACCOUNT_EMAIL_NOTIFICATIONS = True
ACCOUNT_CHANGE_EMAIL = True  # an account has one address; the new one counts once it is confirmed
ACCOUNT_REAUTHENTICATION_REQUIRED = True  # before what somebody at an unlocked screen must not do
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_SIGNUP_REDIRECT_URL = LOGIN_REDIRECT_URL
ACCOUNT_FORMS = {
    "login": "authentication.forms.LogInForm",
    "signup": "authentication.forms.SignUpForm",
    "add_email": "authentication.forms.AddEmailForm",
    "change_password": "authentication.forms.ChangePasswordForm",
    "set_password": "authentication.forms.SetPasswordForm",
    "reset_password_from_key": "authentication.forms.ResetPasswordKeyForm",
    "reauthenticate": "authentication.forms.ConfirmAccessForm",
}
# Wrong passwords and reset mails are counted by `authentication.rates`. By IP address nothing is: behind a proxy all
# callers may have the same one, so that is the proxy's part. "login_failed" counts the codes of the second step.
ACCOUNT_RATE_LIMITS = {
    "login_failed": "5/5m/key",
    "confirm_email": "1/3m/key",
    "change_password": "5/m/user",
    "manage_email": "10/m/user",
    "reauthenticate": "10/m/user",
    **dict.fromkeys(("login", "signup", "reset_password", "reset_password_from_key", "request_login_code"), ""),
}
MFA_ADAPTER = "authentication.adapter.SecondFactorAdapter"
MFA_SUPPORTED_TYPES = ["totp", "recovery_codes"]
MFA_TOTP_ISSUER = "graduation_backend"
MFA_FORMS = {
    "authenticate": "authentication.forms.CodeForm",
    "reauthenticate": "authentication.forms.ConfirmAccessCodeForm",
    "activate_totp": "authentication.forms.ActivateAppForm",
}
HEADLESS_CLIENTS = ("browser", "app")

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_I18N = True
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = DATA_DIR / "static"
STATIC_ROOT.mkdir(exist_ok=True)  # whitenoise warns of a missing one
# Static files are served from the packages themselves, so that a fresh clone needs no collectstatic.
WHITENOISE_USE_FINDERS = True
MEDIA_ROOT = DATA_DIR / "media"
MEDIA_URL = "media/"  # never served: a book is read through its page

# Messages in the page, not in a cookie or session table row that outlives it.
MESSAGE_STORAGE = "django.contrib.messages.storage.fallback.FallbackStorage"

SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
SESSION_COOKIE_HTTPONLY = True
CONTENT_SECURITY_POLICY = content_policy.SITE
if PUBLIC_URL.startswith("https://"):
    SECURE_SSL_REDIRECT = True
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$"]
    SECURE_HSTS_SECONDS = 31_536_000  # a year
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SECURE_HSTS_PRELOAD = True
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True

FILE_UPLOAD_MAX_MEMORY_SIZE = 2_621_440  # bytes; larger uploads go to a temporary file
DATA_UPLOAD_MAX_MEMORY_SIZE = 2_621_440  # bytes, without the files

_email = dj_email_url.parse(ENVIRONMENT.email_url)
EMAIL_BACKEND = _email["EMAIL_BACKEND"]
EMAIL_HOST = _email["EMAIL_HOST"]
EMAIL_PORT = _email["EMAIL_PORT"]
EMAIL_HOST_USER = _email["EMAIL_HOST_USER"]
EMAIL_HOST_PASSWORD = _email["EMAIL_HOST_PASSWORD"]
EMAIL_USE_TLS = _email["EMAIL_USE_TLS"]
EMAIL_USE_SSL = _email["EMAIL_USE_SSL"]
# Its own reading takes the first slash away: file:///var/mails would be a folder below the current one.
EMAIL_FILE_PATH = unquote(urlsplit(ENVIRONMENT.email_url).path) if _email["EMAIL_FILE_PATH"] else None
EMAIL_TIMEOUT = 20  # seconds
DEFAULT_FROM_EMAIL = ENVIRONMENT.default_from_email

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {
        "not_unavailable": {
            "()": "django.utils.log.CallbackFilter",
            "callback": lambda record: getattr(record, "status_code", None) != 503,
        }
    },
    "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "root": {"handlers": ["console"], "level": ENVIRONMENT.log_level},
    "loggers": {
        "runs": {"level": ENVIRONMENT.log_level},
        # One line for each request of a polling page says nothing.
        "django.channels.server": {"level": "WARNING"},
        "daphne.server": {"level": "WARNING"},
        # 503 is what a probe gets while the services start, again and again; `health` logs each change once.
        "django.request": {"filters": ["not_unavailable"]},
        "httpx": {"level": "WARNING"},
    },
}

# --- Redis and Celery -------------------------------------------------------------------------------------

REDIS_IS_EMBEDDED = ENVIRONMENT.redis_url is None
REDIS_URL = ENVIRONMENT.redis_url or embedded_redis_url(DATA_DIR)
# Only allauth counts in it.
CACHES = {"default": {"BACKEND": "authentication.shared_cache.SharedCache", "LOCATION": REDIS_URL}}


def _as_broker_url(redis_url: str) -> str:
    # Celery spells a unix socket "redis+socket://", redis-py "unix://".
    return redis_url.replace("unix://", "redis+socket://", 1)


CELERY_BROKER_URL = ENVIRONMENT.celery_broker_url or _as_broker_url(REDIS_URL)
CELERY_BROKER_IS_AMQP = CELERY_BROKER_URL.startswith("amqp")
# Source: internals, "Recommended design". A run's state lives in the database; a message is a doorbell, so it is
# acknowledged early and Celery never runs a task twice.
CELERY_TASK_ACKS_LATE = False
CELERY_TASK_REJECT_ON_WORKER_LOST = False
# Plain tasks are kept, to be looked at and sent again; the tasks of runs say themselves that they have no result.
CELERY_TASK_IGNORE_RESULT = False
CELERY_RESULT_BACKEND = "celery_tasks.backend:PlainTaskBackend"
CELERY_RESULT_EXTENDED = True  # name, arguments, worker
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = True
CELERY_WORKER_PROC_ALIVE_TIMEOUT = 30.0  # seconds
CELERY_WORKER_SEND_TASK_EVENTS = False
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS: dict[str, Any] = (
    {}
    if CELERY_BROKER_IS_AMQP
    else {
        "visibility_timeout": 3_600,  # seconds
        "socket_timeout": 10,  # seconds
        "socket_connect_timeout": 2,  # seconds
        "priority_steps": list(range(10)),
    }
)
CELERY_TIMEZONE = "UTC"
# The connections of a task are looked after by `runs.worker`; Celery would open a new one for each task.
CELERY_DB_REUSE_MAX = 1_000_000
# Priorities: RabbitMQ must be told when the queue is declared, Redis needs nothing.
_queue_arguments = {"x-max-priority": 9} if CELERY_BROKER_IS_AMQP else None
CELERY_TASK_DEFAULT_QUEUE = "celery"
CELERY_TASK_QUEUES = [
    Queue(name, routing_key=name, queue_arguments=_queue_arguments) for name in ("celery", "ai_processing", "email")
]
CELERY_TASK_ROUTES = {
    "books.tasks.process_book_workflow": {"queue": "ai_processing"},
    "authentication.tasks.send_welcome_email": {"queue": "email"},
    "authentication.tasks.send_password_reset_email": {"queue": "email"},
    "authentication.tasks.send_outgoing_mail": {"queue": "email"},
}

# --- Runs -------------------------------------------------------------------------------------------------

WEB_ON_SHUTDOWN = ENVIRONMENT.web_on_shutdown
RUNS_GRACE_SECONDS = ENVIRONMENT.runs_grace_seconds
RUNS_INTERRUPT_AFTER_SECONDS = ENVIRONMENT.runs_interrupt_after_seconds
# Times of the runs of a graph: name → {"grace_seconds": …, "interrupt_after_seconds": …, "max_seconds": …}.
RUNS_GRAPHS: dict[str, dict[str, float]] = {}
RUNS_LEASE_SECONDS = ENVIRONMENT.runs_lease_seconds
RUNS_STREAM_MODES = tuple(ENVIRONMENT.runs_stream_modes)
RUNS_ON_SHUTDOWN = ENVIRONMENT.runs_on_shutdown
RUNS_LANGGRAPH_JSON = ENVIRONMENT.langgraph_json
RUNS_QUEUE = "ai_processing"
RUNS_REDIS_URL = REDIS_URL
# Checkpoints: a SQLite file beside the database, or the PostgreSQL database itself.
RUNS_CHECKPOINT_URL = (
    ENVIRONMENT.database_url
    if ENVIRONMENT.database_url and not ENVIRONMENT.database_url.startswith("sqlite")
    else f"sqlite:///{DATA_DIR / 'checkpoints.sqlite3'}"
)

BOOKS_MODEL = ENVIRONMENT.books_model

UNFOLD = {
    "SITE_TITLE": "graduation_backend",
    "SITE_HEADER": "graduation_backend",
    "SITE_URL": "/",
    "DASHBOARD_CALLBACK": "runs.admin.dashboard.on_index",
    "STYLES": [lambda request: static("runs/admin/admin.css")],
    # The pages' teal, in unfold's steps from lightest to darkest.
    "COLORS": {
        "primary": {
            "50": "#effafa",
            "100": "#d5f0f1",
            "200": "#afe1e4",
            "300": "#7acad0",
            "400": "#3fabb4",
            "500": "#248e99",
            "600": "#1f7381",
            "700": "#19616a",
            "800": "#1f4f58",
            "900": "#1e434b",
            "950": "#0d2b32",
        },
    },
}
