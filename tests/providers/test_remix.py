"""The static audit of Remix and React Router: the right verdict for each way of verifying, and of seeming to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from dodai.core.fact import Unknown
from dodai.csrf.policy import CsrfPolicy, Exemption
from dodai.csrf.route_table import RouteTable
from dodai.providers.remix import RemixTier
from dodai.providers.remix.conventions import flat_path

TODAY = "2026-11-29"
SERVICE = """
import { createCsrf } from "@dodai/remix/csrf.server";
export const csrf = createCsrf();
export async function requireCsrf(request: Request) { await csrf.verify(request); }
export async function verifyCsrfToken(request: Request) { return (await request.formData()).get("csrf") === "x"; }
export const guarded = (handler) => async (args) => { await csrf.verify(args.request); return handler(args); };
export const unguarded = (handler) => async (args) => handler(args);
"""
IMPORTS = 'import { csrf, requireCsrf, verifyCsrfToken, guarded, unguarded } from "~/services/csrf.server";\n'
REMIX = {"dependencies": {"@remix-run/node": "2.17.5"}}
ROUTER = {"dependencies": {"@react-router/node": "8.4.0", "react-router": "8.4.0"}}

# name, what stands in the route module, the verdict, a word of the evidence
CASES: tuple[tuple[str, str, str, str], ...] = (
    ("first statement", "export async function action({ request }) { await csrf.verify(request); await db.save(); }", "protected", "awaited before anything else"),
    ("arrow function", "export const action = async ({ request }) => { await csrf.verify(request); return null; };", "protected", "awaited"),
    ("through a function of the service", "export const action = async ({ request }) => { await requireCsrf(request); return db.save(); };", "protected", "requireCsrf"),
    ("the whole argument object", "export const action = async (args) => { await csrf.verify(args.request); return null; };", "protected", "args.request"),
    ("a local alias of the method's owner", "const guard = csrf;\nexport async function action({ request }) { await guard.verify(request); return null; }", "protected", "guard.verify"),
    ("a wrapper that verifies", "export const action = guarded(async ({ request }) => db.save(request));", "protected", "csrf.verify"),
    ("a local function", "async function check(request) { await csrf.verify(request); }\nexport async function action({ request }) { await check(request); return null; }", "protected", "check(request)"),
    ("reading the form before", "export async function action({ request }) { const form = await request.clone().formData(); await csrf.verify(request); return form; }", "protected", "awaited"),
    ("a catch that throws on", "export async function action({ request }) { try { await csrf.verify(request); } catch (error) { throw error; } return null; }", "protected", "awaited"),
    ("as satisfies", "export const action = (async ({ request }) => { await csrf.verify(request); return null; }) satisfies Action;", "protected", "awaited"),
    ("nothing at all", "export async function action({ request }) { await db.save(); }", "unprotected", "nothing in it verifies"),
    ("in a comment", "export async function action({ request }) { // await csrf.verify(request);\n await db.save(); }", "unprotected", "nothing in it verifies"),
    ("in a string", 'export async function action({ request }) { log("await csrf.verify(request)"); }', "unprotected", "nothing in it verifies"),
    ("only on a condition", "export async function action({ request }) { if (process.env.NODE_ENV === 'production') { await csrf.verify(request); } await db.save(); }", "unprotected", "only on a condition"),
    ("behind &&", "export async function action({ request }) { enabled && (await csrf.verify(request)); await db.save(); }", "unprotected", "only on a condition"),
    ("behind a ternary", "export async function action({ request }) { enabled ? await csrf.verify(request) : null; await db.save(); }", "unprotected", "only on a condition"),
    ("in a loop", "export async function action({ request }) { for (const one of []) { await csrf.verify(request); } await db.save(); }", "unprotected", "only on a condition"),
    ("in a switch", "export async function action({ request }) { switch (kind) { case 1: await csrf.verify(request); } await db.save(); }", "unprotected", "only on a condition"),
    ("behind an optional chain", "export async function action({ request }) { await csrf?.verify(request); await db.save(); }", "unknown", "looks like a check"),
    ("after an early return", "export async function action({ request }) { if (!user) return redirect('/login'); await csrf.verify(request); await db.save(); }", "unprotected", "may return on line"),
    ("after the change", "export async function action({ request }) { await db.user.delete({ id }); await csrf.verify(request); }", "unprotected", "comes before"),
    ("not awaited", "export async function action({ request }) { csrf.verify(request); await db.save(); }", "unprotected", "not awaited"),
    ("void", "export async function action({ request }) { void csrf.verify(request); await db.save(); }", "unprotected", "not awaited"),
    ("swallowed by catch", "export async function action({ request }) { try { await csrf.verify(request); } catch { log(); } await db.save(); }", "unprotected", "swallows"),
    ("swallowed by .catch", "export async function action({ request }) { await csrf.verify(request).catch(() => null); await db.save(); }", "unprotected", "swallowed"),
    ("beside the change", "export async function action({ request }) { await Promise.all([csrf.verify(request), db.save()]); }", "unprotected", "not awaited"),
    ("shadowed by a parameter", "export async function action({ request, csrf }) { await csrf.verify(request); await db.save(); }", "unprotected", "another function of that name"),
    ("shadowed by a declaration", "export async function action({ request }) { const csrf = { verify: async (r) => true }; await csrf.verify(request); await db.save(); }", "unprotected", "another function of that name"),
    ("shadowed by a function inside", "export async function action({ request }) { async function requireCsrf() {} await requireCsrf(request); await db.save(); }", "unprotected", "another function of that name"),
    ("in a callback that nobody awaits", "export async function action({ request }) { const later = async () => { await csrf.verify(request); }; await db.save(); }", "unprotected", "function of its own"),
    ("about another request", "export async function action({ request }) { await csrf.verify(new Request('/')); await db.save(); }", "unknown", "does not ask about the request"),
    ("a check that answers instead of throwing", "export async function action({ request }) { await verifyCsrfToken(request); await db.save(); }", "unknown", "looks like a check"),
    ("another method of the same object", "export async function action({ request }) { csrf.logout(request); await db.save(); }", "unprotected", "nothing in it verifies"),
    ("a name that promises", "async function validateToken(request) { return true; }\nexport async function action({ request }) { await validateToken(request); await db.save(); }", "unknown", "looks like a check"),
    ("a wrapper that only passes on", "export const action = unguarded(async ({ request }) => db.save(request));", "unprotected", "nothing in it verifies"),
    ("a wrapper of a package", 'import { wrap } from "some-package";\nexport const action = wrap(async () => null);', "unknown", "what it returns is not known"),
    ("an action of a package", 'export { action } from "some-package";', "unknown", "package `some-package`"),
    ("an object that only reports", 'import { createCsrf } from "@dodai/remix/csrf.server";\nconst soft = createCsrf({ mode: "report" });\nexport async function action({ request }) { await soft.verify(request); }', "unprotected", "nothing in it verifies"),
    ("not a function", "export const action = actions[kind];", "unknown", "not a function"),
)  # fmt: skip


def project(folder: Path, files: Mapping[str, str], package: Mapping[str, object] = REMIX) -> Path:
    """A web tier with these files; the service that makes the check is always there."""
    written = {"package.json": json.dumps(package), "app/root.tsx": "export default function App() { return null; }"}
    for name, text in {**written, "app/services/csrf.server.ts": SERVICE, **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return folder


def read(folder: Path, policy: CsrfPolicy | None = None) -> RouteTable:
    table = RemixTier().routes(folder, root=folder, service="web", policy=policy or CsrfPolicy(), today=TODAY)
    assert isinstance(table, RouteTable), table
    return table


def verdicts(table: RouteTable) -> dict[str, str]:
    return {row.id: row.verdict for row in table.state_changing}


@pytest.mark.parametrize(("text", "verdict", "evidence"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_an_action_is_judged_by_what_it_does(tmp_path: Path, text: str, verdict: str, evidence: str):
    """Never by a name: what is not proven is unprotected, or unknown with a place."""
    table = read(project(tmp_path, {"app/routes/save.tsx": IMPORTS + text}))
    (row,) = table.state_changing
    assert (row.id, row.verdict) == ("POST /save", verdict), row.evidence
    assert evidence in row.evidence
    assert row.source.startswith("app/")
    assert row.line >= 1


GUARDED = IMPORTS + "export async function action({ request }) { await csrf.verify(request); return null; }\n"


@pytest.mark.parametrize(
    "text",
    [
        'export { action } from "./_shared/handlers.server";',
        'export { action as action } from "./_shared/handlers.server";',
        'export * from "./_shared/handlers.server";',
        'import { action as save } from "./_shared/handlers.server";\nexport const action = save;',
        'import { action as save } from "./_shared/handlers.server";\nexport { save as action };',
        'import * as handlers from "./_shared/handlers.server";\nexport const action = handlers.action;',
        'export { default as action } from "./_shared/default.server";',
        'export { action } from "~/routes/_shared/barrel";',
    ],
)
def test_an_action_is_followed_to_where_it_is_written(tmp_path: Path, text: str):
    """Re-exports, `export *`, aliases, namespaces, barrels: the row names the file with the code."""
    files = {
        "app/routes/save.tsx": text,
        "app/routes/_shared/handlers.server.ts": GUARDED,
        "app/routes/_shared/default.server.ts": GUARDED.replace(
            "export async function action", "export default async function save"
        ),
        "app/routes/_shared/barrel.ts": 'export * from "./handlers.server";',
    }
    (row,) = read(project(tmp_path, files)).state_changing
    assert row.verdict == "protected", row.evidence
    assert row.source.startswith("app/routes/_shared/")


def test_a_renamed_import_is_followed(tmp_path: Path):
    """`verify as ok` is what it was imported from."""
    text = (
        'import { requireCsrf as ok } from "~/services/csrf.server";\n'
        "export const action = async ({ request }) => { await ok(request); return null; };"
    )
    assert verdicts(read(project(tmp_path, {"app/routes/a.tsx": text}))) == {"POST /a": "protected"}


def test_the_csrf_of_remix_utils_counts_as_well(tmp_path: Path):
    """`validate` of its class throws."""
    files = {
        "app/services/utils.server.ts": 'import { CSRF } from "remix-utils/csrf/server";\nexport const csrf = new CSRF({ cookie });',
        "app/routes/a.tsx": 'import { csrf } from "~/services/utils.server";\nexport async function action({ request }) { await csrf.validate(request); }',
    }
    assert verdicts(read(project(tmp_path, files))) == {"POST /a": "protected"}


def test_in_mode_framework_only_a_check_of_another_library_counts(tmp_path: Path):
    """dodai then looks at where a request comes from alone, and asks for no token."""
    files = {
        "app/services/utils.server.ts": 'import { CSRF } from "remix-utils/csrf/server";\nexport const other = new CSRF({ cookie });',
        "app/routes/a.tsx": 'import { other } from "~/services/utils.server";\nexport async function action({ request }) { await other.validate(request); }',
        "app/routes/b.tsx": GUARDED,
    }
    table = read(project(tmp_path, files), CsrfPolicy(mode="framework"))
    assert verdicts(table) == {"POST /a": "protected", "POST /b": "unknown"}


def test_a_missing_file_is_unknown_with_its_place(tmp_path: Path):
    """What cannot be followed is never a pass."""
    (row,) = read(project(tmp_path, {"app/routes/a.tsx": 'export { action } from "./gone";'})).state_changing
    assert (row.verdict, row.source) == ("unknown", "app/routes/a.tsx")
    assert "`./gone` is not there" in row.evidence


def test_a_circle_of_exports_ends(tmp_path: Path):
    """Two modules that export from each other."""
    files = {"app/routes/a.tsx": 'export { action } from "./b";', "app/routes/b.tsx": 'export { action } from "./a";'}
    assert set(verdicts(read(project(tmp_path, files))).values()) == {"unknown"}


def test_a_syntax_error_is_a_gap_with_file_and_line(tmp_path: Path):
    """The rest of the tier is judged all the same."""
    files = {"app/routes/a.tsx": GUARDED, "app/routes/b.tsx": "export async function action( {\n  ]]"}
    table = read(project(tmp_path, files))
    assert verdicts(table)["POST /a"] == "protected"
    assert any("app/routes/b.tsx:" in gap.reason for gap in table.gaps)


def test_root_middleware_of_react_router_protects_every_action(tmp_path: Path):
    """Also one that forgets to ask, and a resource route."""
    root = 'import { csrf } from "~/services/csrf.server";\nexport const middleware = [csrf.middleware];\nexport default () => null;'
    files = {"app/root.tsx": root, "app/routes/a.ts": "export async function action() { await db.save(); }"}
    folder = project(tmp_path, files, ROUTER)
    (row,) = read(folder).state_changing
    assert (row.verdict, row.by) == ("protected", "dodai")
    assert "the action itself does not ask" in row.evidence
    assert verdicts(read(folder, CsrfPolicy(mode="report"))) == {"POST /a": "unprotected"}


@pytest.mark.parametrize(
    ("root", "package"),
    [
        ("export const middleware = [csrf.middleware];", {"dependencies": {"@react-router/node": "7.18.4", "react-router": "7.18.4"}}),
        ("export const middleware = [other];", ROUTER),
        ("export const middleware = on ? [csrf.middleware] : [];", ROUTER),
        ("const middleware = [csrf.middleware];", ROUTER),
        ("// export const middleware = [csrf.middleware];", ROUTER),
    ],
)  # fmt: skip
def test_middleware_that_is_not_sure_to_run_proves_nothing(tmp_path: Path, root: str, package: dict):
    """Without the flag React Router 7 never calls it."""
    text = f'import {{ csrf }} from "~/services/csrf.server";\n{root}\nexport default () => null;'
    files = {"app/root.tsx": text, "app/routes/a.ts": "export async function action() { await db.save(); }"}
    assert verdicts(read(project(tmp_path, files, package))) == {"POST /a": "unprotected"}


BUILD = 'import * as build from "@remix-run/dev/server-build";\nimport { csrf } from "./app/services/csrf.server";\n'


@pytest.mark.parametrize(
    ("server", "verdict"),
    [
        ("const wrapped = csrf.wrapBuild(build);\nexport const entry = wrapped.entry;\nexport const routes = wrapped.routes;", "protected"),
        ("const wrapped = csrf.wrapBuild(build);\nexport const { entry, routes } = wrapped;", "protected"),
        ("export const { entry, routes } = csrf.wrapBuild(build);", "protected"),
        ("const wrapped = csrf.wrapBuild(build);\nexport const routes = wrapped.routes;", "unprotected"),
        ("csrf.wrapBuild(build);\nexport const { entry, routes } = build;", "unprotected"),
    ],
)  # fmt: skip
def test_a_wrapped_build_of_remix_protects_when_entry_and_routes_are_exported(
    tmp_path: Path, server: str, verdict: str
):
    """Without the entry module a refusal of a plain form post loses its body and its id."""
    files = {
        "remix.config.js": 'export default { server: "./server.ts" };',
        "server.ts": BUILD + server,
        "app/routes/a.ts": "export async function action() { await db.save(); }",
    }
    assert verdicts(read(project(tmp_path, files))) == {"POST /a": verdict}


def test_an_exemption_holds_until_its_day(tmp_path: Path):
    """As for every other tier."""
    folder = project(tmp_path, {"app/routes/hooks.review.ts": "export async function action() {}"})
    exempt = Exemption("POST /hooks/review", reason="signed", control="HMAC", expires="2026-12-31")
    assert verdicts(read(folder, CsrfPolicy(exemptions=(exempt,)))) == {"POST /hooks/review": "exempt"}
    over = Exemption("POST /hooks/review", reason="signed", control="HMAC", expires="2026-01-01")
    assert verdicts(read(folder, CsrfPolicy(exemptions=(over,)))) == {"POST /hooks/review": "unprotected"}


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("_index", "/"),
        ("users", "/users"),
        ("users.$id", "/users/:id"),
        ("users_.$id_.edit", "/users/:id/edit"),
        ("_auth.login", "/login"),
        ("_auth._index", "/"),
        ("files.$", "/files/*"),
        ("($lang).about", "/:lang?/about"),
        ("(admin).users", "/admin?/users"),
        ("sitemap[.]xml", "/sitemap.xml"),
        ("[_]hidden", "/_hidden"),
    ],
)
def test_a_flat_file_name_is_a_path(name: str, path: str):
    """By the rules of Remix 2."""
    assert flat_path(name) == path


def test_eleven_flat_file_routes_are_counted_exactly(tmp_path: Path):
    """A Remix 2 template in shape: flat files, folders with `route`, colocated helpers, tests and types beside them."""
    guarded, bare = GUARDED, "export async function action() { await db.save(); }"
    files = {f"app/routes/{name}": guarded for name in ("login.tsx", "join.tsx", "logout.ts")}
    files |= {f"app/routes/notes.$id.{n}.tsx": bare for n in ("edit", "delete", "share", "star")}
    files |= {f"app/routes/api.{n}/route.ts": bare for n in ("theme", "upload")}
    files |= {"app/routes/settings/index.tsx": guarded, "app/routes/account+/profile.tsx": guarded}
    files |= {
        "app/routes/settings/form.tsx": bare,
        "app/routes/api.theme/helper.server.ts": bare,
        "app/routes/.hidden.tsx": bare,
        "app/routes/_index.tsx": "export default () => null;",
        "app/routes/join.d.ts": "export declare const action: unknown;",
    }
    table = read(project(tmp_path, files))
    assert (table.summary.state_changing, table.summary.protected, table.summary.unprotected) == (11, 5, 6)
    assert {"POST /account/profile", "POST /api/theme", "POST /notes/:id/edit", "POST /settings"} <= set(
        verdicts(table)
    )


def test_routes_ts_with_nesting_prefixes_and_spreads_is_read(tmp_path: Path):
    """28 actions in the shape of a public template: six resource routes, re-exports, a layout, a spread of a constant."""
    bare = "export async function action() { await db.save(); }\n"
    page = bare + "export default () => null;\n"
    files = {f"app/features/{n}/page.tsx": page for n in range(20)}
    files |= {f"app/features/api/{n}.ts": bare for n in range(6)}
    files |= {"app/features/shared.tsx": 'export { action } from "./0/page";\nexport default () => null;'}
    files |= {"app/features/star.tsx": 'export * from "./1/page";\nexport default () => null;'}
    files |= {"app/layout.tsx": "export default () => null;", "app/home.tsx": "export default () => null;"}
    pages = ",\n".join(f'    route("p{n}", "features/{n}/page.tsx")' for n in range(20))
    api = ", ".join(f'route("{n}", "features/api/{n}.ts")' for n in range(6))
    files["app/routes.ts"] = f"""
