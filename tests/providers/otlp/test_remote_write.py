"""Counters by remote write to the real Prometheus and the real VictoriaMetrics: they keep what a scrape would find."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.observability.engines import ask, running
from tests.observability.traffic import beat, request, rpc
from tests.support.wait import until

from dodai.engine.loopback_port import loopback_port
from dodai.observability.line_format import dump
from dodai.observability.openmetrics import sample, samples
from dodai.observability.policy import ExportSection, ObservabilityPolicy
from dodai.observability.rollup import Store
from dodai.observability.run import Watched, Watcher
from dodai.observability.run.export import Export
from dodai.observability.run.metrics import exposition
from dodai.providers.otlp import Otlp
from dodai.providers.telemetry.prometheus_api import Prometheus

ODD = 'GET /a"b\\c\nd,e="f"} 7\u2028'


def exported(labels: dict[str, str]) -> dict[str, str]:
    """What an engine calls the instance of a process, because an instance is what it got the sample from."""
    return {"exported_instance" if key == "instance" else key: said for key, said in labels.items()}


@contextmanager
def engine(name: str, folder: Path) -> Iterator[str]:
    port = loopback_port()
    (folder / "prometheus.yml").write_text("{}")
    words = {
        "prometheus": (
            "--config.file=prometheus.yml",
            f"--web.listen-address=127.0.0.1:{port}",
            "--storage.tsdb.path=data",
            "--web.enable-remote-write-receiver",
        ),
        "victoria-metrics": (
            "-storageDataPath=victoria",
            f"-httpListenAddr=127.0.0.1:{port}",
            "-search.latencyOffset=0s",
            "-search.disableCache",
        ),
    }
    url = f"http://127.0.0.1:{port}"
    with running(folder, name, *words[name]):
        until(lambda: ask(url, "query", query="1"), (folder / f"{name}.log").read_text)
        yield url


@pytest.mark.parametrize("name", ["prometheus", "victoria-metrics"])
def test_engine_keeps_what_was_written_to_it(name: str, tmp_path: Path):
    """Each sample of the exposition, an odd route's too, under the project's and the environment's name."""
    now, state = time.time(), tmp_path / "state"
    (state / "lines").mkdir(parents=True)
    rows = [request(now - 30, latencyMs=20.0 + n) for n in range(40)]
    rows += [beat(now - 10), rpc(now - 30, outcome="server_error"), request(now - 30, route=ODD[4:])]
    (state / "lines" / "web.jsonl").write_bytes(b"".join(dump(row) for row in rows))
    watched = Watched("quiz", "test", state, ObservabilityPolicy())
    watcher = Watcher(watched, {})
    watcher.read()
    watcher.store.close()
    with engine(name, tmp_path) as url:
        section = ExportSection(url, logs="", traces="", metrics="", remote_write="/api/v1/write", name="engine")
        export = Export(watched, section, Otlp(section))
        until(lambda: (export.once(), export._measured_s)[1], lambda: str(export.problem))
        assert export.problem is None
        store = Store(watched.path, writable=False)
        scraped = {
            (said, tuple(sorted(exported(labels).items()))): value for said, labels, value in samples(exposition(store))
        }
        store.close()

        def kept() -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
            found = ask(url, "query", query='{instance="quiz/test"}') or {"data": {"result": []}}
            ours = {}
            for row in found["data"]["result"]:
                labels = {
                    key: said for key, said in row["metric"].items() if key not in ("job", "instance", "__name__")
                }
                ours[row["metric"]["__name__"], tuple(sorted(labels.items()))] = float(row["value"][1])
            return ours

        until(lambda: kept().keys() >= scraped.keys(), lambda: str(scraped.keys() - kept().keys()))
        assert {key: value for key, value in kept().items() if key in scraped} == pytest.approx(scraped)
        assert any(("name", ODD) in labels for _, labels in kept())
        assert Prometheus(f'{url}?match=instance="quiz/test"').firing(time.time()) == []


def test_receiver_that_refuses_is_told(tmp_path: Path):
    """One without the feature answers 404; the page says since when."""
    (tmp_path / "state" / "lines").mkdir(parents=True)
    (tmp_path / "state" / "lines" / "web.jsonl").write_bytes(dump(request(time.time())))
    watched = Watched("quiz", "test", tmp_path / "state", ObservabilityPolicy())
    watcher = Watcher(watched, {})
    watcher.read()
    watcher.store.close()
    with engine("victoria-metrics", tmp_path) as url:
        section = ExportSection(url, logs="", traces="", metrics="", remote_write="/nowhere", name="engine")
        export = Export(watched, section, Otlp(section))
        until(lambda: (export.once(), export.problem)[1])
        assert export.problem is not None
        assert "export `engine` delivers nothing since" in export.problem.en


def test_samples_are_read_as_they_were_written():
    """Quotes, backslashes, line breaks and braces in a label."""
    labels = {"name": ODD, "kind": "http"}
    assert list(samples(sample("a_total", labels, 12345.5) + "\n# EOF\n")) == [("a_total", labels, 12345.5)]
