"""Write the options of each command into docs/cli.md, from the parser itself; the words around them are by hand.

python scripts/document_control_tasks.py
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "cli.md"
_TABLE = re.compile(r"(<!-- options of ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def commands() -> dict[str, argparse.ArgumentParser]:
    """The parser of each command of `control_tasks`, by its name."""
    from graduation_backend.management.commands.control_tasks import Command

    parser = Command().create_parser("manage.py", "control_tasks")
    found = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return dict(found.choices)


def with_options(page: str) -> str:
    """The page with its tables as the parser has them now."""
    parsers = commands()
    return _TABLE.sub(lambda found: f"{found[1]}{_table(parsers[found[2]])}{found[3]}", page)


def _table(parser: argparse.ArgumentParser) -> str:
    rows = [_row(action) for action in parser._actions if not isinstance(action, argparse._HelpAction)]
    return "\n".join(["", "| option | what it does |", "|---|---|", *rows, "", ""])


def _row(action: argparse.Action) -> str:
    metavar = str(action.metavar or "")
    names = action.option_strings or [metavar]
    takes_value = action.option_strings and action.nargs != 0
    # In a cell of a table a bar would end it.
    option = ", ".join(f"{name} {metavar}" if takes_value else name for name in names).replace("|", "\\|")
    words = (action.help or "") % {"choices": ", ".join(map(str, action.choices or ()))}
    return f"| `{option}`{' (required)' if action.required and takes_value else ''} | {words} |"


def main() -> None:
    sys.path.insert(0, str(ROOT))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "graduation_backend.settings")
    import django

    django.setup()
    PAGE.write_text(with_options(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
