"""What the services of a manifest name as their applications, and which source files those modules are."""

from __future__ import annotations

import os
import re
import sysconfig
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

Row = Mapping[str, Any]
"""A `[service.NAME]` table."""

_INSTALLED = frozenset({"site-packages", "dist-packages"})
_TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*(\(.*\))?")
"""A word of a command that a server is given to import: `web:app`, and no address (`127.0.0.1:8000`)."""
_STARTS_IN = frozenset({"--app-dir", "--chdir", "--working-dir"})
_IMPORTS_FROM_TOO = frozenset({"--python-path", "--pythonpath"})
"""The options by which a server is told where to import from: of uvicorn, Gunicorn, Granian and mod_wsgi."""
_FURTHER = ("*/", "*/*/")


class ServiceModules:
    """Where the services of the manifest in `folder`, None where it is not known, have the modules that they name."""

    def __init__(self, folder: Path | None, sections: Mapping[str, Any]) -> None:
        self._folder = folder and folder.resolve()
        self._project = (sections.get("project") or {}).get("name")
        self._rows = list(rows_of(sections).values())
        self._seen: dict[tuple[int, str, Path], bool] = {}

    def has(self, row: Row, module: str, file: Path) -> bool:
        """Whether `file` is `module` of the service `row`, and none that is only called so.

        That one lies where Python finds it first: in the folder that the service starts in or an option of its command
        names, in those of `PYTHONPATH` in `env`, in `src`. Where none of them has it, it may lie further inside, if
        nothing else there has its name. A name is enough for a module that was installed, for a manifest that is kept
        apart from the code of its project, and beside the manifest where the service's folder is not there, as in
        an image; but only if no other service has such a module, or that folder.
        """
        asked = (id(row), module, file)
        if asked not in self._seen:
            right = self._folder is None or not file.name or self._lies_right(self._folder, row, module, file)
            self._seen[asked] = right and not self._is_of_other(row, module, file)
        return self._seen[asked]

    def _lies_right(self, folder: Path, row: Row, module: str, file: Path) -> bool:
        others = [each for each in self._rows if each is not row]
        alone = not any(_place(each, module) != _place(row, module) for each in others if _has_target(each, module))
        if is_installed(file, folder):
            return alone
        file, start, cwds = file.resolve(), _start(folder, row), [_cwd(folder, each) for each in others]
        if not start.is_dir() and file.is_relative_to(folder):
            beside = [*_files(folder, module), *_files(folder / "src", module)]
            return alone and file in beside[:1] and not any(map(file.is_relative_to, cwds))
        for searched in _searched(folder, row):
            if found := set(_files(searched, module)):
                return file in found
        nearer = [cwd for cwd in cwds if cwd != start and cwd.is_relative_to(start)]
        further = {each for steps in _FURTHER for each in _files(start, module, steps)}
        if any(_is_inside(each, start, nearer) for each in further - {file}):
            return False
        if file.is_relative_to(folder):
            return file.is_relative_to(start) and _is_inside(file, start, nearer)
        return self._is_of_project(file) and (alone or lies_at(file, _place(row, module)))

    def _is_of_project(self, file: Path) -> bool:
        """False where the nearest `dodai.toml` above a file elsewhere is of a project with another name."""
        near = next((each for folder in file.parents if (each := folder / "dodai.toml").is_file()), None)
        try:
            return (
                near is None or tomllib.loads(near.read_text("utf-8")).get("project", {}).get("name") == self._project
            )
        except (OSError, ValueError, AttributeError):
            return False

    def _is_of_other(self, row: Row, module: str, file: Path) -> bool:
        """Whether `file` is rather the module of another service: `main` in the folder `web`, and this is `api`'s."""
        own = _place(row, module)
        nearest = len(own) if lies_at(file, own) else 0
        places = [_place(each, other) for each in self._rows if each is not row for other, _ in targets(each)]
        return any(place != own and len(place) > nearest and lies_at(file, place) for place in places)


def rows_of(sections: Mapping[str, Any]) -> Mapping[str, Row]:
    """The services of a manifest by their names."""
    return sections.get("service") or {}


