"""What a `fly.toml` says otherwise than the manifest, wherever it is and however it is called."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dodai.providers.fly.fly_toml import ToldService, toml_rows

WEB = {"web": ToldService("quiz-web", "/readyz", {"MODE": "live"})}
GOOD = 'app = "quiz-web"\n[env]\nMODE = "live"\nOTHER = "x"\n[[http_service.checks]]\npath = "/readyz"\n'
CASES = {
    "the same": (GOOD, "ok", "says nothing else than the manifest"),
    "no check": ('app = "quiz-web"\n', "warning", "no health check, and without one no release is deployed"),
    "another path": (GOOD.replace("/readyz", "/"), "warning", "asks `/` for health, the manifest `/readyz`"),
    "older form": (
        'app = "quiz-web"\n[[services]]\ninternal_port = 8080\n[[services.http_checks]]\npath = "/up"\n',
        "warning",
        "asks `/up` for health, the manifest `/readyz`",
    ),
    "of the machine": ('app = "quiz-web"\n[checks.alive]\ntype = "tcp"\n', "ok", "says nothing else"),
    "release command": (
        f'{GOOD}[deploy]\nrelease_command = "./migrate"\n',
        "warning",
        "`release_command` is `./migrate`, and dodai does not run it",
    ),
    "variables": (GOOD.replace("live", "test"), "warning", "other values than the manifest's for `MODE`"),
    "unexpected kinds": ('app = "quiz-web"\nenv = 1\nservices = "x"\ndeploy = []\n', "warning", "no health check"),
    "broken": ("app = ", "warning", "cannot be read"),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("name", ["fly.toml", "infra/fly/web.production.fly.toml", "deploy/fly.web.toml"])
def test_difference_between_the_file_and_the_manifest_is_told(tmp_path, case, name):
    """The file is where a project has it; what it says of things that only Fly knows is nobody's difference."""
    text, verdict, said = case
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    (row,) = toml_rows(tmp_path, WEB)
    assert row.verdict == verdict
    assert said in row.seen
    assert f"`{name}`" in row.seen


def test_file_of_another_app_or_of_an_installed_package_is_nobodys(tmp_path):
    """Staging has a file of its own, and a package may bring an example."""
    (tmp_path / "fly.staging.toml").write_text('app = "quiz-web-staging"\n')
    (tmp_path / "node_modules" / "x").mkdir(parents=True)
    (tmp_path / "node_modules" / "x" / "fly.toml").write_text('app = "quiz-web"\n')
    (tmp_path / "butterfly.toml").write_text('app = "quiz-web"\n')
    assert list(toml_rows(tmp_path, WEB)) == []


SCRAPED = f'{GOOD}[metrics]\nport = 9465\npath = "/-/dodai/metrics"\n'
METRIC_CASES = {
    "as served": (SCRAPED, "0.0.0.0:9465", "says nothing else"),
    "another port": (
        SCRAPED.replace("9465", "9091"),
        "0.0.0.0:9465",
        "`[metrics]` asks port `9091`, the manifest serves",
    ),
    "not served": (SCRAPED, "", "which `[observability] metrics` does not serve"),
    "not scraped": (GOOD, "0.0.0.0:9465", "no `[metrics]` with `port = 9465`"),
    "where Fly cannot ask": (SCRAPED, "127.0.0.1:9465", "where Fly cannot ask: serve at `0.0.0.0:9465`"),
    "of the application": (SCRAPED.replace("/-/dodai/", "/"), "", "says nothing else"),
}


@pytest.mark.parametrize(("text", "served", "said"), METRIC_CASES.values(), ids=METRIC_CASES)
def test_counters_are_scraped_where_they_are_served_or_it_is_told(tmp_path, text, served, said):
    """Without it somebody looks for counters at Fly, finds none, and takes that for no traffic."""
    (tmp_path / "fly.toml").write_text(text)
    (row,) = toml_rows(tmp_path, {"web": replace(WEB["web"], metrics=served)})
    assert said in row.seen
    assert row.verdict == ("ok" if "nothing else" in said else "warning")