import {{ type RouteConfig, index, layout, prefix, route }} from "@react-router/dev/routes";
const api = prefix("api", [{api}]);
export default [
  index("home.tsx"),
  layout("layout.tsx", [
{pages},
  ]),
  ...api,
  ...prefix("more", [route("shared", "features/shared.tsx"), route("star/:id", "features/star.tsx")]),
] satisfies RouteConfig;
"""
    table = read(project(tmp_path, files, ROUTER))
    assert table.gaps == ()
    assert table.summary.state_changing == 28
    rows = {row.id: row for row in table.state_changing}
    assert {"POST /p7", "POST /api/5", "POST /more/star/:id"} <= set(rows)
    assert rows["POST /more/shared"].source == "app/features/0/page.tsx"
    assert sum("own origin check does not look at it" in row.evidence for row in rows.values()) == 6


def test_two_hundred_auto_routes_are_counted_exactly(tmp_path: Path):
    """Folders as segments, `+` colocated, `_layout` and `index` their folder's own."""
    bare = "export async function action() { await db.save(); }\nexport default () => null;\n"
    files = {"app/routes.ts": 'import { autoRoutes } from "react-router-auto-routes";\nexport default autoRoutes();'}
    for n in range(40):
        base = f"app/routes/section{n}"
        files |= {
            f"{base}/{name}": bare
            for name in ("index.tsx", "$id.tsx", "_group/new.tsx", "api/export.ts", "edit.$id.tsx")
        }
        files |= {
            f"{base}/+helpers.ts": bare,
            f"{base}/+parts/form.tsx": bare,
            f"{base}/_layout.tsx": "export default () => null;",
        }
    table = read(project(tmp_path, files, ROUTER))
    assert table.summary.state_changing == 200
    assert {"POST /section0", "POST /section0/:id", "POST /section0/new", "POST /section39/edit/:id"} <= set(
        verdicts(table)
    )


