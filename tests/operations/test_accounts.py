"""Accounts at four vendors beside the manifest: what `dodai check --target` finds, and what it could not look at."""

from __future__ import annotations

import asyncio
import json
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from tests.support.command import dodai
from tests.support.fly_world import TOKEN, fly_world, served
from tests.support.quick_vendor import quick

from dodai.core.rule import evaluate
from dodai.operations.check import OriginsSeen, SecretStates
from dodai.operations.check.accounts import RULES
from dodai.operations.collector import facts_for
from dodai.providers.cloudflare.zone_state import PINNED
from dodai.providers.fly.machines_api import fly
from dodai.standins import ApiFault
from dodai.standins.authentik_standin import AuthentikStandIn
from dodai.standins.cloudflare_standin import CloudflareStandIn
from dodai.standins.neon_standin import NeonStandIn
from dodai.wiring import environments, fly_provider
from dodai.wiring.checks import facts
from dodai.wiring.find_project import find_project

BACK = "https://quiz.example.com/auth/callback"
MANIFEST = """[project]
name = "quiz"
[env.production]
compute = "fly"
edge = "cloudflare"
database = "neon"
identity = "authentik"
public_origins = ["https://quiz.example.com"]
fly = {{ apps = {{ web = "quiz-web" }} }}
neon = {{ project = "quiet-river-123456", role = "quiz_owner", database = "quiz", allowed_ips = ["203.0.113.7/32"] }}
cloudflare = {{ zone = "{zone}", origin = "quiz-web.fly.dev" }}
authentik = {{ url = "{authentik}", application = "quiz", redirect_uris = ["{back}"], blueprint = "quiz" }}
[service.web]
command = ["web"]
public = true
[database]
used_by = ["web"]
name = "quiz"
"""
NAMES = ("DODAI_CSRF_KEYS", "DODAI_LINE_KEYS", "DATABASE_URL")
LATER = (datetime.now(UTC) + timedelta(days=60)).isoformat().replace("+00:00", "Z")
ISSUED = {"source": "fly", "status": "active", "expires_at": LATER}
CERTIFICATE = {"configured": True, "status": "active", "certificates": [ISSUED]}
TODAY = datetime.now(UTC).date()
ALL = frozenset({"*"})


class Accounts:
    """The four stand-ins, made to agree with the manifest in `folder`."""

    def __init__(self, folder, world, neon, cloudflare, authentik):
        self.folder, self.world, self.neon = folder, world, neon
        self.cloudflare, self.authentik = cloudflare, authentik
        self.variables = {
            **world.variables,
            "NEON_API_KEY": "napi",
            "NEON_API_URL": neon.url,
            "CLOUDFLARE_API_TOKEN": "cf",
            "CLOUDFLARE_API_URL": cloudflare.url,
            "AUTHENTIK_TOKEN": "ak",
        }

    @property
    def project(self):
        return find_project(self.folder / "dodai.toml")

    def agree(self):
        """Everything as the manifest says; the zone by the driver itself, which is how it gets there."""
        self.neon.settings = {"allowed_ips": {"ips": ["203.0.113.7"], "protected_branches_only": True}}
        self.neon.named("main").protected = True
        self.authentik.client["redirect_uris"] = [{"matching_mode": "strict", "url": BACK}]
        self.authentik.shelf.add("quiz", status="successful")
        self.cloudflare.origin_pulls = True
        self.cloudflare.ranges = {"ipv4_cidrs": list(PINNED.ipv4_cidrs), "ipv6_cidrs": list(PINNED.ipv6_cidrs)}
        self.world.fly.certificates["quiz.example.com"] = dict(CERTIFICATE)

    def report(self, target="production"):
        gathering = facts(self.project, TODAY, target=target)
        seen = facts_for(RULES, gathering)
        assert OriginsSeen not in gathering.known
        assert SecretStates not in gathering.known
        return evaluate(RULES, seen, today=TODAY)


