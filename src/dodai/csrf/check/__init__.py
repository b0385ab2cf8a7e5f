"""The rules of CSRF protection, over the routes, the forms and the manifest."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, timedelta
from urllib.parse import urlsplit

from dodai.core.errors import Code, DodaiError
from dodai.core.finding import Finding, Place
from dodai.core.manifest import Manifest
from dodai.core.rule import declared, rule
from dodai.csrf import codes
from dodai.csrf.decision import SAFE_METHODS, configure_origins, parse_origin
from dodai.csrf.form_table import FormTable
from dodai.csrf.form_verdict import FormRow
from dodai.csrf.policy import CsrfPolicy, Exemption, nobodys
from dodai.csrf.route_table import RouteRow, RouteTable, TierFlaws
from dodai.csrf.route_verdict import RouteVerdict

SOON = timedelta(days=14)
_MUTATION = re.compile(
    r"(^|[/_.-])(delete|remove|destroy|create|update|save|logout|log-out|sign-?out|approve|cancel|purge|reset)([/_.-]|$)",
    re.IGNORECASE,
)
_SECRET_LENGTH, _SECRET_VARIETY = 32, 10


@rule(codes.UNPROTECTED_ROUTE, needs=(RouteTable,))
def every_route_is_protected(table: RouteTable) -> Iterator[Finding]:
    told = [row for row in table.state_changing if row.verdict == "unprotected" and row.exempt_by]
    yield from _rows(table, "unprotected", codes.UNPROTECTED_ROUTE, besides=told)
    for name in dict.fromkeys(row.exempt_by for row in told):
        yield _told_to_leave_out(name, [row for row in told if row.exempt_by == name])


@rule(codes.UNKNOWN_ROUTE, needs=(RouteTable,))
def every_route_is_proven(table: RouteTable) -> Iterator[Finding]:
    yield from _rows(table, "unknown", codes.UNKNOWN_ROUTE)


@rule(codes.NOTHING_TO_PROTECT, needs=(RouteTable,))
def something_is_audited(table: RouteTable) -> Iterator[Finding]:
    if not table.state_changing and not table.gaps:
        said = f"service `{table.service}` has no state-changing route: 0 of 0 proves nothing"
        yield Finding(codes.NOTHING_TO_PROTECT, said)


@rule(codes.GET_CHANGES_STATE, needs=(RouteTable,))
def get_changes_nothing(table: RouteTable) -> Iterator[Finding]:
    handled: dict[tuple[str, str], set[str]] = {}
    for row in table.rows:
        handled.setdefault((row.path, row.endpoint), set()).update(row.methods or (row.method,))
    for row in table.rows:
        name, methods = row.endpoint.rpartition(".")[2], handled[row.path, row.endpoint]
        if row.state_changing or (row.method != "GET" and ("GET" in methods or not _is_ours(row))):
            continue  # HEAD and OPTIONS beside a GET are the framework's own
        if row.method == "HEAD" and not methods <= SAFE_METHODS:
            said = f"`{row.id}` runs `{name}`, which other methods change state with"
        elif row.method != "GET" and not methods <= SAFE_METHODS:
            continue
        elif _MUTATION.search(row.path) or _MUTATION.search(name):
            said = f"`{row.id}` (`{name}`) is named like something that changes state"
        elif row.writes and methods <= SAFE_METHODS:
            said = f"`{row.id}` (`{name}`) calls `{row.writes}`, which changes something stored"
        else:
            continue
        yield Finding(codes.GET_CHANGES_STATE, said, _place(row))


@rule(codes.VULNERABLE_VERSION, needs=(TierFlaws,))
def no_version_has_a_known_hole(found: TierFlaws) -> Iterator[Finding]:
    return _flaws(found, "vulnerable-version", codes.VULNERABLE_VERSION)


@rule(codes.OWN_CHECK_BEHIND_PROXY, needs=(TierFlaws,))
def the_frameworks_own_check_lets_forms_through(found: TierFlaws) -> Iterator[Finding]:
    return _flaws(found, "own-check-behind-proxy", codes.OWN_CHECK_BEHIND_PROXY)


@rule(codes.OWN_CHECK_OFF, needs=(TierFlaws,))
def the_frameworks_own_check_is_replaced(found: TierFlaws) -> Iterator[Finding]:
    return _flaws(found, "own-check-off", codes.OWN_CHECK_OFF)


@rule(codes.LOADER_CHANGES_STATE, needs=(TierFlaws,))
def no_loader_changes_state(found: TierFlaws) -> Iterator[Finding]:
    return _flaws(found, "loader-changes-state", codes.LOADER_CHANGES_STATE)


@rule(codes.SECRET_FALLBACK, needs=(TierFlaws,))
def no_secret_stands_in_the_source(found: TierFlaws) -> Iterator[Finding]:
    return _flaws(found, "secret-fallback", codes.SECRET_FALLBACK)


@rule(codes.UNPROTECTED_FORM, needs=(FormTable,))
def every_form_carries_a_token(table: FormTable) -> Iterator[Finding]:
    for row in table.rows:
        if row.verdict == "unprotected":
            said = f"{row.kind} {row.sends}: {row.evidence}"
            yield Finding(codes.UNPROTECTED_FORM, said, Place(row.path, row.line), row.quote, _way_to_send_it(row))


def _way_to_send_it(row: FormRow) -> str:
    """What carries the token there; empty for a form of a template, which the code's page tells."""
    if row.kind not in ("form", "htmx", "turbo"):
        return "send the token in the header that `[csrf] header` names (`x-csrf-token`)"
    if row.path.endswith((".tsx", ".jsx")):
        return 'put `<input type="hidden" {...csrf} />` inside it, with the `csrf.field(request)` of the root loader'
    return ""