@pytest.mark.parametrize(
    "text",
    [
        "export default makeRoutes();",
        'export default [route(path, "a.tsx")];',
        "export default [...(await fromCms())];",
        "export const routes = [];",
    ],
)
def test_routes_that_only_code_knows_are_a_gap_with_their_place(tmp_path: Path, text: str):
    """Nothing is executed, so nothing is claimed."""
    files = {"app/routes.ts": text, "app/a.tsx": GUARDED}
    table = RemixTier().routes(
        project(tmp_path, files, ROUTER), root=tmp_path, service="web", policy=CsrfPolicy(), today=TODAY
    )
    gaps = [table] if isinstance(table, Unknown) else table.gaps
    assert any("app/routes.ts" in gap.reason for gap in gaps)


def test_a_route_function_of_the_configuration_is_a_gap(tmp_path: Path):
    """`routes` in remix.config.js adds routes by code."""
    files = {
        "remix.config.js": "export default {\n  routes(define) { return define(() => {}); },\n};",
        "app/routes/a.tsx": GUARDED,
    }
    assert any("remix.config.js:2" in gap.reason for gap in read(project(tmp_path, files)).gaps)


def test_a_tier_without_routes_is_unknown_and_not_a_pass(tmp_path: Path):
    """There is nothing to judge, and that is said."""
    found = RemixTier().routes(project(tmp_path, {}), root=tmp_path, service="web", policy=CsrfPolicy(), today=TODAY)
    assert isinstance(found, Unknown)


