"""The rules: each fires on its bad example, is silent on its good one, and turns the gate red."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from tests.csrf.templates import scan as scan_templates

from dodai.core.errors import CodeRegistry
from dodai.core.fact import Unknown
from dodai.core.manifest import Manifest, ManifestProblems, read
from dodai.core.rule import evaluate
from dodai.csrf import codes
from dodai.csrf.check import RULES
from dodai.csrf.form_table import FormTable
from dodai.csrf.form_verdict import FormRow
from dodai.csrf.policy import CsrfPolicy
from dodai.csrf.route_table import RouteTable, TierFlaws, build_table
from dodai.csrf.route_verdict import judge_route
from dodai.runtime.manifest_location import reference

BASE = '[project]\nname = "shop"\n'
GOOD_SESSION = {"httpsOnly": True, "sameSite": "lax", "secretLength": 64, "secretVariety": 30}


def manifest(text: str = "") -> Manifest:
    return read((BASE + text).encode(), reference(), path="dodai.toml")


def with_environment(*, trusted: str = "", **row: Any) -> Manifest:
    given = manifest(f'[csrf]\ntrusted_origins = ["{trusted}"]\n') if trusted else manifest()
    return Manifest({**given.data, "env": {"production": row}}, given.text)


def probe(status: int = 403, *, by: str = "dodai", reached: bool = False, error: str = "") -> dict[str, Any]:
    return {"status": status, "by": by, "reached": reached, "error": error, "code": "", "requestId": "0" * 32}


REFUSED = {name: probe() for name in ("missing", "tampered", "foreign", "expired", "cross_site")}
VALID = {"valid": probe(204, by="", reached=True)}


def raw(path: str = "/save", method: str = "POST", **more: Any) -> dict[str, Any]:
    row = {"method": method, "path": path, "host": "", "framework": "starlette", "kind": "handler", "guard": ""}
    row |= {"endpoint": "web.save", "source": "/repo/web/app.py", "line": 7, "probes": {**REFUSED, **VALID}}
    return row | more


def table(
    *rows: dict[str, Any], policy: CsrfPolicy | None = None, session: Any = None, today="2026-11-23"
) -> RouteTable:
    answer = {"framework": "starlette", "routes": list(rows), "session": session}
    return build_table(answer, policy=policy or CsrfPolicy(), service="web", root="/repo", today=today)


def found(given: Manifest, routes: Any, forms: FormTable | None = None) -> list[str]:
    facts = {Manifest: given, RouteTable: routes, FormTable: forms or FormTable(()), TierFlaws: TierFlaws()}
    return sorted(finding.code.id for finding in evaluate(RULES, facts, today=date(2026, 11, 23)).findings)


def test_sound_project_has_no_finding():
    """Everything protected, an exemption that is complete, strong cookies."""
    text = '[[csrf.exemption]]\nroute = "POST /hook"\nreason = "no cookies"\nowner = "team"\ncontrol = "signature"\nexpires = "2099-01-31"\n'
    given = manifest(text)
    policy = CsrfPolicy.from_manifest(given.data["csrf"])
    routes = table(
        raw(), raw("/hook", probes={"missing": probe(204, by="", reached=True)}), policy=policy, session=GOOD_SESSION
    )
    assert found(given, routes) == []
    assert routes.summary.coverage == 1.0


@pytest.mark.parametrize(
    ("routes", "expected"),
    [
        (table(raw(probes={**REFUSED, "missing": probe(204, by="", reached=True)})), ["DOD101"]),
        (table(raw(kind="opaque", method="*", probes={})), ["DOD103"]),
        (table(raw(probes=REFUSED)), ["DOD103"]),
        (table(raw(), raw("/logout", "GET")), ["DOD114"]),
        (table(raw(), raw("/page", "GET", endpoint="web.delete_all")), ["DOD114"]),
        (table(raw("/page", "GET", endpoint="web.page")), ["DOD115"]),
        (table(), ["DOD115"]),
        (table(raw(), session=GOOD_SESSION | {"httpsOnly": False}), ["DOD109"]),
        (table(raw(), session=GOOD_SESSION | {"sameSite": "none"}), ["DOD109"]),
        (table(raw(), session=GOOD_SESSION | {"secretLength": 9}), ["DOD111"]),
        (table(raw(), session=GOOD_SESSION | {"secretVariety": 2}), ["DOD111"]),
    ],
)
def test_route_rules(routes, expected):
    """One fault, one finding."""
    assert found(manifest(), routes) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            'reason = "no cookies"\nowner = "team"\ncontrol = "signature"\nexpires = "2026-11-22"\n',
            ["DOD101", "DOD105"],
        ),
        ('reason = "no cookies"\nowner = "team"\ncontrol = "signature"\nexpires = "2026-11-23"\n', ["DOD116"]),
        ('reason = "no cookies"\nowner = "team"\ncontrol = "signature"\nexpires = "2026-12-07"\n', ["DOD116"]),
        ('reason = "no cookies"\nowner = "team"\ncontrol = "signature"\nexpires = "2026-12-08"\n', []),
        ('reason = "no cookies"\nowner = "team"\n', ["DOD106"]),
        ('reason = "no cookies"\ncontrol = "signature"\n', ["DOD106"]),
        ('reason = " "\ncontrol = "signature"\nowner = "team"\n', ["DOD106"]),
    ],
)
def test_exemption_rules(text, expected):
    """An exemption that is over, incomplete or about to end; one that is over counts as unprotected again."""
    given = manifest(f'[[csrf.exemption]]\nroute = "POST /hook"\n{text}')
    policy = CsrfPolicy.from_manifest(given.data["csrf"])
    open_route = raw("/hook", probes={"missing": probe(204, by="", reached=True)})
    assert found(given, table(raw(), open_route, policy=policy)) == expected


@pytest.mark.parametrize(
    "no_day",
    [
        "never",
        "soon",
        "31.12.2027",
        "2026-9-1",
        "2027/12/31",
        "2027-13-01",
        "2027-02-31",
        "99999",
        " 2027-12-31",
        "٢٠٢٧-12-31",
    ],
)
@pytest.mark.parametrize("row", ['[[csrf.exemption]]\nroute = "POST /hook"', '[[csrf.outer]]\nlayer = "web.Hooks"'])
def test_end_that_is_no_day_is_refused_when_the_manifest_is_read(no_day, row):
    """It could not be compared with a day: a service that reads it does not start, and hears where it stands."""
    with pytest.raises(ManifestProblems) as caught:
        manifest(f'{row}\nreason = "r"\nowner = "team"\ncontrol = "c"\nexpires = "{no_day}"\n')
    (problem,) = caught.value.findings
    assert (problem.code.id, str(problem.place).rpartition(":")[0]) == ("DOD003", "dodai.toml:8")
    assert 'a day such as "2027-03-31"' in problem.advice


@pytest.mark.parametrize(
    ("line", "nearest"),
    [
        ('route = "* /hook"', 'one method, such as "POST /hook"'),
        ('routes = ["POST /a", "* /hook"]', 'one method, such as "POST /hook"'),
        ('route = "POST /*"', 'each route that is meant, such as "POST /webhooks/grade"'),
        ('route = "* /*"', 'each route that is meant, such as "POST /webhooks/grade"'),
        ('route = "* /api/*"\nwhen = "always"', 'one method, such as "POST /api/*"'),
        ('route = "post /hook"', 'such as "POST /hook"'),
        ('routes = ["Post /hook"]', 'such as "POST /hook"'),
        ('route = "/hook"', 'such as "POST /hook"'),
        ('route = "POST"', 'such as "POST /webhooks/grade"'),
        ('route = " POST /hook"', 'such as "POST /hook"'),
    ],
)
def test_route_that_cannot_hold_is_refused_when_the_manifest_is_read(line, nearest):
    """An exemption that is read and never holds is one that somebody believes in."""
    with pytest.raises(ManifestProblems) as caught:
        manifest(f'[[csrf.exemption]]\n{line}\nreason = "r"\nowner = "team"\ncontrol = "c"\n')
    (problem,) = caught.value.findings
    assert (problem.code.id, str(problem.place).rpartition(":")[0]) == ("DOD003", "dodai.toml:4")
    assert nearest in problem.advice


@pytest.mark.parametrize(
    "line",
    [
        'route = "POST /x/(?P<a>.*)"',
        'route = "POST hooks.example.com/grade"',
        'route = "POST /webhook/*"',
        'route = "M-SEARCH /x"',
        'route = "* /api/*"\nwhen = "bearer"',
        'routes = ["POST /*"]\nwhen = "bearer"',
        'expires = "2028-02-29"\nroute = "WEBSOCKET /live"',
    ],
)
def test_route_as_it_is_printed_is_read(line):
    """Whatever a framework calls its routes; `*` only where no page can make a browser send the request."""
    manifest(f'[[csrf.exemption]]\n{line}\nreason = "r"\nowner = "team"\ncontrol = "c"\n')


@pytest.mark.parametrize(
    ("static", "path", "source", "expected"),
    [
        ("/*", "/me", "/repo/web/app.py", ["DOD112"]),
        ("/static/*", "/static/form", "/repo/web/app.py", ["DOD112"]),
        ("/static/*", "/me", "/repo/web/app.py", []),
        ("/static/*", "/static/<path:name>", "/usr/lib/python3/flask/app.py", []),
    ],
)
def test_page_below_a_path_that_is_cached_for_all(static, path, source, expected):
    """A page of the project's own; what a framework's file server delivers there is meant to be kept."""
    given = manifest(f'[edge]\nstatic = ["{static}"]\n')
    assert found(given, table(raw(), raw(path, "GET", source=source, endpoint="web.page"))) == expected


def test_exemption_or_limit_of_a_route_that_does_not_exist():
    """A renamed route loses its exemption loudly."""
    text = '[[csrf.exemption]]\nroute = "POST /hook/*"\nreason = "r"\nowner = "o"\ncontrol = "c"\n'
    text += '[[csrf.limit]]\nroute = "POST /gone"\nsize = "1KiB"\n'
    assert found(manifest(text), table(raw())) == ["DOD107", "DOD107"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (with_environment(provider="fly"), ["DOD110"]),
        (with_environment(provider="fly", public_origins=("https://app.example.com",)), []),
        (with_environment(provider="fly", public_origins=("https://app.example.com/",)), ["DOD110"]),
        (with_environment(provider="fly", public_origins=("http://app.example.com",)), ["DOD109"]),
        (with_environment(edge="fly"), ["DOD110"]),
        (with_environment(provider="local"), []),
        (with_environment(provider="local", public_origins=("http://localhost:8000",)), []),
        (manifest('[csrf]\ntrusted_origins = ["https://admin.example.com/"]\n'), ["DOD110"]),
        (manifest('[csrf]\ntrusted_origins = ["capacitor://localhost"]\n'), []),
        (manifest('[csrf]\ntrusted_origins = ["file://localhost"]\n'), ["DOD110"]),
        (manifest('[csrf]\ntrusted_origins = ["https://*.example.com"]\n'), ["DOD110"]),
        (manifest('[csrf]\ntrusted_origins = ["https://*"]\n'), ["DOD110"]),
        (
            with_environment(provider="fly", public_origins=("https://example.com",), trusted="https://*.example.com"),
            [],
        ),
        (
            with_environment(provider="fly", public_origins=("https://a.github.io",), trusted="https://*.github.io"),
            ["DOD110"],
        ),
    ],
)
def test_origin_rules(given, expected):
    """Production says where it is reached; local environments are told by their Host."""
    assert found(given, table(raw())) == expected


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("<form method=post></form>", ["DOD102"]),
        ("<form method='{{ m }}'></form>", ["DOD104"]),
        ("<form method=post>{{ csrf_field() }}</form>", []),
        ('<a href="/x?{{ csrf_token() }}">x</a>', ["DOD108"]),
        ('<meta name="referrer" content="no-referrer">', ["DOD113"]),
    ],
)
def test_form_rules(template, expected):
    """A field removed from any one form is found."""
    assert found(manifest(), table(raw()), scan_templates({"a.html": template}, CsrfPolicy())) == expected


@pytest.mark.parametrize(
    ("path", "kind", "action", "said", "fix"),
    [
        ("a.html", "form", "/x", "form `POST /x`", "{{ csrf_field() }}"),
        ("new.tsx", "form", "", "form `POST`", "{...csrf}"),
        ("new.tsx", "fetch", "/x", "fetch `POST /x`", "`x-csrf-token`"),
        ("a.html", "fetch", "", "fetch `POST`", "`x-csrf-token`"),
    ],
)
def test_fix_of_a_form_is_one_for_its_language(path, kind, action, said, fix):
    """A Jinja field in a TSX file would be text on the page."""
    row = FormRow(path, 3, kind, "POST", action, "unprotected", "no field `csrf_token`")
    facts = {Manifest: manifest(), RouteTable: table(raw()), FormTable: FormTable((row,)), TierFlaws: TierFlaws()}
    (finding,) = evaluate(RULES, facts, today=date(2026, 11, 23)).findings
    assert finding.message == f"{said}: no field `csrf_token`"
    assert fix in finding.advice


def test_routes_that_could_not_be_gathered_are_never_a_pass():
    """An import error leaves the report undecided."""
    report = evaluate(
        RULES,
        {Manifest: manifest(), RouteTable: Unknown("no"), FormTable: FormTable(()), TierFlaws: Unknown("no")},
        today=date(2026, 11, 23),
    )
    assert not report.ok
    assert {undecided.reason for undecided in report.unknown} == {"no"}


def test_finding_says_where_and_what_to_do():
    """Place, evidence, fix and reason stand in the finding itself."""
    routes = table(raw(probes={**REFUSED, "missing": probe(204, by="", reached=True)}))
    facts = {Manifest: manifest(), RouteTable: routes, FormTable: FormTable(())}
    finding = evaluate(RULES, facts, today=date(2026, 11, 23)).findings[0]
    assert str(finding.place) == "web/app.py:7"
    assert finding.message == "`POST /save`: a missing request reached the handler"
    assert "dodai.asgi.wrap" in finding.advice
    assert finding.harm


@pytest.mark.parametrize(
    ("probes", "guard", "expected"),
    [
        ({**REFUSED, **VALID}, "", ("protected", "dodai")),
        ({**REFUSED, "valid": probe(302, by="")}, "", ("protected", "dodai")),
        ({**REFUSED, "valid": probe(404, by="")}, "", ("unknown", "dodai")),
        ({**REFUSED, "valid": probe(500, by="", error="KeyError")}, "", ("unknown", "dodai")),
        ({**REFUSED, "valid": probe()}, "", ("unknown", "dodai")),
        (REFUSED, "", ("unknown", "dodai")),
        ({}, "", ("unknown", "")),
        ({**REFUSED, "cross_site": probe(401, by="")}, "", ("unknown", "")),
        ({**REFUSED, "cross_site": probe(400, by="flask-wtf")}, "", ("unknown", "")),
        ({**REFUSED, **VALID, "expired": probe(204, by="", reached=True)}, "", ("unprotected", "")),
        ({**REFUSED, **VALID, "expired": probe(204, by="", reached=True)}, "app.verify_csrf", ("unknown", "")),
        ({name: probe(by="django") for name in REFUSED} | VALID, "", ("protected", "django")),
    ],
)
def test_verdict_of_a_route(probes, guard, expected):
    """Protected needs every hostile request refused by one known check, and a valid one that gets through."""
    found = judge_route(raw(probes=probes, guard=guard))
    assert (found.verdict, found.by) == expected


@pytest.mark.parametrize("mode", ["either", "header"])
def test_modes_without_token_need_only_the_cross_site_refusal(mode):
    """In these modes a same-origin request without token is legitimate."""
    probes = {**{name: probe(204, by="", reached=True) for name in REFUSED}, **VALID, "cross_site": probe()}
    assert judge_route(raw(probes=probes), CsrfPolicy(mode=mode)).verdict == "protected"


def test_summary_counts_unknown_as_unprotected_and_0_of_0_as_nothing():
    """Coverage is protected / (state-changing - exempt)."""
    routes = table(
        raw("/a"),
        raw("/b"),
        raw("/c", kind="opaque", method="*", probes={}),
        raw("/d", probes={"missing": probe(200, by="", reached=True)}),
    )
    assert routes.summary.as_json() == {
        "stateChanging": 4,
        "protected": 2,
        "exempt": 0,
        "unprotected": 1,
        "unknown": 1,
        "coverage": 0.5,
    }
    assert table().summary.coverage is None


def test_codes_are_one_space_and_both_languages_speak():
    """No code stands twice, every text exists in English and Japanese."""
    registry = CodeRegistry(codes.CODES)
    for code in registry.values():
        assert code.area == "csrf"
        for text in (code.what, code.why, code.fix):
            assert text.en.strip()
            assert text.ja != text.en
    assert {rule.code.id for rule in RULES} <= set(registry)


def test_routes_that_the_source_exempts_are_one_finding_with_its_block():
    """Twelve views marked `csrf_exempt` need one exemption, not twelve findings; others stay findings of their own."""
    reached = {"missing": probe(204, by="", reached=True)}
    rows = [raw(f"/hook/{n}", probes=reached, exemptBy="csrf_exempt", kind="any") for n in range(12)]
    rows += [row | {"method": "PUT"} for row in rows]
    facts = {
        Manifest: manifest(),
        RouteTable: table(raw(), raw("/open", probes=reached), *rows),
        FormTable: FormTable(()),
    }
    found = evaluate(RULES, {**facts, TierFlaws: TierFlaws()}, today=date(2026, 11, 23)).findings
    block, plain = sorted(found, key=lambda finding: "`csrf_exempt`" not in finding.message)
    assert block.message.startswith("`csrf_exempt` takes 12 routes out of the framework's check: `* /hook/0`, ")
    assert block.data["routes"][:2] == ["POST /hook/0", "PUT /hook/0"]
    assert '`routes = ["POST /hook/0", "PUT /hook/0", ' in block.advice
    assert plain.message.startswith("`POST /open`")


def test_handler_that_takes_any_method_is_one_row_unless_an_exemption_tells_them_apart():
    """938 rows for 86 paths told nobody anything; what differs is still shown."""
    rows = [raw("/any", method, kind="any") for method in ("POST", "PUT", "PATCH", "DELETE")]
    (row,) = table(*rows).state_changing
    assert (row.id, row.methods, row.ids[1]) == ("* /any", ("DELETE", "PATCH", "POST", "PUT"), "DELETE /any")
    policy = CsrfPolicy.from_manifest(manifest('[[csrf.exemption]]\nroute = "POST /any"\nreason = "r"\n').data["csrf"])
    rows[0] = raw("/any", "POST", kind="any", probes={"missing": probe(204, by="", reached=True)})
    assert [(row.id, row.verdict) for row in table(*rows, policy=policy).state_changing] == [
        ("* /any", "protected"),
        ("POST /any", "exempt"),
    ]


TWO = '[service.web]\ncommand = ["a"]\n[service.admin]\ncommand = ["b"]\n'
HOOK = '[[csrf.exemption]]\nroute = "POST /hook"\nreason = "r"\nowner = "o"\ncontrol = "c"\n'


@pytest.mark.parametrize(
    ("services", "named", "expected"),
    [
        (TWO, "", ["DOD189"]),
        (TWO, 'service = "web"\n', []),
        (TWO, 'service = "admin"\n', ["DOD107"]),
        (TWO.replace('"b"]', '"b"]\nprotocol = "grpc"'), "", []),
        (TWO.replace('"b"]', '"b"]\nkind = "worker"'), "", []),
        (TWO.replace('"b"]', '"b"]\ncsrf = "off"\ncsrf_reason = "inside"'), "", []),
        (TWO.partition("[service.admin]")[0], "", []),
        ("", "", []),
    ],
)
def test_exemption_is_of_one_service(services, named, expected):
    """It has to say which where several are checked, and that one has to have the route."""
    rows = table(raw(), raw("/hook"))
    rows = replace(rows, rows=tuple(replace(row, service="web") for row in rows.rows))
    assert found(manifest(services + HOOK + named), rows) == expected


def test_exemption_of_a_service_that_is_not_there_is_refused_with_the_manifest():
    """As every name of a table is."""
    with pytest.raises(ManifestProblems) as caught:
        manifest(TWO + HOOK + 'service = "wbe"\n')
    assert "`csrf.exemption.0.service` names `wbe`" in str(caught.value)