@rule(codes.UNKNOWN_FORM, needs=(FormTable,))
def every_form_is_judged(table: FormTable) -> Iterator[Finding]:
    for row in table.rows:
        if row.verdict == "unknown":
            said = f"{row.kind} {row.sends}: {row.evidence}"
            yield Finding(codes.UNKNOWN_FORM, said, Place(row.path, row.line), row.quote)


@rule(codes.TOKEN_IN_URL, needs=(FormTable,))
def no_token_in_a_url(table: FormTable) -> Iterator[Finding]:
    for flaw in table.flaws:
        if flaw.kind == "token-in-url":
            said = "a token stands in a URL"
            yield Finding(codes.TOKEN_IN_URL, said, Place(flaw.path, flaw.line), flaw.quote)


@rule(codes.NO_REFERRER_POLICY, needs=(FormTable,))
def pages_send_their_origin(table: FormTable) -> Iterator[Finding]:
    for flaw in table.flaws:
        if flaw.kind == "no-referrer":
            said = "`no-referrer` makes browsers send `Origin: null` with the site's own forms"
            yield Finding(codes.NO_REFERRER_POLICY, said, Place(flaw.path, flaw.line), flaw.quote)


@rule(codes.EXEMPTION_EXPIRED, needs=(Manifest, RouteTable))
def no_exemption_is_over(manifest: Manifest, table: RouteTable) -> Iterator[Finding]:
    for name, row in _terms(manifest):
        if not row.holds(table.today):
            ended = "ended on" if row.has_day else "does not hold, because no ISO day is"
            said = f"the {name} {ended} `{row.expires}`"
            yield Finding(codes.EXEMPTION_EXPIRED, said, Place(manifest.path))


@rule(codes.EXEMPTION_ENDS_SOON, needs=(Manifest, RouteTable))
def no_exemption_ends_unnoticed(manifest: Manifest, table: RouteTable) -> Iterator[Finding]:
    soon = (date.fromisoformat(table.today) + SOON).isoformat()
    for name, row in _terms(manifest):
        if row.expires and row.holds(table.today) and row.expires <= soon:
            said = f"the {name} ends on `{row.expires}`"
            yield Finding(codes.EXEMPTION_ENDS_SOON, said, Place(manifest.path))


@rule(codes.EXEMPTION_WITHOUT_CONTROL, needs=(Manifest,))
def every_exemption_has_a_control(manifest: Manifest) -> Iterator[Finding]:
    for name, row in _terms(manifest):
        lacking = [key for key in ("reason", "control", "owner") if not getattr(row, key).strip()]
        if lacking:
            said = f"the {name} has no {' and no '.join(f'`{key}`' for key in lacking)}"
            yield Finding(codes.EXEMPTION_WITHOUT_CONTROL, said, Place(manifest.path))