FORMS = (
    ('<Form method="post"><input type="hidden" name="csrf_token" value={token} /></Form>', "protected"),
    ('<Form method="post"><CsrfField /></Form>', "protected"),
    ('<form method="POST"><div><input type="hidden" {...csrf} /></div></form>', "protected"),
    ('<fetcher.Form method="post" action="/x"><CsrfField /></fetcher.Form>', "protected"),
    ('<Form method="post"><input type="hidden" name={csrf.name} value={csrf.value} /></Form>', "protected"),
    ('<Form method="post"><input name="other" value="x" /></Form>', "unprotected"),
    ('<Form method="post"><Empty /></Form>', "unprotected"),
    ('<Form method="post"><input type="hidden" name="csrf_token" /></Form>', "unprotected"),
    ('<Form method="post">{/* <CsrfField /> */}</Form>', "unprotected"),
    ('<Form method={"post"} />', "unprotected"),
    ("<Form method={method}><CsrfField /></Form>", "unknown"),
    ("<Form {...props}><CsrfField /></Form>", "unknown"),
    ('<Form method="post"><AuthenticityTokenInput /></Form>', "unknown"),
    ('<form method="post" action="https://pay.example/x"></form>', "exempt"),
)


@pytest.mark.parametrize(("jsx", "verdict"), FORMS)
def test_a_form_is_judged_by_the_field_it_renders(tmp_path: Path, jsx: str, verdict: str):
    """Also through components of the application; a package's are not read."""
    text = f"""
import {{ AuthenticityTokenInput }} from "remix-utils/csrf/react";
import {{ CsrfField }} from "~/components/field";
function Empty() {{ return <p>no field</p>; }}
export default function Page() {{ return {jsx}; }}
"""
    field = 'export function CsrfField() { return <input type="hidden" name="csrf_token" value={useToken()} />; }'
    folder = project(tmp_path, {"app/routes/a.tsx": text, "app/components/field.tsx": field})
    table = RemixTier().forms(folder, root=folder, policy=CsrfPolicy())
    assert [row.verdict for row in table.rows] == [verdict]


