"""Where the manifest is and what it may say; a module of its own, because a command needs nothing else of a runtime."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dodai.core.manifest import ManifestReference

FRAGMENTS = ("core", "operations", "csrf", "migrations", "observability")
"""The folders that hold a part of the annotated reference, `manifest.toml`."""


def reference() -> ManifestReference:
    """The annotated reference of `dodai.toml`: the fragments of the areas and the sections their policies declare."""
    from dodai.core.manifest import assemble

    return assemble(*parts(), proven=True)


def parts() -> tuple[Mapping[str, str], Mapping[str, type]]:
    """The text of each fragment, and the dataclass of each section."""
    from dodai.core.manifest import CheckSection, ProjectSection
    from dodai.csrf.policy import CsrfPolicy
    from dodai.migrations.policy import MigrationsPolicy
    from dodai.observability.policy import ObservabilityPolicy
    from dodai.operations.policy import OperationsPolicy

    package = Path(__file__).parents[1]
    fragments = {area: (package / area / "manifest.toml").read_text("utf-8") for area in FRAGMENTS}
    sections: dict[str, type] = {
        "project": ProjectSection,
        "check": CheckSection,
        "": OperationsPolicy,
        "csrf": CsrfPolicy,
        "migrations": MigrationsPolicy,
        "observability": ObservabilityPolicy,
    }
    return fragments, sections


def nearest_manifest(folder: Path) -> Path | None:
    """The `dodai.toml` of `folder`, or of the nearest folder above it in the same git repository.

    Outside a repository only `folder` itself is looked at: a file that somebody left in a shared folder above
    (`/tmp/dodai.toml`) must never decide how an application is protected.
    """
    folders = [folder, *folder.parents]
    root = next((n for n, parent in enumerate(folders) if (parent / ".git").exists()), 0)
    candidates = (parent / "dodai.toml" for parent in folders[: root + 1])
    return next((file for file in candidates if file.is_file()), None)


def stranger_to(file: Path, sections: Mapping[str, Any]) -> str:
    """The source file of the application that is calling, when nothing says that the manifest `file` is its own.

    Empty where something does: a file of the application lies in or below the folder of the manifest, or it is
    installed as the module that a service of the manifest names, or it was typed in (`python -c`) in that folder.
    """
    folder, named, strangers = file.resolve().parent, _modules(sections), list[tuple[bool, str]]()
    for name, source in _callers():
        path = Path(source).resolve()
        installed = not _INSTALLED.isdisjoint(path.parts)
        if name in named if installed else path.is_relative_to(folder):
            return ""
        strangers.append((installed, str(path)))
    return min(strangers, key=lambda one: one[0])[1] if strangers else ""


def other_service(sections: Mapping[str, Any], name: str) -> str:
    """The service whose application is calling, where that is not the service `name`; empty when nothing says so."""
    rows = sections.get("service") or {}
    calling = {module for module, _ in _callers()}
    if not calling.isdisjoint(_modules({"service": {name: rows.get(name) or {}}})):
        return ""
    apps = {str(row.get("app") or "").partition(":")[0]: str(service) for service, row in rows.items()}
    return next((service for module, service in apps.items() if module in calling), "")


_INSTALLED = frozenset({"site-packages", "dist-packages"})


def _callers() -> Iterator[tuple[str, str]]:
    """(module, source file) of what is being called, without dodai, the standard library and the scripts of Python."""
    library, scripts = (Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "scripts"))
    own = Path(__file__).resolve().parents[1]
    frame = sys._getframe()  # noqa: SLF001 - who calls is all that tells one application from another
    while frame is not None:
        source = frame.f_code.co_filename
        path = Path(source).resolve()
        standard = path.is_relative_to(library) and _INSTALLED.isdisjoint(path.parts)
        if not source.startswith("<") and not standard and path.parent != scripts and not path.is_relative_to(own):
            yield _called(frame.f_globals, path), source
        frame = frame.f_back  # type: ignore[assignment]


def _called(module: Mapping[str, Any], path: Path) -> str:
    """The name of a module, as it could be imported where it is run (`python -m shop`, `python shop.py`)."""
    name = str(module.get("__name__", ""))
    spec = module.get("__spec__")
    return name if name != "__main__" else spec.name.removesuffix(".__main__") if spec is not None else path.stem


def _modules(sections: Mapping[str, Any]) -> set[str]:
    """The modules that the services of a manifest name, in `app` or in their command."""
    rows = (sections.get("service") or {}).values()
    words = [word for row in rows for word in (row.get("app") or "", *(row.get("command") or ()))]
    return {str(word).partition(":")[0] for word in words if word}