@rule(codes.EXEMPTION_WITHOUT_SERVICE, needs=(Manifest,))
def every_exemption_is_of_one_service(manifest: Manifest) -> Iterator[Finding]:
    services = manifest.named("service")
    for row in _policy(manifest).unassigned(services):
        yield Finding(codes.EXEMPTION_WITHOUT_SERVICE, nobodys(row, services), Place(manifest.path))


@rule(codes.EXEMPTION_WITHOUT_ROUTE, needs=(Manifest, RouteTable))
def every_exemption_names_a_route(manifest: Manifest, table: RouteTable) -> Iterator[Finding]:
    policy = _policy(manifest)
    known = {id_ for row in table.rows for id_ in row.ids}
    idle = [("exemption", row.route) for row in policy.exemptions if not _has_route(table, row)]
    if table.gaps:
        return
    for layer in policy.outer:
        if layer.route not in {row.endpoint for row in table.rows}:
            said = f"`[[csrf.outer]]` names `{layer.route}`, which does not stand in front of a check"
            yield Finding(codes.EXEMPTION_WITHOUT_ROUTE, said, Place(manifest.path))
    for kind, route in (*idle, *(("limit", route) for route in policy.limits if route not in known)):
        said = f"the {kind} names `{route}`, which the app does not have"
        yield Finding(codes.EXEMPTION_WITHOUT_ROUTE, said, Place(manifest.path))


@rule(codes.EXEMPTION_IDLE, needs=(RouteTable,))
def every_exemption_holds(table: RouteTable) -> Iterator[Finding]:
    for row in table.rows:
        if row.idle:
            said = f"the exemption of `{row.id}` does not hold in the running app: {row.idle}"
            yield Finding(codes.EXEMPTION_IDLE, said, Place(row.source, row.line))


@rule(codes.NO_PUBLIC_ORIGIN, needs=(Manifest,))
def every_environment_has_an_origin(manifest: Manifest) -> Iterator[Finding]:
    """Local environments get theirs from the Host that runs them."""
    for name, row in manifest.named("env").items():
        origins = row.get("public_origins") or ()
        if not origins and (row.get("edge") or row.get("provider")) != "local":
            said = f"`[env.{name}]` has no `public_origins`"
            yield Finding(codes.NO_PUBLIC_ORIGIN, said, Place(manifest.path))
        for origin in origins:
            if parse_origin(origin) is None:
                said = f"`{origin}` of `[env.{name}]` is not an origin: no browser sends it"
                yield Finding(codes.NO_PUBLIC_ORIGIN, said, Place(manifest.path))
    rows = manifest.named("env").values()
    known = [origin for row in rows for origin in row.get("public_origins") or () if parse_origin(origin)]
    for origin in _policy(manifest).trusted_origins:
        if flaw := _flaw_of_trusted(origin, known):
            yield Finding(
                codes.NO_PUBLIC_ORIGIN, f"`{origin}` of `[csrf] trusted_origins` {flaw}", Place(manifest.path)
            )


def _flaw_of_trusted(origin: str, public: Iterable[str]) -> str:
    """What is wrong with an origin that may post here; empty for nothing."""
    try:
        found = configure_origins(public, [origin])
    except DodaiError:
        return "is not an origin: no browser sends it"
    if found.trusted or found.below:
        return ""
    apex = origin.replace("*.", "", 1)
    return f"counts nowhere: no environment has `{apex}` in `public_origins`, so nothing says that it is yours"


