"""Alerts compiled for Prometheus, held to what the real promtool and the real Prometheus say of them."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard
from tests.observability.engines import ask, real, running
from tests.observability.receiver import Receiver
from tests.observability.shapes import BASE, DIFFERENTIAL, STEP_S, STEPS, Shape
from tests.observability.traffic import Simulation, request
from tests.quiz.stack import QUIZ
from tests.support.command import dodai
from tests.support.wait import until

from dodai.core.text import LANGS, Lang
from dodai.engine.loopback_port import loopback_port
from dodai.observability.alert import Alert, chosen, defaults
from dodai.observability.alert.prometheus import COMPILED, configuration, expected, promtool_tests, rules
from dodai.observability.line_format import dump
from dodai.observability.policy import ObservabilityPolicy
from dodai.observability.run import Watched, Watcher
from dodai.observability.run.grafana import dashboard
from dodai.observability.run.metrics import exposition
from dodai.observability.run.watch_page import PageServer

RUNBOOK = "docs/o.md"


def promtool(folder: Path, tests: dict[str, Any], alerts: list[Alert]) -> subprocess.CompletedProcess[str]:
    (folder / "rules.yml").write_text(json.dumps(rules(alerts, RUNBOOK)))
    (folder / "tests.yml").write_text(json.dumps(tests))
    argv = [real("promtool"), "test", "rules", "tests.yml"]
    return subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def test_rules_are_sound_and_their_own_tests_pass(tmp_path: Path):
    """Fires, is resolved, stays quiet with little traffic; and vmalert takes them."""
    done = promtool(tmp_path, promtool_tests(defaults(), "rules.yml", RUNBOOK), list(defaults()))
    assert done.returncode == 0, done.stdout + done.stderr
    checked = subprocess.run(
        [real("promtool"), "check", "rules", "rules.yml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr
    assert f"{len(defaults())} rules found" in checked.stdout
    argv = [real("vmalert"), "-dryRun", "-rule=rules.yml"]
    dry = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert dry.returncode == 0, dry.stderr


def test_generated_tests_bite(tmp_path: Path):
    """A threshold that nothing reaches, and one that everything does, are found by them."""
    for threshold in (2.0, -1.0):
        spoiled = [replace(alert, threshold=threshold, min_bad=0, min_count=0) for alert in defaults()]
        done = promtool(tmp_path, promtool_tests(defaults(), "rules.yml", RUNBOOK), spoiled)
        assert done.returncode == 1


def series(shape: Shape) -> Iterator[dict[str, str]]:
    """Its counters as promtool reads them."""
    for labelled, values in shape.totals():
        yield {"series": labelled, "values": " ".join(map(str, values))}


def test_evaluator_and_prometheus_agree_on_what_fires(tmp_path: Path):
    """Over two dozen shapes of traffic: the same alerts about the same things, and no others."""
    tests, fired = [], set()
    for seed in range(24):
        shape = Shape(seed, tmp_path / str(seed))
        asked = []
        for alert in DIFFERENTIAL:
            firing = [expected(alert, *about, RUNBOOK) for about in shape.breached(alert)]
            fired |= {(alert.name, bool(firing))}
            asked.append({"eval_time": f"{STEP_S * STEPS}s", "alertname": alert.name, "exp_alerts": firing})
        tests.append({"interval": f"{STEP_S}s", "input_series": list(series(shape)), "alert_rule_test": asked})
    file = {"rule_files": ["rules.yml"], "evaluation_interval": f"{STEP_S * STEPS}s", "tests": tests}
    done = promtool(tmp_path, file, list(DIFFERENTIAL))
    assert done.returncode == 0, done.stdout + done.stderr
    assert {(name, True) for name in ("http-error-surge", "http-latency", "rpc-error-surge", "route-errors")} <= fired
    assert {(name, False) for name in ("http-error-surge", "http-latency", "rpc-error-surge", "route-errors")} <= fired


def test_export_prints_what_prometheus_loads(tmp_path: Path):
    """JSON, which is YAML; the tests beside the rules."""
    manifest = tmp_path / "dodai.toml"
    manifest.write_text('[project]\nname = "quiz"\n')
    for form in ("prometheus", "promtool"):
        done = dodai("alerts", "export", form, "--manifest", str(manifest))
        assert done.returncode == 0, done.stderr
        (tmp_path / ("dodai-rules.yml" if form == "prometheus" else "tests.yml")).write_text(done.stdout)
    argv = [real("promtool"), "test", "rules", "tests.yml"]
    assert subprocess.run(argv, cwd=tmp_path, capture_output=True, check=False).returncode == 0


@contextmanager
def prometheus(folder: Path, target: str, alerts: list[Alert], webhook: str) -> Iterator[str]:
    """The real one, scraping `target` every half second, and the real Alertmanager, which tells `webhook`."""
    port, manager = loopback_port(), loopback_port()
    (folder / "rules.yml").write_text(json.dumps(rules(alerts, RUNBOOK)))
    (folder / "alertmanager.yml").write_text(json.dumps(configuration(alerts, [webhook])))
    scrape = {"job_name": "dodai", "static_configs": [{"targets": [target]}]}
    settings = {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"}
    managers = {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{manager}"]}]}]}
    config = {"global": settings, "rule_files": ["rules.yml"], "scrape_configs": [scrape], "alerting": managers}
    (folder / "prometheus.yml").write_text(json.dumps(config))
    words = ("--config.file=prometheus.yml", f"--web.listen-address=127.0.0.1:{port}", "--storage.tsdb.path=data")
    with (
        running(folder, "prometheus-alertmanager", "--config.file=alertmanager.yml", "--storage.path=am",
                f"--web.listen-address=127.0.0.1:{manager}", "--cluster.listen-address="),
        running(folder, "prometheus", *words),
    ):  # fmt: skip
        yield f"http://127.0.0.1:{port}"


def test_fault_reaches_a_webhook_once_through_the_real_prometheus_and_alertmanager(tmp_path: Path):
    """On their own clocks, as the embedded evaluator fires it; and every panel of Grafana's dashboard is answered."""
    journeys = {"Front page": ("GET /",)}
    watched = Watched(
        "quiz", "test", tmp_path / "state", ObservabilityPolicy(), journeys=journeys, public="web", fast=True
    )
    watcher, receiver = Watcher(watched, {}), Receiver()
    folder = tmp_path / "state" / "lines"
    folder.mkdir(parents=True)
    file = (folder / "web.jsonl").open("ab", buffering=0)
    with (
        PageServer(watched, ("127.0.0.1", 0), "", tuple) as page,
        prometheus(tmp_path, f"127.0.0.1:{page.port}", list(watched.alerts), receiver.url) as url,
        file,
    ):

        def live(outcome: str) -> None:
            now = time.time()
            for number in range(5):
                calls = f"backend 1 {int(outcome != 'ok')} 3.0"
                file.write(dump(request(now + number / 100, outcome=outcome, calls=calls)))
            watcher.tick()
            time.sleep(0.2)

        def scraped() -> bool:
            live("ok")
            found = ask(url, "query", query="dodai_requests_total > 20")
            return bool(found and found["data"]["result"])

        def told() -> bool:
            live("server_error")
            own = {one.name for one in watcher.history.open() if one.fired_s}
            names = {body["groupLabels"]["alertname"] for body in list(receiver.bodies)}
            return "http-error-surge" in own and bool(names)

        def log() -> str:
            return "".join(each.read_text()[-1500:] for each in tmp_path.glob("*.log"))

        until(scraped, log)
        began = time.monotonic()
        until(told, log)
        print(f"fault to webhook by Prometheus and Alertmanager: {time.monotonic() - began:.1f} s")
        for _ in range(20):
            live("server_error")
        told_of = [body["groupLabels"]["alertname"] for body in receiver.bodies]
        silent = {"slo-fast-burn", "sustained-errors", "slo-slow-burn", "route-errors"} & set(told_of)
        assert not silent, told_of  # one outage: what is explained is inhibited
        panels = dashboard(watched, "en")["panels"]
        queries = [target["expr"].replace("$__rate_interval", "10s") for one in panels for target in one["targets"]]
        empty = [query for query in queries if not answered(url, query)]
        assert all('kind="rpc"' in one or 'kind="task"' in one or "lag" in one or "flight" in one for one in empty), (
            empty
        )
    receiver.server.shutdown()
    receiver.server.server_close()


