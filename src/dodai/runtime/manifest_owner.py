"""Whether a manifest is that of the application which is being wrapped: where it is not, nothing is served by it."""

from __future__ import annotations

import sys
import sysconfig
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dodai.runtime.config import RuntimeConfig

_INSTALLED = frozenset({"site-packages", "dist-packages"})


def stranger_to(config: RuntimeConfig, service: str) -> str:
    """Why the manifest of `config` is not that of the application that is calling; empty where it is, or there is none.

    One that was found by the working folder is its own where a file of the application lies in or below the folder of
    the manifest, or it was typed in (`python -c`) in that folder. A folder further inside that has a manifest or a
    repository of its own is another project's, unless the `cwd` of the service leads into it; what is installed has to
    be the module that the service names in its `app`. One that `DODAI_MANIFEST` names is taken at its word, except for
    code with the manifest of a project of another name.
    """
    if config.manifest is None:
        return ""
    folder, callers = config.manifest.resolve().parent, list(_callers())
    if config.found is None:
        return _of_another_project(config, [path for _, path in callers if not _is_installed(path, folder)])
    services = config.sections.get("service") or {}
    rows = [services[service]] if service in services else list(services.values())
    if not callers or any(_is_known(name, path, folder, rows) for name, path in callers):
        return ""
    source = min(callers, key=lambda one: _is_installed(one[1], folder))[1]
    return f"`{source}` would be served by the rules of `{config.found}`, which nobody named and which is not its own"


def _is_known(name: str, path: Path, folder: Path, rows: list[Mapping[str, Any]]) -> bool:
    if _is_installed(path, folder):
        return any(str(row.get("app") or "").partition(":")[0] == name for row in rows)
    own = [folder, *(folder.joinpath(str(row.get("cwd") or ".")).resolve() for row in rows)]
    return any(path.is_relative_to(each) and not _has_own_rules(path, each) for each in own)


def _of_another_project(config: RuntimeConfig, files: list[Path]) -> str:
    near = (each for file in files[:1] for folder in file.parents if (each := folder / "dodai.toml").is_file())
    own, named = next(near, None), (config.sections.get("project") or {}).get("name")
    if own is None:
        return ""
    try:
        name = tomllib.loads(own.read_text("utf-8")).get("project", {}).get("name")
    except (OSError, ValueError, AttributeError):
        name = "?"
    if name == named:
        return ""
    return f"`{files[0]}` is of the project `{name}` (`{own}`), and `DODAI_MANIFEST` names that of `{named}`"


def _has_own_rules(path: Path, folder: Path) -> bool:
    """Whether a folder between `path` and `folder` has a manifest, or is a repository, of its own."""
    inside = [each for each in path.parents if each != folder and each.is_relative_to(folder)]
    return any((each / "dodai.toml").is_file() or (each / ".git").exists() for each in inside)


def _is_installed(path: Path, folder: Path) -> bool:
    """Whether an installer put `path` there, such as a server: also where `pip install --target` did, in `folder`."""
    if not _INSTALLED.isdisjoint(path.parts):
        return True
    inside = [each for each in (path.with_suffix(""), *path.parents) if each != folder and each.is_relative_to(folder)]
    return any(
        row.name.casefold().startswith(f"{each.name.casefold()}-")
        for each in inside
        for row in each.parent.glob("*.dist-info")
    )


def _callers() -> Iterator[tuple[str, Path]]:
    """(module, source file) of what is being called, without dodai, the standard library and the scripts of Python."""
    scripts, own = Path(sysconfig.get_path("scripts")).resolve(), Path(__file__).resolve().parents[1]
    library = Path(sysconfig.get_path("stdlib")).resolve()
    frame: FrameType | None = sys._getframe()  # noqa: SLF001 - who calls is all that tells one application from another
    while frame is not None:
        source = frame.f_code.co_filename
        path = Path(source).resolve()
        ours = path.parent == scripts or path.is_relative_to(own)
        of_python = path.is_relative_to(library) and _INSTALLED.isdisjoint(path.parts)
        if not source.startswith("<") and not ours and not of_python:
            yield _name_of(frame.f_globals, path), path
        frame = frame.f_back


def _name_of(module: Mapping[str, Any], path: Path) -> str:
    """The name of a module, as it could be imported where it is run (`python -m shop`, `python shop.py`)."""
    name = str(module.get("__name__", ""))
    spec = module.get("__spec__")
    if name not in ("__main__", "__mp_main__"):
        return name
    return str(spec.name).removesuffix(".__main__") if spec is not None else path.stem