def targets(row: Row) -> list[tuple[str, str]]:
    """(module, name) of the application of a service: its `app`, else what its command gives a server to import."""
    app, words = str(row.get("app") or ""), [str(word) for word in row.get("command") or ()]
    named = [app] if app else [word for word in words if _TARGET.fullmatch(word)]
    if not named:  # of Flask, which looks for a name itself
        named = [after for word, after in pairwise(words) if word in ("--app", "-A")]
    if len(named) > 1:  # which one is the application, and which the value of an option, only the server knows
        return []
    return [(_dotted(module), name) for module, _, name in (word.partition(":") for word in named)]


def lies_at(file: Path, parts: list[str]) -> bool:
    """Whether the path of a module's file ends with these parts."""
    place = file.parent if file.stem in ("__init__", "__main__") else file.with_suffix("") if file.name else file
    return list(place.parts[-len(parts) :]) == parts


def has_own_rules(path: Path, folder: Path) -> bool:
    """Whether a folder between `path` and `folder` has a manifest, or is a repository, of its own."""
    inside = [each for each in path.parents if each != folder and each.is_relative_to(folder)]
    return any((each / "dodai.toml").is_file() or (each / ".git").exists() for each in inside)


def is_library(path: Path) -> bool:
    """Whether `path` is of the standard library."""
    library = Path(sysconfig.get_path("stdlib")).resolve()
    return path.is_relative_to(library) and _INSTALLED.isdisjoint(path.parts)


def is_installed(path: Path, folder: Path) -> bool:
    """Whether an installer put `path` there, such as a server: also where `pip install --target` did, in `folder`."""
    if not _INSTALLED.isdisjoint(path.parts):
        return True
    inside = [each for each in (path.with_suffix(""), *path.parents) if each != folder and each.is_relative_to(folder)]
    return any(
        row.name.casefold().startswith(f"{each.name.casefold()}-")
        for each in inside
        for row in each.parent.glob("*.dist-info")
    )


def _cwd(folder: Path, row: Row) -> Path:
    return folder.joinpath(str(row.get("cwd") or ".")).resolve()


def _start(folder: Path, row: Row) -> Path:
    """The folder that a service imports from: its `cwd`, or the one that its command names."""
    return _cwd(folder, row).joinpath(*_options(row, _STARTS_IN)).resolve()


def _options(row: Row, names: frozenset[str]) -> list[str]:
    words = [part for word in row.get("command") or () for part in str(word).split("=", 1)]
    return [after for word, after in pairwise(words) if word in names]


def _is_inside(file: Path, own: Path, nearer: Iterable[Path]) -> bool:
    """Whether a file below the folder `own` of a service is its own: of no service `nearer` to it, no other project."""
    return not (any(map(file.is_relative_to, nearer)) or is_installed(file, own) or has_own_rules(file, own))


def _dotted(module: str) -> str:
    return module.removeprefix("./").removesuffix(".py").replace("/", ".").removesuffix(".__main__")


def _has_target(row: Row, module: str) -> bool:
    return any(name == module for name, _ in targets(row))


def _place(row: Row, module: str) -> list[str]:
    """The parts of the path of a module, below the folder that its service starts in."""
    return [*Path(str(row.get("cwd") or ".")).parts, *module.split(".")]


def _searched(folder: Path, row: Row) -> Iterator[Path]:
    """The folders that Python searches for the modules of a service; first come, first found."""
    cwd, start = _cwd(folder, row), _start(folder, row)
    too = [each for option in _options(row, _IMPORTS_FROM_TOO) for each in option.split(",")]
    yield from (cwd / each for each in reversed(too))  # each is put before the others
    yield start
    path = str((row.get("env") or {}).get("PYTHONPATH") or "").split(os.pathsep)
    yield from (cwd / each for each in path if each)
    yield start / "src"


def _files(folder: Path, module: str, steps: str = "") -> Iterator[Path]:
    """The files that are `module` in `folder`, or in those that `steps` lead to."""
    for suffix in (".py", "/__init__.py", "/__main__.py"):
        path = f"{module.replace('.', '/')}{suffix}"
        found = folder.glob(f"{steps}{path}") if steps else [folder / path]
        yield from (each.resolve() for each in found if each.is_file())
