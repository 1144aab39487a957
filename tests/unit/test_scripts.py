"""The scripts for the shell, run for real in a small project of their own; the one for PowerShell, read."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import tree_sitter_powershell
from tree_sitter import Language, Node, Parser

from graduation_backend.environment import BASE_DIR

SHELL_SCRIPTS = ["start_services.sh", "run_tests.sh", "scripts/bootstrap.sh", ".ci/run"]
NEEDED_TOOLS = ["bash", "dirname", "cmp", "cp", "rm", "tail", "sleep", "flock"]


@pytest.mark.parametrize("name", SHELL_SCRIPTS)
def test_shell_script_is_valid(name: str) -> None:
    subprocess.run(["bash", "-n", str(BASE_DIR / name)], check=True)


@pytest.mark.parametrize("name", ["start_services.sh", "start_services.ps1", "run_tests.sh", ".ci/run"])
def test_script_is_executable(name: str) -> None:
    assert os.access(BASE_DIR / name, os.X_OK)


class Project:
    """A folder with our start script and a `manage.py` that only tells how it was called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "scripts").mkdir(parents=True)
        shutil.copy(BASE_DIR / "start_services.sh", folder)
        shutil.copy(BASE_DIR / "scripts" / "bootstrap.sh", folder / "scripts")
        (folder / "requirements.txt").write_text("# nothing\n")
        (folder / "manage.py").write_text("import sys; print('manage', sys.argv[1:])")

    def start(self, *arguments: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.folder / "start_services.sh"), *arguments],
            cwd="/",
            env={**os.environ, "PATH": path or os.environ["PATH"]},
            capture_output=True,
            text=True,
            timeout=120,
        )


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("a project") / "with blanks")


def test_first_start_makes_the_venv_installs_and_passes_the_arguments_on(project: Project) -> None:
    ended = project.start("--port", "8001", "a b")
    assert ended.returncode == 0, ended.stderr
    assert re.fullmatch(
        r"Making a virtual environment in .venv\n"
        r"Installing packages \(first start, or requirements.txt changed\) \.\.\. \d+ s\n"
        r"manage \['start_services', '--port', '8001', 'a b'\]\n",
        ended.stdout,
    )
    assert ended.stderr == ""


def test_second_start_installs_nothing(project: Project) -> None:
    project.start()
    assert project.start().stdout == "manage ['start_services']\n"


def test_changed_requirements_are_installed(project: Project) -> None:
    project.start()
    (project.folder / "requirements.txt").write_text("# changed\n")
    assert "Installing packages" in project.start().stdout
    assert "Installing packages" not in project.start().stdout


def test_broken_venv_is_made_again(project: Project) -> None:
    project.start()
    (project.folder / ".venv" / "bin" / "python").unlink()
    ended = project.start()
    assert ended.returncode == 0, ended.stderr
    assert "Installing packages" in ended.stdout


def test_failed_installation_tells_why_and_is_tried_again(project: Project) -> None:
    (project.folder / "requirements.txt").write_text("./no-such-package\n")
    for _attempt in range(2):
        ended = project.start()
        assert ended.returncode == 1
        assert "no-such-package" in ended.stderr
        assert "The packages of requirements.txt could not be installed" in ended.stderr.splitlines()[-1]
        assert "manage" not in ended.stdout
    (project.folder / "requirements.txt").write_text("# nothing\n")
    assert project.start().returncode == 0


@pytest.mark.parametrize("old_python", [True, False], ids=["old", "missing"])
def test_old_or_missing_python_is_told_in_one_line(tmp_path: Path, old_python: bool) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in NEEDED_TOOLS:
        if found := shutil.which(name):
            (tools / name).symlink_to(found)
    if old_python:
        # As a Python 3.9 answers the question whether it is new enough.
        (tools / "python3").write_text("#!/bin/sh\nexit 1\n")
        (tools / "python3").chmod(0o755)
    ended = Project(tmp_path / "project").start(path=str(tools))
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.startswith("Python 3.11 or newer is needed and was not found.")
    assert not (tmp_path / "project" / ".venv").exists()


# --- PowerShell -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def powershell() -> Node:
    parser = Parser(Language(tree_sitter_powershell.language()))
    return parser.parse((BASE_DIR / "start_services.ps1").read_bytes()).root_node


def _walk(node: Node) -> Iterator[Node]:
    yield node
    for child in node.children:
        yield from _walk(child)


def _text(node: Node) -> str:
    return (node.text or b"").decode()


def test_powershell_script_is_valid(powershell: Node) -> None:
    wrong = [node for node in _walk(powershell) if node.is_error or node.is_missing]
    assert [(node.start_point, _text(node)) for node in wrong] == []


def test_powershell_script_is_ascii() -> None:
    # Windows PowerShell 5.1 reads a file without a byte order mark in the machine's old code page.
    assert (BASE_DIR / "start_services.ps1").read_bytes().isascii()


def test_powershell_calls_are_known_cmdlets_or_its_own_functions(powershell: Node) -> None:
    own = set(re.findall(r"^function ([\w-]+)", _text(powershell), flags=re.MULTILINE))
    cmdlets = {
        *(
            "Copy-Item",
            "Get-Command",
            "Get-FileHash",
            "Out-Null",
            "Remove-Item",
            "Set-Location",
            "Test-Path",
            "Write-Host",
        ),
    }
    commands = [_text(node) for node in _walk(powershell) if node.type == "command"]
    called = {command.split()[0] for command in commands if not command.startswith("&")}
    assert called <= own | cmdlets


def test_powershell_programs_are_those_that_the_shell_script_runs(powershell: Node) -> None:
    """So every one of them has been run by the tests above."""
    variables = {"$requirements": '"$file"', "$isNewEnough": "", "@args": '"$@"'}
    shell = (BASE_DIR / "scripts" / "bootstrap.sh").read_text() + (BASE_DIR / "start_services.sh").read_text()
    programs = [_text(node) for node in _walk(powershell) if node.type == "command" and _text(node).startswith("&")]
    assert len(programs) == 4
    for program in programs:
        arguments = program.split()[2:]
        assert " ".join(variables.get(argument, argument) for argument in arguments).strip() in shell
