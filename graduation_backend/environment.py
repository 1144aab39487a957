"""The environment variables that the project reads, checked in one place.

`settings.py` is the only reader. A wrong value stops every command at once with the variable's name,
the value (unless it may hold a secret) and what is allowed.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from django.core.exceptions import ImproperlyConfigured
from pydantic import Field, PositiveFloat, PositiveInt, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

BASE_DIR = Path(__file__).resolve().parent.parent

REDIS_SCHEMES = ("redis", "rediss", "unix")
BROKER_SCHEMES = ("redis", "rediss", "redis+socket", "amqp", "amqps", "memory")
DATABASE_SCHEMES = ("sqlite", "postgres", "postgresql")
EMAIL_SCHEMES = ("smtp", "smtps", "submission", "console", "file", "memory", "dummy")

Seconds = Annotated[PositiveFloat, Field(le=86_400)]
CommaSeparated = Annotated[list[str], NoDecode]
StreamModes = Annotated[list[Literal["messages", "custom"]], NoDecode]


class WrongEnvironment(ImproperlyConfigured):
    """What the operator set can't be used; the message says what, and what to do about it."""


class Environment(BaseSettings):
    """Every variable with its default; the names are the ones in capitals."""

    model_config = SettingsConfigDict(
        env_file=BASE_DIR / ".env", env_ignore_empty=True, extra="ignore", case_sensitive=False
    )

    SECRETS: ClassVar[frozenset[str]] = frozenset(
        {
            "SECRET_KEY",
            "DATABASE_URL",
            "REDIS_URL",
            "CELERY_BROKER_URL",
            "EMAIL_URL",
            "DJANGO_SUPERUSER_PASSWORD",
        }
    )

    data_dir: Path = BASE_DIR / "var"
    debug: bool = False
    secret_key: Annotated[str, Field(min_length=50)] | None = None
    public_url: str | None = None
    allowed_hosts: CommaSeparated = Field(default_factory=list)
    csrf_trusted_origins: CommaSeparated = Field(default_factory=list)
    database_url: str | None = None
    redis_url: str | None = None
    celery_broker_url: str | None = None
    email_url: str = "console:"
    default_from_email: str = "no-reply@localhost"
    sign_up: Literal["open", "closed"] = "open"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    django_superuser_email: str = "admin@example.com"
    django_superuser_password: str | None = None
    port: Annotated[int, Field(ge=1, le=65_535)] = 8000
    worker_concurrency: Annotated[PositiveInt, Field(le=512)] = 2
    langgraph_json: Path = BASE_DIR / "langgraph.json"
    runs_grace_seconds: Seconds = 30.0
    runs_interrupt_after_seconds: Seconds = 20.0
    runs_lease_seconds: Annotated[PositiveFloat, Field(ge=2, le=3_600)] = 20.0
    runs_stream_modes: StreamModes = Field(default_factory=list)
    runs_on_shutdown: Literal["cancel", "requeue", "leave"] = "cancel"
    web_on_shutdown: Literal["cancel", "leave"] = "cancel"
    books_model: str | None = None

    @field_validator("allowed_hosts", "csrf_trusted_origins", "runs_stream_modes", mode="before")
    @classmethod
    def _split_commas(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("debug", mode="before")
    @classmethod
    def _read_flag(cls, value: Any) -> Any:
        words = {
            "1": True,
            "true": True,
            "yes": True,
            "on": True,
            "0": False,
            "false": False,
            "no": False,
            "off": False,
        }
        if isinstance(value, str) and value.lower() not in words:
            raise ValueError(f"allowed are {', '.join(words)}")
        return words[value.lower()] if isinstance(value, str) else value

    @field_validator("web_on_shutdown", mode="before")
    @classmethod
    def _check_web_on_shutdown(cls, value: Any) -> Any:
        allowed = ("cancel", "leave")
        if value == "requeue":
            raise ValueError("the web server executes no runs that it could requeue, allowed are cancel and leave")
        if value not in allowed:
            raise ValueError("allowed are cancel (every run ends with the web server) and leave (they go on)")
        return value

    @field_validator("public_url")
    @classmethod
    def _check_public_url(cls, value: str | None) -> str | None:
        return _with_scheme(value, ("http", "https"))

    @field_validator("redis_url")
    @classmethod
    def _check_redis(cls, value: str | None) -> str | None:
        return _with_scheme(value, REDIS_SCHEMES)

    @field_validator("celery_broker_url")
    @classmethod
    def _check_broker(cls, value: str | None) -> str | None:
        return _with_scheme(value, BROKER_SCHEMES)

    @field_validator("database_url")
    @classmethod
    def _check_database(cls, value: str | None) -> str | None:
        return _with_scheme(value, DATABASE_SCHEMES)

    @field_validator("email_url")
    @classmethod
    def _check_email(cls, value: str) -> str:
        _with_scheme(value, EMAIL_SCHEMES)
        return value

    @field_validator("data_dir", "langgraph_json")
    @classmethod
    def _make_absolute(cls, value: Path) -> Path:
        return value.expanduser().resolve()

    @field_validator("books_model")
    @classmethod
    def _check_model(cls, value: str | None) -> str | None:
        if value is not None and ":" not in value:
            raise ValueError("allowed is PROVIDER:MODEL, for example openai:gpt-5-mini")
        return value

    @model_validator(mode="after")
    def _check_together(self) -> Environment:
        if self.runs_interrupt_after_seconds > self.runs_grace_seconds:
            raise ValueError(
                f"RUNS_INTERRUPT_AFTER_SECONDS={self.runs_interrupt_after_seconds:g} is more than "
                f"RUNS_GRACE_SECONDS={self.runs_grace_seconds:g}: interrupt comes before kill"
            )
        return self


def _with_scheme(value: str | None, allowed: tuple[str, ...]) -> str | None:
    if value is None:
        return None
    scheme, colon, _ = value.partition(":")
    if not colon or scheme not in allowed:
        raise ValueError(f"allowed are addresses that begin with {', '.join(f'{name}:' for name in allowed)}")
    return value


def read_environment() -> Environment:
    """Read and check the environment.

    Raises:
        WrongEnvironment: one line for each wrong value.
    """
    try:
        return Environment()
    except ValidationError as error:
        raise WrongEnvironment("\n".join(_describe(problem) for problem in error.errors())) from None


def _describe(problem: Any) -> str:
    message = str(problem["msg"]).removeprefix("Value error, ")
    if not problem["loc"]:
        return message
    name = str(problem["loc"][0]).upper()
    value = "(hidden)" if name in Environment.SECRETS else repr(str(problem["input"]))
    return f"{name}={value}: {message}"


def made_data_dir(path: Path) -> Path:
    """The directory, made if it is missing.

    Raises:
        WrongEnvironment: it can't be made or written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WrongEnvironment(f"DATA_DIR={str(path)!r}: can't be made: {error.strerror}") from None
    if not os.access(path, os.W_OK | os.X_OK):
        raise WrongEnvironment(f"DATA_DIR={str(path)!r}: this user may not write there")
    return path


def kept_secret_key(data_dir: Path) -> str:
    """The secret key of an installation that names none."""
    return kept_secret(data_dir / "secret_key")


def kept_secret(path: Path) -> str:
    """A random secret, made once, in a file that only its owner reads. Several processes get the same one."""
    try:
        return path.read_text()
    except FileNotFoundError:
        pass
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    temporary.touch(mode=0o600)
    temporary.write_text(secrets.token_urlsafe(64))
    try:
        # A hard link never replaces what another process made in the meantime.
        path.hardlink_to(temporary)
    except FileExistsError:
        pass
    finally:
        temporary.unlink()
    return path.read_text()