def answered(url: str, query: str) -> bool:
    """Whether Prometheus understands a query and has something for it."""
    found = ask(url, "query", query=query)
    assert found is not None
    assert found["status"] == "success", (query, found)
    return bool(found["data"]["result"])


def test_alertmanager_takes_what_is_exported_for_it(tmp_path: Path):
    """By its own `amtool`."""
    done = dodai("alerts", "export", "alertmanager", "--manifest", str(QUIZ / "dodai.toml"))
    assert done.returncode == 0, done.stderr
    (tmp_path / "alertmanager.yml").write_text(done.stdout)
    checked = subprocess.run([real("amtool"), "check-config", "alertmanager.yml"], cwd=tmp_path, capture_output=True, text=True, check=False)  # fmt: skip
    assert checked.returncode == 0, checked.stderr
    assert "10 inhibit rules" in checked.stdout


@pytest.mark.parametrize("lang", LANGS)
def test_dashboard_is_what_grafanas_own_types_say(tmp_path: Path, lang: Lang):
    """Read and written again by Grafana's SDK, nothing is lost; two keys are those of its Prometheus plugin."""
    journeys = {"Answer": ("POST /questions/3/answer", "GET /next?page=1")}
    watched = Watched("quiz", "test", tmp_path, ObservabilityPolicy(), journeys=journeys, public="web")
    made = dashboard(watched, lang)
    back = json.loads(JSONEncoder(sort_keys=True).encode(Dashboard.from_json(made)))
    for annotation in made["annotations"]["list"]:
        del annotation["useValueForTime"], annotation["titleFormat"]
    assert list(lost(made, back, "dashboard")) == []
    places = [(one["gridPos"]["x"], one["gridPos"]["y"]) for one in made["panels"]]
    assert len(places) == len(set(places))


