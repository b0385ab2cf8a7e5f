"""Files of Fly's own tools in a project: they and the manifest describe the same apps, and may say different things."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dodai.core.dataclass import dataclass
from dodai.operations.codes import OTHER_TOOLS_FILE
from dodai.operations.ports import DoctorRow
from dodai.providers.fly.machine_checks import Judged, too_slow

METRICS = "/-/dodai/metrics"
SKIPPED = frozenset({"node_modules", "site-packages", "__pycache__"})


@dataclass(frozen=True, slots=True)
class ToldService:
    """What the manifest says of a service: the path of its HTTP check ("" it has none), its variables.

    `judged` is how it becomes healthy. `metrics` is where its processes serve their counters, as host:port; "" nowhere.
    """

    app: str
    check_path: str
    env: Mapping[str, str]
    judged: Judged = Judged()
    metrics: str = ""


def toml_rows(root: Path, services: Mapping[str, ToldService]) -> Iterator[DoctorRow]:
    """One for each file of `services`' apps below `root`; those of other apps are of other environments."""
    of_app = {told.app: (name, told) for name, told in services.items()}
    for path in sorted(_files(root)):
        where = path.relative_to(root).as_posix()
        try:
            data = tomllib.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            said = f"`{where}` cannot be read: {error}"
            yield DoctorRow("fly.toml", "warning", said, fix="mend it, or remove it", unseen=True)
            continue
        app = data.get("app")
        if not isinstance(app, str) or app not in of_app:
            continue
        name, told = of_app[app]
        if found := list(_differences(data, name, told)):
            fix = "make both say the same: `fly deploy` goes by the file, dodai by the manifest"
            said = f"`{where}`: {'; '.join(found)}"
            yield DoctorRow(f"fly {name} fly.toml", "warning", said, fix=fix, code=OTHER_TOOLS_FILE)
        else:
            yield DoctorRow(f"fly {name} fly.toml", "ok", f"`{where}` says nothing else than the manifest")


def _files(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in SKIPPED and not name.startswith(".")]
        for name in names:
            if name.endswith(".toml") and (name.startswith("fly") or ".fly." in name):
                yield Path(folder, name)


def _differences(data: Mapping[str, Any], name: str, told: ToldService) -> Iterator[str]:
    checks = list(_checks(data))
    if not checks:
        yield "no health check, and without one no release is deployed"
    paths = {str(check["path"]) for check in checks if "path" in check}
    if told.check_path and paths and told.check_path not in paths:
        yield f"asks `{', '.join(sorted(paths))}` for health, the manifest `{told.check_path}`"
    if slow := too_slow(checks, name, told.judged):
        yield slow[0]
    if release := _table(data, "deploy").get("release_command"):
        yield f"`release_command` is `{release}`, and dodai does not run it: it migrates by the manifest"
    yield from _metrics(data, told.metrics)
    env = _table(data, "env")
    if other := sorted(name for name, value in told.env.items() if name in env and str(env[name]) != value):
        yield f"other values than the manifest's for {', '.join(f'`{name}`' for name in other)}"


def _metrics(data: Mapping[str, Any], served: str) -> Iterator[str]:
    """Whether Fly scrapes the counters where they are served; counters of the application itself are its own."""
    host, _, port = served.rpartition(":")
    table = _table(data, "metrics")
    ours = table.get("path") == METRICS
    if ours and not served:
        yield f"`[metrics]` asks for `{METRICS}`, which `[observability] metrics` does not serve"
    elif ours and str(table.get("port")) != port:
        yield f"`[metrics]` asks port `{table.get('port')}`, the manifest serves `{METRICS}` at `{served}`"
    elif served and not ours:
        yield f'no `[metrics]` with `port = {port}` and `path = "{METRICS}"`: Fly collects no counters of dodai'
    elif ours and host in ("127.0.0.1", "localhost", "[::1]"):
        yield f"`[observability] metrics` is `{served}`, where Fly cannot ask: serve at `0.0.0.0:{port}`"


def _checks(data: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Every health check: of the service for HTTP, of the others, and of the machines.

    Numbers in older tables are milliseconds (`_patchCheck` of superfly/flyctl internal/appconfig/patches.go).
    """
    yield from (_timed(check) for check in _table(data, "checks").values() if isinstance(check, Mapping))
    services = data.get("services")
    for service in (_table(data, "http_service"), *(services if isinstance(services, list) else ())):
        for key in ("checks", "http_checks", "tcp_checks"):
            found = service.get(key) if isinstance(service, Mapping) else None
            every = (check for check in found or () if isinstance(check, Mapping))
            yield from every if key == "checks" else map(_timed, every)


def _timed(check: Mapping[str, Any]) -> Mapping[str, Any]:
    spans = {key: f"{check[key]}ms" for key in ("interval", "timeout") if isinstance(check.get(key), int)}
    return {**check, **spans}


def _table(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = data.get(key)
    return found if isinstance(found, Mapping) else {}
