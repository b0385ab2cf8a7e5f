"""Actions and tiers that seem to be protected to whoever reads quickly: each gets the verdict that is right for what it does."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.providers.test_remix import CASES, GUARDED, IMPORTS, ROUTER, project, read, verdicts

from dodai.csrf.policy import CsrfPolicy
from dodai.providers.remix import RemixTier

ACTION = "export async function action({ request })"
SAVE = "await db.save();"

# name, what stands in the route module, the verdict, a word of the evidence
ACTIONS: tuple[tuple[str, str, str, str], ...] = (
    ("a generator that nobody runs", f"async function* check(request) {{ await csrf.verify(request); }}\n{ACTION} {{ await check(request); {SAVE} }}", "unprotected", "nothing in it verifies"),
    ("the check of another parameter", f"async function check(a, b) {{ await csrf.verify(b); }}\n{ACTION} {{ await check(request, fake); {SAVE} }}", "unprotected", "nothing in it verifies"),
    ("a request that was replaced", f"{ACTION} {{ request = new Request('/'); await csrf.verify(request); {SAVE} }}", "unknown", "does not ask about the request"),
    ("finally that returns", f"{ACTION} {{ try {{ await csrf.verify(request); }} finally {{ return db.save(); }} }}", "unprotected", "swallows"),
    ("a loop that a finally leaves", f"{ACTION} {{ for (;;) {{ try {{ await csrf.verify(request); }} finally {{ break; }} }} {SAVE} }}", "unprotected", "only on a condition"),
    ("an instance that is replaced", f'import {{ createCsrf }} from "@dodai/remix/csrf.server";\nlet own = createCsrf();\nown = {{ verify: async () => undefined }};\n{ACTION} {{ await own.verify(request); {SAVE} }}', "unprotected", "nothing in it verifies"),
    ("a method that is replaced", f'import {{ createCsrf }} from "@dodai/remix/csrf.server";\nconst own = createCsrf();\nown.verify = async () => undefined;\n{ACTION} {{ await own.verify(request); {SAVE} }}', "unprotected", "nothing in it verifies"),
    ("options that are spread", f'import {{ createCsrf }} from "@dodai/remix/csrf.server";\nconst own = createCsrf({{ ...options }});\n{ACTION} {{ await own.verify(request); {SAVE} }}', "unprotected", "nothing in it verifies"),
    ("options with a name", f'import {{ createCsrf }} from "@dodai/remix/csrf.server";\nconst soft = {{ mode: "report" }};\nconst own = createCsrf(soft);\n{ACTION} {{ await own.verify(request); {SAVE} }}', "unprotected", "nothing in it verifies"),
    ("options by name that are sound", f'import {{ createCsrf }} from "@dodai/remix/csrf.server";\nconst options = {{ field: "csrf" }};\nconst own = createCsrf(options);\n{ACTION} {{ await own.verify(request); {SAVE} }}', "protected", "awaited before anything else"),
    ("a template of SQL before the check", f"{ACTION} {{ await sql`DELETE FROM users WHERE id = 1`; await csrf.verify(request); }}", "unprotected", "comes before"),
    ("SQL in a string before the check", f'{ACTION} {{ await db.query("update users set name = $1", [1]); await csrf.verify(request); }}', "unprotected", "comes before"),
    ("a transaction before the check", f"{ACTION} {{ await prisma.$transaction([one]); await csrf.verify(request); }}", "unprotected", "comes before"),
    ("a method by its name in brackets before the check", f'{ACTION} {{ await db.user["delete"](1); await csrf.verify(request); }}', "unprotected", "comes before"),
    ("a file that is written before the check", f"{ACTION} {{ await unlink(path); await csrf.verify(request); }}", "unprotected", "comes before"),
    ("a select before the check", f'{ACTION} {{ await db.query("select 1"); await csrf.verify(request); }}', "protected", "awaited"),
    ("a method that was taken out of its object", f"const {{ verify }} = csrf;\n{ACTION} {{ await verify(request); {SAVE} }}", "protected", "awaited"),
    ("a method of that name taken out of another object", f"const {{ verify }} = other;\n{ACTION} {{ await verify(request); {SAVE} }}", "unprotected", "nothing in it verifies"),
    ("a comma before the check", f"{ACTION} {{ await (csrf.verify(request), null); {SAVE} }}", "unprotected", "not awaited"),
    ("a check in a default value", f"{ACTION} {{ const run = async (x = await csrf.verify(request)) => x; {SAVE} }}", "unprotected", "a function of its own"),
    ("a check with then", f"{ACTION} {{ await csrf.verify(request).then(() => 1, () => 2); {SAVE} }}", "unprotected", "swallowed"),
    ("a check that races", f"{ACTION} {{ await Promise.race([csrf.verify(request), Promise.resolve()]); {SAVE} }}", "unprotected", "not awaited"),
    ("settled, whatever it says", f"{ACTION} {{ await Promise.allSettled([csrf.verify(request)]); {SAVE} }}", "unprotected", "not awaited"),
    ("in a timer", f"{ACTION} {{ setTimeout(async () => {{ await csrf.verify(request); }}); {SAVE} }}", "unprotected", "a function of its own"),
    ("a wrapper that swallows", "const quiet = (handler) => async (args) => { try { await csrf.verify(args.request); } catch { } return handler(args); };\nexport const action = quiet(async () => db.save());", "unprotected", "swallows"),
    ("a wrapper that asks afterwards", "const late = (handler) => async (args) => { const answer = await handler(args); await csrf.verify(args.request); return answer; };\nexport const action = late(async () => db.save());", "unprotected", "comes before"),
)  # fmt: skip


@pytest.mark.parametrize(("text", "verdict", "evidence"), [one[1:] for one in ACTIONS], ids=[one[0] for one in ACTIONS])
def test_an_action_that_only_seems_to_ask_is_not_protected(tmp_path: Path, text: str, verdict: str, evidence: str):
    """And one that asks in an unusual way is."""
    (row,) = read(project(tmp_path, {"app/routes/save.tsx": IMPORTS + text})).state_changing
    assert row.verdict == verdict, row.evidence
    assert evidence in row.evidence


OPEN = "export async function action() { await db.save(); }"
ROOT = 'import { csrf } from "~/services/csrf.server";\nexport const middleware = [csrf.middleware];\nexport default () => null;'
SEVEN = {"dependencies": {"@react-router/node": "7.18.4", "react-router": "7.18.4"}}


@pytest.mark.parametrize(
    ("config", "verdict"),
    [
        ("export default { future: { v8_middleware: true } };", "protected"),
        ("export default {\n  // future: { v8_middleware: true },\n};", "unprotected"),
        ("export default { /* v8_middleware: true */ };", "unprotected"),
        ("export default { future: { v8_middleware: false } };", "unprotected"),
        ("export default { future: { v8_middleware: flag } };", "unprotected"),
        ('const said = "v8_middleware: true";\nexport default {};', "unprotected"),
    ],
)
def test_the_flag_of_middleware_counts_where_it_is_set(tmp_path: Path, config: str, verdict: str):
    """Not in a comment, not in a string, not by a name."""
    files = {"app/root.tsx": ROOT, "app/routes/a.ts": OPEN, "react-router.config.ts": config}
    assert verdicts(read(project(tmp_path, files, SEVEN))) == {"POST /a": verdict}


def test_a_commented_line_switches_the_frameworks_own_check_neither_on_nor_off(tmp_path: Path):
    """`allowedActionOrigins` counts where it is set."""
    package = {**ROUTER, "scripts": {"start": "react-router-serve build/server/index.js"}}
    config = 'export default {\n  // allowedActionOrigins: ["**"],\n};'
    folder = project(tmp_path, {"app/routes/a.tsx": GUARDED, "react-router.config.ts": config}, package)
    assert [flaw.kind for flaw in read(folder).flaws.rows] == ["own-check-behind-proxy"]


WRAPPED = (
    'import * as build from "@remix-run/dev/server-build";\nimport { csrf } from "./app/services/csrf.server";\n'
    'export * from "@remix-run/dev/server-build";\nexport const { entry, routes } = csrf.wrapBuild(build);'
)


@pytest.mark.parametrize(
    ("config", "verdict"),
    [
        ('module.exports = { server: "./server.ts" };', "protected"),
        ('export default { server: "./server.ts" };', "protected"),
        ('const config = { server: "./server.ts" };\nexport default config;', "protected"),
        ('export default { dev: { server: "./server.ts" } };', "unprotected"),
        ('const old = { server: "./server.ts" };\nexport default {};', "unprotected"),
        ('export default { server: process.env.X ? "./server.ts" : undefined };', "unprotected"),
    ],
)
def test_the_server_entry_counts_where_remix_reads_it(tmp_path: Path, config: str, verdict: str):
    """Not in another object of the same file."""
    files = {"remix.config.js": config, "server.ts": WRAPPED, "app/routes/a.ts": OPEN}
    assert verdicts(read(project(tmp_path, files))) == {"POST /a": verdict}


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"server.ts": 'app.post("/hook", save);'}, '`server.ts:1`: `app.post("/hook")`'),
        ({"server/index.js": 'router.delete("/api/:id", remove);'}, "`server/index.js:1`"),
        ({"app/rsc.ts": '"use server";\nexport async function save() {}'}, "`app/rsc.ts:1`: server functions"),
        ({"app/routes/b.mdx": "export const action = async () => null;\n\n# Page"}, "`app/routes/b.mdx`"),
    ],
)
def test_what_changes_state_beside_the_actions_is_a_gap_with_its_place(tmp_path: Path, files: dict, reason: str):
    """Routes of a server of one's own, server functions, routes in Markdown: they are not listed, and that is said."""
    table = read(project(tmp_path, {"app/routes/a.tsx": GUARDED, **files}))
    assert any(reason in gap.reason for gap in table.gaps), table.gaps


