"""Whether a manifest is that of the application which is being wrapped: where it is not, nothing is served by it."""

from __future__ import annotations

import os
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

    Every source file that is being called has to agree. With a manifest that was found by the working folder none may
    be of another project: of another repository, or below another manifest, inside the folder of this one too, unless
    the `cwd` of the service leads there; and one has to lie in or below its folder, or be an installed module that the
    service names in its `app`, or typed in (`python -c`). With one that `DODAI_MANIFEST` names none may lie below that
    of a project of another name; where no file can be seen, the working folder may not.
    """
    if config.manifest is None:
        return ""
    folder, callers = config.manifest.absolute().parent.resolve(), list(_callers())
    files = [path for _, path in callers if not _is_installed(path, folder)]
    if config.found is None:
        return _of_another_name(config, folder, files or [Path.cwd() / "dodai.toml"])
    services = config.sections.get("service") or {}
    rows = [services[service]] if service in services else list(services.values())
    own = [folder, *(folder.joinpath(str(row.get("cwd") or ".")).resolve() for row in rows)]
    if strange := next((path for path in files if _is_of_another(path, own)), None):
        return f"`{strange}` is of another project than `{config.found}`, which nobody named"
    installed = {str(row.get("app") or "").partition(":")[0] for row in rows}
    known = any(path.is_relative_to(each) for path in files for each in own)
    known = known or any(name in installed for name, path in callers if path not in files)
    if known or (not callers and _is_typed()):
        return ""
    seen = f"`{callers[0][1]}` calls" if callers else "nobody can see who calls"
    return f"{seen} `wrap`, and nothing says that its application is of the project of `{config.found}`"


def _is_of_another(path: Path, own: list[Path]) -> bool:
    """Whether a file has the rules of another project than the one whose folder is the first of `own`."""
    if any(path.is_relative_to(each) and not _has_own_rules(path, each) for each in own):
        return False
    repository = _nearest(path, ".git")
    apart = repository is not None and repository != _nearest(own[0] / "dodai.toml", ".git")
    return apart or path.is_relative_to(own[0]) or _manifest_of(path, own[0]) is not None


def _nearest(path: Path, name: str) -> Path | None:
    return next((each for folder in path.parents if os.path.lexists(each := folder / name)), None)


def _manifest_of(path: Path, folder: Path) -> Path | None:
    """The manifest that a file lies below, unless that in `folder` lies below it too, as in a monorepo."""
    near = _nearest(path, "dodai.toml")
    return None if near is None or near.parent in folder.parents else near


def _of_another_name(config: RuntimeConfig, folder: Path, files: list[Path]) -> str:
    """What is wrong where one of `files` lies below the manifest of a project of another name."""
    named = (config.sections.get("project") or {}).get("name")
    for file in files:
        own = _manifest_of(file, folder)
        if own is not None and (name := _project_of(own)) != named:
            said = f"is that of the project `{name}`" if name else "names no project that could be read"
            return f"`{file}` lies below `{own}`, which {said}, and `DODAI_MANIFEST` names that of `{named}`"
    return ""


def _project_of(manifest: Path) -> str:
    """The name in a manifest; empty where none can be read. A pipe is not asked: it would wait."""
    try:
        return str(tomllib.loads(manifest.read_text("utf-8"))["project"]["name"]) if manifest.is_file() else ""
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _has_own_rules(path: Path, folder: Path) -> bool:
    """Whether a folder between `path` and `folder` has a manifest, or is a repository, of its own."""
    inside = [each for each in path.parents if each != folder and each.is_relative_to(folder)]
    return any(os.path.lexists(each / name) for each in inside for name in ("dodai.toml", ".git"))


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
    for frame in _frames():
        source = frame.f_code.co_filename
        path = Path(source).resolve()
        ours = path.parent == scripts or path.is_relative_to(own)
        of_python = path.is_relative_to(library) and _INSTALLED.isdisjoint(path.parts)
        if not source.startswith("<") and not ours and not of_python:
            yield _name_of(frame.f_globals, path), path


def _is_typed() -> bool:
    """Whether what is called was typed in, as `python -c` and an interactive session run it."""
    return any(frame.f_code.co_filename in ("<string>", "<stdin>", "<console>") for frame in _frames())


def _frames() -> Iterator[FrameType]:
    frame: FrameType | None = sys._getframe()  # noqa: SLF001 - who calls is all that tells one application from another
    while frame is not None:
        yield frame
        frame = frame.f_back


def _name_of(module: Mapping[str, Any], path: Path) -> str:
    """The name of a module, as it could be imported where it is run (`python -m shop`, `python shop.py`)."""
    name = str(module.get("__name__", ""))
    spec = module.get("__spec__")
    if name not in ("__main__", "__mp_main__"):
        return name
    return str(spec.name).removesuffix(".__main__") if spec is not None else path.stem
