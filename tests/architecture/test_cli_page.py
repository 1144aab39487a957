"""docs/cli.md tells every command, option and exit code that there is, and no other."""

from __future__ import annotations

import re

from graduation_backend.control_tasks import arguments, exits
from scripts.document_control_tasks import PAGE, commands, with_options

TEXT = PAGE.read_text(encoding="utf-8")


def test_page_has_a_section_with_an_example_for_each_command() -> None:
    sections = dict(re.findall(r"^## ([\w-]+)\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL))

    assert list(sections) == list(arguments.ACTIONS)
    assert set(sections) == set(commands())
    for name, section in sections.items():
        assert f"python manage.py control_tasks {name}" in section
        assert f"<!-- options of {name} -->" in section


def test_page_has_the_options_that_there_are() -> None:
    assert with_options(TEXT) == TEXT, "run: python scripts/document_control_tasks.py"


def test_page_has_the_exit_codes_that_there_are() -> None:
    told = {int(code) for code in re.findall(r"^\| (\d+) \|", TEXT, re.MULTILINE)}

    assert told == {value for name, value in vars(exits).items() if name.isupper() and isinstance(value, int)}