@pytest.mark.parametrize(
    "text", ['app.get("/a", page);', "app.use(compression());", 'form.delete("x");', 'cache.put("/x", 1);']
)
def test_a_server_that_only_reads_is_no_gap(tmp_path: Path, text: str):
    """Middleware and pages of a server of one's own, and calls that only look like a route."""
    assert read(project(tmp_path, {"app/routes/a.tsx": GUARDED, "server.ts": text})).gaps == ()


@pytest.mark.parametrize(
    ("jsx", "verdict"),
    [
        ('<Form method="post"><input name="csrf_token" value={token} disabled /></Form>', "unprotected"),
        ('<Form method="post"><input name="csrf_token" value={token} form="other" /></Form>', "unprotected"),
        ('<Form method="post">{user && <input name="csrf_token" value={token} />}</Form>', "unknown"),
        ('<Form method="post">{csrf && <input type="hidden" {...csrf} />}</Form>', "protected"),
        ('<Form method="post">{user ? <CsrfField /> : null}</Form>', "unknown"),
    ],
)
def test_a_field_that_is_not_sure_to_be_sent_is_not_a_field(tmp_path: Path, jsx: str, verdict: str):
    """Disabled, of another form, or there on a condition only."""
    text = f'import {{ CsrfField }} from "~/field";\nexport default function Page() {{ return {jsx}; }}'
    field = 'export function CsrfField() { const csrf = useCsrf(); return csrf ? <input type="hidden" {...csrf} /> : null; }'
    folder = project(tmp_path, {"app/routes/a.tsx": text, "app/field.tsx": field})
    assert [row.verdict for row in RemixTier().forms(folder, root=folder, policy=CsrfPolicy()).rows] == [verdict]


def test_there_are_at_least_25_evasions_beside_as_many_actions_that_are_sound():
    """Fixtures of actions alone, in both files."""
    verdicts_ = [case[2] for case in (*CASES, *ACTIONS)]
    assert sum(verdict != "protected" for verdict in verdicts_) >= 50
    assert verdicts_.count("protected") >= 12