@pytest.mark.parametrize(
    ("call", "verdicts_"),
    [
        ('submit(event.currentTarget, { method: "post" })', ["protected"]),
        ('fetcher.submit({ csrf_token: token, star: true }, { method: "post" })', ["protected"]),
        ('fetcher.submit({ star: true }, { method: "post" })', ["unprotected"]),
        ('fetcher.submit(values, { method: "post" })', ["unknown"]),
        ('fetch("/api", { method: "DELETE", headers: { "x-csrf-token": token } })', ["protected"]),
        ('fetch("/api", { method: "PUT", body })', ["unprotected"]),
        ('fetcher.submit({ q: "x" }, { method: "get" })', []),
        ('fetch("/api")', []),
    ],
)
def test_a_call_that_posts_is_judged_like_a_form(tmp_path: Path, call: str, verdicts_: list[str]):
    """`useSubmit`, fetchers and fetch."""
    folder = project(tmp_path, {"app/routes/a.tsx": f"export default function Page() {{ {call}; return null; }}"})
    table = RemixTier().forms(folder, root=folder, policy=CsrfPolicy())
    assert [row.verdict for row in table.rows] == verdicts_


def flaws(folder: Path) -> list[str]:
    return [flaw.kind for flaw in read(folder).flaws.rows]