@pytest.fixture(scope="module")
def accounts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quiz")
    with (
        pytest.MonkeyPatch.context() as patch,
        fly_world(boot_s=0.0) as world,
        NeonStandIn({"napi": ALL}) as neon,
        CloudflareStandIn({"cf": ALL}) as cloudflare,
        AuthentikStandIn({"ak": ALL}) as authentik,
    ):
        made = Accounts(folder, world, neon, cloudflare, authentik)
        told = {"zone": cloudflare.zone, "authentik": authentik.url, "back": BACK}
        (folder / "dodai.toml").write_text(MANIFEST.format(**told))
        patch.setattr(fly_provider, "fly", lambda: quick(fly()))
        for name, value in made.variables.items():
            patch.setenv(name, value)
        world.fly.launch("quiz-web", world.image(folder, light=True), served(), ("nrt",))
        made.agree()
        here = environments.open(made.project, "production")
        asyncio.run(here.edge.apply(here.edge.spec()))
        world.fly.apps["quiz-web"].secrets = dict.fromkeys(_wanted(made), "value")
        yield made


def _wanted(accounts):
    """The names that the driver gives the service."""
    rows = [one for one in accounts.report().findings if one.code.id == "DOD521"]
    return [name for row in rows for name in row.message.split("`")[3::2]]


def found(report):
    return sorted((one.code.id, one.severity) for one in report.findings)


def test_accounts_as_the_manifest_says_are_judged_and_nothing_is_found(accounts):
    """Seven rules, none left unjudged, and how much was looked at is said for each account."""
    facts = accounts.report()
    assert found(facts) == []
    assert facts.unknown == ()
    assert len(facts.judged) == 7
    before = len(accounts.world.calls())
    accounts.report()
    assert len(accounts.world.calls()) == before
    assert all(one.method == "GET" for one in (*accounts.neon.exchanges, *accounts.authentik.exchanges))


@contextmanager
def changed(target, name, value):
    before = getattr(target, name)
    setattr(target, name, value)
    try:
        yield
    finally:
        setattr(target, name, before)


def machine(accounts):
    return accounts.world.fly.machines("quiz-web")[0]


DIFFERENCES = {
    "app gone": (lambda a: changed(a.world.fly, "apps", {}), "DOD520", "error", "app not found"),
    "no machine": (lambda a: changed(a.world.fly.apps["quiz-web"], "machines", {}), "DOD520", "error", "to clone"),
    "health check gone": (
        lambda a: changed(machine(a), "config", {**machine(a).config, "services": []}),
        "DOD520",
        "error",
        "no health check",
    ),
    "secret not set": (
        lambda a: changed(a.world.fly.apps["quiz-web"], "secrets", dict.fromkeys(NAMES[:1], "value")),
        "DOD521",
        "error",
        "`quiz-web` has no ",
    ),
    "secret of somebody": (
        lambda a: changed(a.world.fly.apps["quiz-web"], "secrets", {**a.world.fly.apps["quiz-web"].secrets, "X": "1"}),
        "DOD521",
        "warning",
        "`quiz-web` has `X`, not of the manifest",
    ),
    "secret changed by hand": (
        lambda a: changed(
            machine(a),
            "config",
            {**machine(a).config, "metadata": {"dodai_secrets": "DATABASE_URL:00000000"}},
        ),
        "DOD521",
        "error",
        "`DATABASE_URL` of `quiz-web` was set since",
    ),
    "certificate": (lambda a: changed(a.world.fly, "certificates", {}), "DOD522", "error", "Fly has none for"),
    "IP list open": (
        lambda a: changed(a.neon, "settings", {"allowed_ips": {"ips": ["203.0.113.7", "0.0.0.0/0"]}}),
        "DOD523",
        "error",
        "lets in `0.0.0.0/0` too",
    ),
    "IP list gone": (lambda a: changed(a.neon, "settings", {}), "DOD523", "error", "lacks `203.0.113.7/32`"),
    "IP list not of this branch": (
        lambda a: changed(a.neon.named("main"), "protected", False),
        "DOD523",
        "error",
        "holds for protected branches only",
    ),
    "branch gone": (lambda a: changed(a.neon.named("main"), "name", "trunk"), "DOD523", "error", "has no branch"),
    "role gone": (
        lambda a: changed(a.neon.named("main").server, "passwords", {}),
        "DOD523",
        "error",
        "no database `quiz` of a role `quiz_owner`",
    ),
    "compute disabled": (lambda a: changed(a.neon.named("main"), "disabled", True), "DOD523", "error", "is disabled"),
    "record not proxied": (
        lambda a: changed(a.cloudflare, "records", [{**a.cloudflare.records[0], "proxied": False}]),
        "DOD524",
        "error",
        "is not proxied",
    ),
    "TLS setting": (
        lambda a: changed(a.cloudflare, "settings", {**a.cloudflare.settings, "ssl": "flexible"}),
        "DOD524",
        "error",
        "`ssl` is `flexible`",
    ),
    "rules gone": (lambda a: changed(a.cloudflare, "rulesets", {}), "DOD524", "error", "`dodai_reserved` is missing"),
    "origin pulls off": (lambda a: changed(a.cloudflare, "origin_pulls", False), "DOD524", "warning", "origin pulls"),
    "redirect too many": (
        lambda a: changed(
            a.authentik,
            "client",
            {
                **a.authentik.client,
                "redirect_uris": [{"matching_mode": "strict", "url": url} for url in (BACK, "https://old.example/")],
            },
        ),
        "DOD525",
        "error",
        "people may be sent to `https://old.example/` too",
    ),
    "no provider": (lambda a: changed(a.authentik, "clients", {}), "DOD525", "error", "has no provider"),
    "blueprint failed": (
        lambda a: changed(a.authentik.shelf, "rows", {"quiz": {**a.authentik.shelf.rows["quiz"], "status": "error"}}),
        "DOD525",
        "error",
        "the blueprint `quiz` is error",
    ),
}


