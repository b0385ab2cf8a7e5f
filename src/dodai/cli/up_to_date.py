"""`migrate up` with nothing to do, told without the command line and without reading the manifest anew.

What a manifest says depends on nothing but its bytes, so what is needed of it here is kept once `up` has read all of
it. The files and the database are looked at by the very functions that `up` begins with; whatever stands in the way, or
has to be said, is left to `up`.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dodai import __version__
from dodai.core.sha256 import sha256
from dodai.runtime.manifest_location import FRAGMENTS, nearest_manifest

if TYPE_CHECKING:
    from dodai.migrations.policy import MigrationsPolicy
    from dodai.migrations.ports import SqlConnection
    from dodai.operations.project import Project

KEPT = Path("cache", "migrate-up.json")
"""Below the state folder of the project."""
_PACKAGE = Path(__file__).parents[1]


def remember(project: Project) -> None:
    """Keep what the manifest says of migrations; where nothing can be written nothing is kept."""
    from dodai.engine.state_folder import make_folder

    edition = _edition(project.manifest.text)
    said = {
        "of": edition,
        "variable": project.database_variable,
        "migrations": project.manifest.section("migrations") or {},
    }
    text, path = json.dumps(said, indent=1), project.state / KEPT
    with contextlib.suppress(OSError):
        if path.is_file() and path.read_text("utf-8") == text:
            return
        make_folder(path.parent)
        beside = path.with_suffix(f".{edition[:16]}")
        beside.write_text(text, "utf-8")
        beside.replace(path)


def up_to_date(folder: Path, environ: Mapping[str, str]) -> bool:
    """Whether `migrate up` in `folder` would say just that; False as well where it is not certain."""
    try:
        return _seen(folder, environ)
    except Exception:  # noqa: BLE001 - `up` meets it again, and says what it is
        return False


def _seen(folder: Path, environ: Mapping[str, str]) -> bool:
    file = nearest_manifest(folder)
    if file is None or not file.is_file():
        return False
    root = file.resolve().parent
    kept = _kept(root, file.read_bytes())
    url = environ.get(kept["variable"]) if kept else None
    if not kept or not url:
        return False
    from dodai.core.database_url import libpq_url
    from dodai.migrations.policy import TOOL_LEDGERS, MigrationsPolicy

    policy = MigrationsPolicy.from_manifest(kept["migrations"])
    return policy.format not in TOOL_LEDGERS and _settled(root, policy, libpq_url(url), environ)


def _kept(root: Path, manifest: bytes) -> dict[str, Any] | None:
    """What was kept of exactly this manifest."""
    found: dict[str, Any] = json.loads((root / ".dodai" / KEPT).read_text("utf-8"))
    return found if found["of"] == _edition(manifest) else None


def _edition(manifest: bytes) -> str:
    """sha256 of the manifest and of what says how it is read: this version of dodai, and the annotated reference."""
    read_by = [str((_PACKAGE / area / "manifest.toml").stat().st_mtime_ns) for area in FRAGMENTS]
    return sha256("\0".join((__version__, *read_by, "")).encode() + manifest).hexdigest()


def _settled(root: Path, policy: MigrationsPolicy, url: str, environ: Mapping[str, str]) -> bool:
    from dodai.migrations.ports import MigrationTarget
    from dodai.migrations.run.belonging import refuse_other
    from dodai.migrations.run.settled import settled
    from dodai.wiring.migration_database import connected

    def connect() -> SqlConnection:
        return connected(url, environ, policy.plain_hosts)

    told: list[str] = []
    with contextlib.closing(connect()) as conn:
        refuse_other(conn, "local")
        found = settled(conn, MigrationTarget(root, policy, connect), "", told.append)
    return found is not None and not told