def test_a_version_with_the_known_hole_is_named(tmp_path: Path):
    """CVE-2026-22030, by the lock file and not by the range."""
    folder = project(tmp_path, {"app/routes/a.tsx": GUARDED})
    lock = {"packages": {"node_modules/@remix-run/server-runtime": {"version": "2.17.2"}}}
    (folder / "package-lock.json").write_text(json.dumps(lock, indent=2))
    assert flaws(folder) == ["vulnerable-version"]
    (folder / "package-lock.json").write_text(json.dumps(lock, indent=2).replace("2.17.2", "2.17.3"))
    assert flaws(folder) == []


def test_a_loader_that_writes_is_named_with_the_call(tmp_path: Path):
    """GET is never checked; writing to the session is what loaders do."""
    text = (
        GUARDED
        + "export async function loader({ request }) { await db.user.delete({ id }); session.set('a', 1); return null; }"
    )
    (flaw,) = read(project(tmp_path, {"app/routes/a.tsx": text})).flaws.rows
    assert (flaw.kind, flaw.path) == ("loader-changes-state", "app/routes/a.tsx")
    assert "db.user.delete" in flaw.said


def test_a_loader_that_calls_a_changing_method_by_its_name_is_named(tmp_path: Path):
    """The name stands in a string where a client is made from a contract; one that only reads is left alone."""
    loader = 'export async function loader() {{ return ask("{}", {{}}); }}'
    for method, kinds in (("ClearHistory", ["loader-changes-state"]), ("GetMyPage", []), ("Settings", [])):
        (tmp_path / method).mkdir()
        folder = project(tmp_path / method, {"app/routes/a.tsx": GUARDED + loader.format(method)})
        assert [flaw.kind for flaw in read(folder).flaws.rows] == kinds, method


