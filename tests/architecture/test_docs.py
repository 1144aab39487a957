"""The documents name only what exists."""

from __future__ import annotations

import importlib
import re
import shlex
from collections.abc import Iterator

import pytest
from django.core.management import get_commands, load_command_class

from graduation_backend.environment import Environment
from tests.environment import ROOT

DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))]
PACKAGES = (
    "runs",
    "books",
    "authentication",
    "celery_tasks",
    "graduation_backend",
    "tests",
    "benchmarks",
    "docs",
    "scripts",
)


def _found(pattern: str) -> Iterator[tuple[str, str]]:
    for document in DOCUMENTS:
        for match in re.finditer(pattern, document.read_text(encoding="utf-8"), re.MULTILINE):
            yield document.name, match.group(1)


@pytest.mark.parametrize(("document", "target"), sorted(set(_found(r"\]\((?!https?:)([^)#]+)\)"))))
def test_link_leads_to_a_file(document: str, target: str) -> None:
    home = ROOT if document in ("README.md", "CHANGELOG.md", "SECURITY.md") else ROOT / "docs"
    assert (home / target).exists()


@pytest.mark.parametrize(
    ("document", "path"), sorted(set(_found(rf"(?<!/)((?:{'|'.join(PACKAGES)})/[\w./-]*)(?=[`\s,)])")))
)
def test_path_exists(document: str, path: str) -> None:
    """A path of the repository begins with a package; `/api/runs/…` is an address."""
    assert (ROOT / path.rstrip(".")).exists()


@pytest.mark.parametrize(("document", "name"), sorted(set(_found(rf"`((?:{'|'.join(PACKAGES)})(?:\.\w+)+)(?:\(\))?`"))))
def test_dotted_name_exists(document: str, name: str) -> None:
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for attribute in parts[length:]:
            found = getattr(found, attribute)
        return
    raise AssertionError(f"{document}: there is no {name}")


@pytest.mark.parametrize(("document", "line"), sorted(set(_found(r"python manage\.py (\w[^\n`#|]*)"))))
def test_command_takes_its_arguments(document: str, line: str) -> None:
    name, *arguments = shlex.split(line.replace("…", ""))
    command = load_command_class(get_commands()[name], name)
    parser = command.create_parser("manage.py", name)
    if arguments and name != "test":
        parser.parse_args(arguments)


def test_readme_lists_the_environment_variables_that_there_are() -> None:
    table = (ROOT / "README.md").read_text().partition("| variable |")[2].partition("\n\n")[0]
    first_column = "".join(row.split("|")[1] for row in table.splitlines()[1:])
    told = {name for name in re.findall(r"`([A-Z_]+)`", first_column) if name != "LANGSMITH_"}

    assert told == {name.upper() for name in Environment.model_fields}


def test_documents_name_no_path_of_a_machine() -> None:
    for document in DOCUMENTS:
        assert not re.search(r"(?<![\w.])/(?:root|home|work|tmp|usr)/", document.read_text()), document