def lost(made: Any, back: Any, where: str) -> Iterator[str]:
    """Where `back` lacks or changes what `made` has."""
    if isinstance(made, dict):
        for name, value in made.items():
            yield from lost(value, back.get(name) if isinstance(back, dict) else None, f"{where}.{name}")
    elif isinstance(made, list):
        for at, value in enumerate(made):
            yield from lost(value, back[at] if isinstance(back, list) and at < len(back) else None, f"{where}[{at}]")
    elif made != back:
        yield f"{where}: {made!r} became {back!r}"


def test_exposition_counts_exactly_and_escapes_names(tmp_path: Path):
    """Counters since the beginning, whatever was pruned; labels are text of others."""
    world = Simulation(tmp_path)
    for number in range(30):
        line = request(BASE + number, route='/"\\', outcome="server_error" if number % 3 == 0 else "ok", poolWaitMs=2.0)
        world.watcher.tally.add(dump(line), BASE + number, live=True)
    world.watcher.store.keep(world.watcher.tally.take(), {}, BASE)
    world.watcher.store.prune(BASE + 90 * 86400)
    text = exposition(world.watcher.store, (1000.0,))
    labels = r'{kind="http",service="web",name="GET /\"\\"}'
    assert f"dodai_requests_total{labels} 30" in text
    assert f"dodai_request_errors_total{labels} 10" in text
    assert f"dodai_pool_wait_seconds_total{labels} 0.06" in text
    assert f"dodai_request_duration_seconds_count{labels} 30" in text
    assert text.endswith("# EOF\n")
    assert chosen({}) == defaults()
    assert {alert.measure for alert in defaults()} > COMPILED