@pytest.mark.parametrize("case", DIFFERENCES.values(), ids=DIFFERENCES)
def test_each_difference_is_a_finding_under_the_code_of_its_account(accounts, case):
    """What somebody changed by hand is told with its value; the rest of the account is judged all the same."""
    damage, code, level, said = case
    with damage(accounts):
        report = accounts.report()
    mine = [one for one in report.findings if one.code.id == code]
    assert (code, level) in found(report), report.findings
    assert any(said in one.message for one in mine), mine
    assert report.unknown == ()


UNSEEN = {
    "fly": ("FLY_API_TOKEN", "fly", ("DOD520", "DOD521", "DOD522", "DOD526")),
    "neon": ("NEON_API_KEY", "neon", ("DOD523",)),
    "cloudflare": ("CLOUDFLARE_API_TOKEN", "cloudflare", ("DOD524",)),
    "authentik": ("AUTHENTIK_TOKEN", "authentik", ("DOD525",)),
}


@pytest.mark.parametrize("case", UNSEEN.values(), ids=UNSEEN)
@pytest.mark.parametrize("how", ["no token", "unknown token", "no permission"])
def test_account_that_cannot_be_looked_at_is_not_judged_and_never_ok(accounts, monkeypatch, case, how):
    """The other accounts are judged; this one is neither as the manifest says nor different from it."""
    variable, name, rules = case
    standin = accounts.world.fly if name == "fly" else getattr(accounts, name)
    if how == "no token":
        monkeypatch.setenv(variable, "")
    elif how == "unknown token":
        monkeypatch.setenv(variable, "of-nobody")
    else:
        standin.faults.add(ApiFault(kind="status", status=403, where="GET .*", times=1))
    report = accounts.report()
    standin.faults.clear()
    assert sorted({row.rule.code.id for row in report.unknown}) == sorted(rules)
    assert found(report) == []
    assert report.exit_code == 1
    assert all(row.reason for row in report.unknown)


def test_both_doors_say_the_same_in_the_same_words(accounts):
    """`doctor --live` shows every difference that `check --target` finds, with its code; both only read."""
    words = ("check", "operations", "--target", "production", "--json", "--select", "DOD52")
    with changed(accounts.cloudflare, "settings", {**accounts.cloudflare.settings, "ssl": "flexible"}):
        checked = dodai(*words, cwd=accounts.folder, **accounts.variables)
        seen = dodai("doctor", "production", "--live", "--json", cwd=accounts.folder, **accounts.variables)
    report = json.loads(checked.stdout)
    assert checked.returncode == 1
    assert [(one["code"], one["message"]) for one in report["findings"]] == [
        ("DOD524", "edge: `ssl` is `flexible`, not `strict`")
    ]
    rows = [row for row in json.loads(seen.stdout)["rows"] if row["code"]]
    assert [(row["code"], row["seen"]) for row in rows] == [("DOD524", "`ssl` is `flexible`, not `strict`")]
    assert any("`production` at cloudflare" in said and "1 not as" in said for said in report["seen"])
    assert TOKEN not in checked.stdout + seen.stdout


def test_environment_of_this_machine_has_no_account(accounts):
    """Its parts are looked at by other rules: these say that they do not apply, not that they are fine."""
    report = accounts.report("local")
    assert len(report.not_applicable) == 7
    assert report.judged == ()
