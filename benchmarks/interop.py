"""What is read and written by others, held to their newest releases, built from source: Prometheus 3, VictoriaLogs.

Usage: python benchmarks/interop.py FOLDER. The programs are built there with go unless they are there already (minutes
of a core each); the suite itself runs with what Debian packages.
"""

# The repository has to be on the path before its tests can be imported.
# ruff: noqa: E402
from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT)]

import httpx2
from results import record
from tests.observability.traffic import request, rpc
from tests.support.command import dodai
from tests.support.wait import until

from dodai.engine.loopback_port import loopback_port
from dodai.observability.line_format import dump
from dodai.observability.policy import ExportSection, ObservabilityPolicy
from dodai.observability.run import Watched
from dodai.observability.run.export import Export
from dodai.providers.otlp import Otlp

VICTORIALOGS, PROMETHEUS = "v1.52.1", "v0.316.0"
"""Of their modules: Prometheus 3.16 is v0.316 of its own."""
PROGRAMS = {
    "victoria-logs": f"github.com/VictoriaMetrics/VictoriaLogs/app/victoria-logs@{VICTORIALOGS}",
    "prometheus": f"github.com/prometheus/prometheus/cmd/prometheus@{PROMETHEUS}",
    "promtool": f"github.com/prometheus/prometheus/cmd/promtool@{PROMETHEUS}",
}
TESTS = (
    "tests/observability/test_prometheus.py",
    "tests/observability/test_same_answers.py",
    "tests/observability/test_read_back.py",
    "tests/providers/otlp/test_remote_write.py",
)


def build(folder: Path) -> None:
    """A module of its own that requires each: what `go install` refuses because of their `exclude` lines."""
    for name, package in PROGRAMS.items():
        if (folder / name).exists():
            continue
        if not (folder / "go.mod").exists():
            subprocess.run(["go", "mod", "init", "interop"], cwd=folder, check=True)
        subprocess.run(["go", "get", package], cwd=folder, check=True)
        words = ["go", "build", "-p", "1", "-tags", "remove_all_sd", "-o", name, package.partition("@")[0]]
        subprocess.run(words, cwd=folder, check=True)


def suite(folder: Path) -> tuple[str, ...]:
    """The suite's own tests of Prometheus, with the one that was built in front of the packaged one."""
    environ = {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "DODAI_TEST_REQUIRE_ALL": "1"}
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS]
    done = subprocess.run(argv, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    outcome = re.findall(r"^(\d+ (?:passed|failed).*?) in ", done.stdout, re.MULTILINE)
    sys.stderr.write(done.stdout[-4000:] if done.returncode else "")
    what = "rules checked and tested, firing set as the evaluator's, webhook, dashboard, remote write, rows read back"
    return f"Prometheus {PROMETHEUS[1:].replace('0.3', '3.', 1)}", what, outcome[-1] if outcome else "did not run"


def traced(folder: Path, scratch: Path) -> tuple[str, ...]:
    """Lines that leave by OTLP and are followed by `dodai trace`."""
    url, now = f"http://127.0.0.1:{loopback_port()}", time.time()
    web = request(now, outcome="server_error", clientRequestId="ticket-4711")
    lines = [rpc(now - 0.01, requestId=web["requestId"], outcome="server_error", status="UNAVAILABLE"), web]
    lines += [request(now + number / 1000) for number in range(1, 200)]
    (scratch / "state" / "lines").mkdir(parents=True)
    (scratch / "state" / "lines" / "web.jsonl").write_bytes(b"".join(dump(line) for line in lines))
    section = ExportSection(url, name="logs", logs="/insert/opentelemetry/v1/logs", traces="", metrics="")
    export = Export(Watched("quiz", "test", scratch / "state", ObservabilityPolicy()), section, Otlp(section))
    words = [str(folder / "victoria-logs"), f"-storageDataPath={scratch}/logs", f"-httpListenAddr={url[7:]}"]
    with (scratch / "log").open("wb") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log)
    try:
        until(lambda: _answers(url), process=process)
        until(lambda: (export.once(), export.problem is None)[1])
        found = []
        for asked in (web["requestId"], "ticket-4711"):
            until(lambda asked=asked: len(_traced(asked, url)) >= 2, lambda asked=asked: str(_traced(asked, url)))
            found.append(_traced(asked, url) == [json.loads(dump(line)) for line in lines[:2]])
    finally:
        process.terminate()
        process.wait(30)
    outcome = "the same lines, by the request's and by the client's id" if all(found) else f"others: {found}"
    return f"VictoriaLogs {VICTORIALOGS[1:]}", f"{len(lines)} lines sent by OTLP, one request followed", outcome


def _traced(asked: str, url: str) -> list[dict[str, Any]]:
    said = dodai("trace", asked, "--state", url, "--json")
    found: list[dict[str, Any]] = json.loads(said.stdout).get("lines", [])
    return found


def _answers(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/health", timeout=5).status_code == 200
    except httpx2.HTTPError:
        return False


def main() -> None:
    folder = Path(sys.argv[1]).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    build(folder)
    with tempfile.TemporaryDirectory(prefix="dodai-interop-") as scratch:
        rows = [traced(folder, Path(scratch)), suite(folder)]
    record("interop", "Newest releases, built from source", ("engine", "what", "outcome"), rows)


if __name__ == "__main__":
    main()
