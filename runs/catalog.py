"""Graph name → LangGraph graph, from LangGraph's own `langgraph.json`.

Reading the file imports no graph: one that can't be imported is reported by its name when it is opened, and the
others still work. A graph is imported once in each process, a factory is called for each run.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import os
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from runs.conf import runs_settings
from runs.errors import CatalogUnreadable, GraphImportFailed, GraphNotFound


@dataclass(frozen=True)
class GraphEntry:
    """One line of `graphs`: `module_path` is a file or a dotted module, `attribute` what to take out of it."""

    name: str
    module_path: str
    attribute: str
    description: str = ""


@dataclass(frozen=True)
class Catalog:
    path: Path
    entries: dict[str, GraphEntry]
    dependencies: tuple[str, ...]
    env: dict[str, str]


def list_graphs() -> list[GraphEntry]:
    """Every graph of the catalog by name; does not import them."""
    catalog = read_catalog()
    return [catalog.entries[name] for name in sorted(catalog.entries)]


def get_entry(name: str) -> GraphEntry:
    """Find a graph by name.

    Raises:
        GraphNotFound: with the names there are.
    """
    entries = read_catalog().entries
    if name not in entries:
        raise GraphNotFound(name, entries)
    return entries[name]


def read_catalog() -> Catalog:
    path = runs_settings().langgraph_json
    try:
        return _read(path, path.stat().st_mtime_ns)
    except FileNotFoundError:
        raise CatalogUnreadable(f"{path} is missing: LANGGRAPH_JSON must name a langgraph.json") from None
    except OSError as error:
        raise CatalogUnreadable(
            f"{path} can't be read ({error.strerror}): LANGGRAPH_JSON must name a langgraph.json"
        ) from None


@cache
def _read(path: Path, _changed: int) -> Catalog:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        entries = {name: _parse_entry(name, value) for name, value in document["graphs"].items()}
        dependencies = tuple(document.get("dependencies", ["."]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CatalogUnreadable(
            f'{path} is not a langgraph.json: {error!r}; needed is {{"graphs": {{"name": "./file.py:variable"}}}}'
        ) from None
    return Catalog(path, entries, dependencies, _read_env(path, document.get("env", {})))


def _parse_entry(name: str, value: Any) -> GraphEntry:
    target = value if isinstance(value, str) else value["path"]
    module_path, colon, attribute = target.rpartition(":")
    if not colon or not module_path or not attribute:
        raise ValueError(f"graph {name!r} is {target!r}, needed is PATH:VARIABLE")
    description = "" if isinstance(value, str) else value.get("description", "")
    return GraphEntry(name, module_path, attribute, description)


def _read_env(path: Path, env: Any) -> dict[str, str]:
    if isinstance(env, dict):
        return {str(key): str(value) for key, value in env.items()}
    from dotenv import dotenv_values

    return {key: value for key, value in dotenv_values(path.parent / env).items() if value is not None}


def load(name: str) -> Any:
    """Import what the catalog names: a graph, a graph builder, or a factory of either.

    Raises:
        GraphNotFound: no such name.
        GraphImportFailed: with the cause, in words.
    """
    entry = get_entry(name)
    catalog = read_catalog()
    try:
        _prepare(catalog)
        return _load(entry, catalog.path)
    except GraphImportFailed:
        raise
    except Exception as error:
        raise GraphImportFailed(name, f"{type(error).__name__}: {error}") from error


@cache
def _load(entry: GraphEntry, path: Path) -> Any:
    found = getattr(_import(entry, path.parent), entry.attribute, None)
    if found is None:
        raise GraphImportFailed(entry.name, f"{entry.module_path} has no {entry.attribute}")
    # A builder is compiled once; a compiled graph and a factory are taken as they are.
    return found.compile() if hasattr(found, "compile") else found


def _prepare(catalog: Catalog) -> None:
    for folder in catalog.dependencies:
        if folder.startswith("."):
            where = str((catalog.path.parent / folder).resolve())
            if where not in sys.path:
                sys.path.append(where)
    for key, value in catalog.env.items():
        os.environ.setdefault(key, value)


def _import(entry: GraphEntry, folder: Path) -> ModuleType:
    if not entry.module_path.endswith(".py"):
        return importlib.import_module(entry.module_path)
    file = (folder / entry.module_path).resolve()
    for module_name in _dotted_names(file):
        # A file inside an importable package is imported under its real name, so that it exists once.
        spec = importlib.util.find_spec(module_name)
        if spec is not None and spec.origin is not None and Path(spec.origin).resolve() == file:
            return importlib.import_module(module_name)
    module_name = f"langgraph_catalog_{abs(hash(file)):x}"
    spec = importlib.util.spec_from_file_location(module_name, file)
    if spec is None or spec.loader is None or not file.is_file():
        raise GraphImportFailed(entry.name, f"there is no file {entry.module_path} beside langgraph.json")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[module_name]
        raise
    return module


def _dotted_names(file: Path) -> list[str]:
    names = []
    for folder in map(Path, sys.path):
        if file.is_relative_to(folder.resolve()):
            parts = file.relative_to(folder.resolve()).with_suffix("").parts
            if all(part.isidentifier() for part in parts) and (len(parts) == 1 or (folder / parts[0]).is_dir()):
                names.append(".".join(parts))
    return [name for name in names if _has_parents(name)]


def _has_parents(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def is_factory(found: Any) -> bool:
    """Whether the catalog names a function that makes the graph, rather than the graph."""
    return not hasattr(found, "invoke")


async def open_async(name: str, found: Any, config: dict[str, Any], stack: AsyncExitStack) -> Any:
    """Call a factory: sync or async, plain or a context manager, with the run's config if it takes one."""
    made = _call_factory(name, found, config)
    if inspect.isawaitable(made):
        made = await made
    if hasattr(made, "__aenter__"):
        made = await stack.enter_async_context(made)
    elif hasattr(made, "__enter__") and not hasattr(made, "invoke"):
        made = stack.enter_context(made)
    made = made.compile() if hasattr(made, "compile") else made
    if not hasattr(made, "invoke"):
        raise GraphImportFailed(name, f"its factory made a {type(made).__name__}, not a graph")
    return made


def _call_factory(name: str, found: Any, config: dict[str, Any]) -> Any:
    if not callable(found):
        raise GraphImportFailed(name, "it is neither a graph nor a function that makes one")
    parameters = [
        parameter
        for parameter in inspect.signature(found).parameters.values()
        if parameter.default is inspect.Parameter.empty
    ]
    return found(config) if parameters else found()
