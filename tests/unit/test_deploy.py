"""The files for Docker, systemd and Kubernetes: whole, and with the commands that the other tests start."""

from __future__ import annotations

import configparser
import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from graduation_backend.environment import Environment
from tests.environment import ROOT

WEB = shlex.split("daphne -b 0.0.0.0 -p 8000 graduation_backend.asgi:application")
WORKER = shlex.split("celery -A graduation_backend worker --loglevel=info --pool=prefork --concurrency=2")
MIGRATE = shlex.split("python manage.py migrate --noinput")
LONGEST_STOP_SECONDS = Environment.model_fields["runs_grace_seconds"].default + 10
VARIABLES = {name.upper() for name in Environment.model_fields}

UNITS = sorted((ROOT / "deploy" / "systemd").glob("*.service"))
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
OBJECTS: list[dict[str, Any]] = list(
    yaml.safe_load_all((ROOT / "deploy" / "kubernetes" / "graduation.yaml").read_text())
)


def containers() -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Each container of the cluster's example, and the pod that it is in."""
    for found in OBJECTS:
        if found["kind"] in ("Deployment", "Job"):
            pod = found["spec"]["template"]["spec"]
            yield from ((container, pod) for container in pod["containers"])


def read_unit(name: str) -> configparser.SectionProxy:
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(ROOT / "deploy" / "systemd" / name)
    assert set(unit.sections()) == {"Unit", "Service", "Install"}
    return unit["Service"]


def test_readme_s_commands_are_those_of_every_file() -> None:
    readme = (ROOT / "README.md").read_text()
    assert shlex.join(WEB) in readme
    assert shlex.join(WORKER) in readme
    services = COMPOSE["services"]
    assert [services[name]["command"] for name in ("web", "worker", "migrate")] == [WEB, WORKER, MIGRATE]
    assert [container["command"] for container, _ in containers()] == [MIGRATE, WEB, WORKER]
    started = [shlex.split(read_unit(unit.name)["ExecStart"]) for unit in UNITS]
    assert [[command[0].rpartition("/")[2], *command[1:]] for command in started] == [WEB, WORKER]
    command = re.search(r"^CMD (\[.*\])$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert command is not None
    assert yaml.safe_load(command[1]) == WEB


def test_whoever_stops_a_process_waits_for_the_ladder() -> None:
    for name in ("web", "worker"):
        assert int(COMPOSE["services"][name]["stop_grace_period"].removesuffix("s")) > LONGEST_STOP_SECONDS
    for container, pod in containers():
        if container["command"] != MIGRATE:
            assert pod["terminationGracePeriodSeconds"] > LONGEST_STOP_SECONDS
    for unit in UNITS:
        service = read_unit(unit.name)
        assert int(service["TimeoutStopSec"]) > LONGEST_STOP_SECONDS
        assert (service["KillMode"], service["KillSignal"]) == ("mixed", "SIGTERM")


def test_every_variable_exists_and_a_deploy_hands_over() -> None:
    example = (ROOT / "deploy" / "systemd" / "graduation_backend.env.example").read_text()
    of_systemd = dict(re.findall(r"^([A-Z_]+)=(.*)$", example, re.MULTILINE))
    of_compose = COMPOSE["x-app"]["environment"]
    of_cluster = next(found["data"] for found in OBJECTS if found["kind"] == "ConfigMap")
    for variables in (of_systemd, of_compose, of_cluster):
        assert set(variables) <= VARIABLES
        assert (variables["RUNS_ON_SHUTDOWN"], variables["WEB_ON_SHUTDOWN"]) == ("requeue", "leave")
        assert "PASSWORD" in variables.get("DATABASE_URL", "PASSWORD")  # asked for, and not given
        assert not re.fullmatch(r"\w{20,}", variables.get("SECRET_KEY", ""))


@pytest.mark.parametrize("kind", ["livenessProbe", "readinessProbe"])
def test_probes_ask_the_addresses_that_there_are(kind: str) -> None:
    paths = [container[kind]["httpGet"]["path"] for container, _ in containers() if kind in container]
    assert paths == [{"livenessProbe": "/healthz", "readinessProbe": "/readyz"}[kind]]


def test_image_copies_what_is_there_and_leaves_out_what_is_private() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    for source in re.findall(r"^COPY (?!--from)(\S+) ", dockerfile, re.MULTILINE):
        assert (ROOT / source).exists()
    assert "\nUSER app\n" in dockerfile
    assert {".env", "var", ".git"} <= set((ROOT / ".dockerignore").read_text().split())