def test_a_secret_with_a_value_in_the_source_is_named(tmp_path: Path):
    """Whoever reads the source can sign; a value for something else is none."""
    text = GUARDED + 'const a = process.env.SESSION_SECRET ?? "dev-secret";\nconst b = process.env.PORT || "3000";'
    assert flaws(project(tmp_path, {"app/routes/a.tsx": text})) == ["secret-fallback"]


def test_the_frameworks_own_check_behind_a_proxy_is_named(tmp_path: Path):
    """The stock server sees plain http, so it refuses every form; switched off it needs root middleware."""
    package = {**ROUTER, "scripts": {"start": "react-router-serve build/server/index.js"}}
    folder = project(tmp_path, {"app/routes/a.tsx": GUARDED}, package)
    assert flaws(folder) == ["own-check-behind-proxy"]
    (folder / "react-router.config.ts").write_text('export default { allowedActionOrigins: ["**"] };')
    assert flaws(folder) == ["own-check-off"]
    root = 'import { csrf } from "~/services/csrf.server";\nexport const middleware = [csrf.middleware];\nexport default () => null;'
    (folder / "app/root.tsx").write_text(root)
    assert flaws(folder) == []


@pytest.mark.parametrize("broken", ["", "{", "[]", '"text"', "\x00\xff"])
def test_a_package_json_that_cannot_be_read_is_nobodys(tmp_path: Path, broken: str):
    """No crash, no claim."""
    (tmp_path / "package.json").write_text(broken, "utf-8")
    assert not RemixTier().claims(tmp_path)