@rule(codes.COOKIE_FLAGS, needs=(Manifest, RouteTable))
def cookies_are_guarded(manifest: Manifest, table: RouteTable) -> Iterator[Finding]:
    session = table.session
    if session is not None:
        lacking = [] if session["httpsOnly"] else ["Secure"]
        lacking += ["SameSite"] if session["sameSite"].lower() == "none" else []
        if lacking:
            said = (
                f"the session cookie of service `{table.service}` lacks {' and '.join(f'`{word}`' for word in lacking)}"
            )
            yield Finding(codes.COOKIE_FLAGS, said)
    for name, row in manifest.named("env").items():
        for origin in row.get("public_origins") or ():
            parts = urlsplit(origin)
            if parts.scheme == "http" and row.get("provider") != "local":
                said = f"`{origin}` of `[env.{name}]` is plain http: browsers refuse the `__Host-` cookie there"
                yield Finding(codes.COOKIE_FLAGS, said, Place(manifest.path))


@rule(codes.CACHEABLE_TOKEN_PAGE, needs=(Manifest, RouteTable))
def no_page_is_cached_for_all(manifest: Manifest, table: RouteTable) -> Iterator[Finding]:
    """Only pages that the project itself makes: the file servers of frameworks are what static paths are for."""
    pages = [row for row in table.rows if row.method == "GET" and _is_ours(row)]
    for pattern in (manifest.section("edge") or {}).get("static") or ():
        for row in pages:
            if row.path.startswith(pattern.rstrip("*")):
                said = f"`{row.id}` stands below `{pattern}` of `[edge] static`"
                yield Finding(codes.CACHEABLE_TOKEN_PAGE, said, _place(row))


@rule(codes.WEAK_KEY, needs=(RouteTable,))
def secrets_are_strong(table: RouteTable) -> Iterator[Finding]:
    session = table.session
    if session is not None and (session["secretLength"] < _SECRET_LENGTH or session["secretVariety"] < _SECRET_VARIETY):
        said = f"the session secret of service `{table.service}` has `{session['secretLength']}` characters"
        yield Finding(codes.WEAK_KEY, said)


def _has_route(table: RouteTable, exemption: Exemption) -> bool:
    """Whether the service of the exemption has a route that it is for; any service, where it names none."""
    rows = [row for row in table.rows if exemption.service in ("", row.service)]
    return any(exemption.covers(id_) for row in rows for id_ in row.ids)


def _policy(manifest: Manifest) -> CsrfPolicy:
    return CsrfPolicy.from_manifest(manifest.section("csrf") or {})


def _terms(manifest: Manifest) -> Iterator[tuple[str, Exemption]]:
    """What the manifest takes out of the check, each with the words for it."""
    policy = _policy(manifest)
    yield from ((f"exemption of `{row.route}`", row) for row in policy.exemptions)
    yield from ((f"outer layer `{row.route}`", row) for row in policy.outer)


def _told_to_leave_out(name: str, rows: list[RouteRow]) -> Finding:
    """One finding for every route that the source takes out of the framework's check: one block answers it."""
    named = ", ".join(f"`{row.id}`" for row in rows)
    ids = [f"{method} {row.path}" for row in rows for method in row.methods or (row.method,)]
    said = f"`{name}` takes {len(rows)} route{'s' * (len(rows) > 1)} out of the framework's check: {named}"
    listed = ", ".join(f'"{id_}"' for id_ in ids)
    fix = f"remove it, or declare one `[[csrf.exemption]]` with `routes = [{listed}]`, `reason`, `owner` and `control`"
    return Finding(codes.UNPROTECTED_ROUTE, said, _place(rows[0]), fix=fix, data={"routes": ids})


def _rows(table: RouteTable, verdict: RouteVerdict, code: Code, besides: Sequence[RouteRow] = ()) -> Iterator[Finding]:
    for row in table.state_changing:
        if row.verdict == verdict and row not in besides:
            data = {"probes": dict(row.probes)}
            yield Finding(code, f"`{row.id}`: {row.evidence}", _place(row), fix=row.fix, data=data)


def _flaws(found: TierFlaws, kind: str, code: Code) -> Iterator[Finding]:
    for flaw in found.rows:
        if flaw.kind == kind:
            yield Finding(code, flaw.said, Place(flaw.path, flaw.line))


def _is_ours(row: RouteRow) -> bool:
    """Whether the handler stands in the repository, and not in what is installed."""
    return bool(row.source) and not row.source.startswith("/")


def _place(row: RouteRow) -> Place | None:
    return Place(row.source, row.line) if row.source else None


RULES = declared(globals())
