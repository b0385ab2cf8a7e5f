"""A Remix application in the shape of a well-known public one: pathless layouts, splats, wrapped and re-exported actions."""

from __future__ import annotations

from pathlib import Path

from dodai.csrf.policy import CsrfPolicy
from dodai.csrf.route_table import RouteTable
from dodai.providers.remix import RemixTier

FILES = {
    "package.json": '{"name": "notes", "dependencies": {"@remix-run/node": "2.17.5", "@remix-run/react": "2.17.5", "remix-utils": "10.0.0", "@dodai/remix": "0.1.0"}}',
    "app/utils/csrf.server.ts": 'import { createCsrf } from "@dodai/remix/csrf.server";\nexport const csrf = createCsrf({});\n',
    "app/utils/auth.server.ts": """
import { csrf } from "./csrf.server";
import { requireUserId } from "./session.server";
export function withUser(run: (args: any, userId: string) => Promise<Response>) {
  return async (args: any) => {
    await csrf.verify(args.request);
    const userId = await requireUserId(args.request);
    return run(args, userId);
  };
}
""",
    "app/utils/session.server.ts": 'export async function requireUserId(request: Request) { return "ann"; }\n',
    "app/root.tsx": "export default function App() { return <html><body /></html>; }\n",
    "app/routes/_auth.login.tsx": """
import { csrf } from "~/utils/csrf.server";
export async function action({ request }: any) {
  await csrf.verify(request);
  const form = await request.formData();
  return new Response(String(form.get("name")));
}
export default function Login() { return <form method="post"><AuthenticityTokenInput /></form>; }
""",
    "app/routes/_auth.auth.$provider.ts": """
import { csrf } from "~/utils/csrf.server";
export async function loader() { return Response.redirect("/login"); }
export async function action({ request, params }: any) {
  await csrf.verify(request);
  return Response.redirect(`https://github.example/${params.provider}`);
}
""",
    "app/routes/_auth.auth.$provider.callback.ts": """
export async function loader({ request }: any) { return new Response("signed in"); }
""",
    "app/routes/users.$username.notes.$noteId.tsx": """
import { withUser } from "~/utils/auth.server";
import { db } from "~/utils/db.server";
export const action = withUser(async ({ params }, userId) => {
  await db.note.delete({ where: { id: params.noteId, ownerId: userId } });
  return new Response("deleted");
});
export default function Note() { return null; }
""",
    "app/utils/db.server.ts": "export const db: any = {};\n",
    "app/routes/resources.theme.ts": 'export { action } from "~/utils/theme.server";\n',
    "app/utils/theme.server.ts": """
export async function action({ request }: any) {
  const form = await request.formData();
  return new Response(null, { headers: { "set-cookie": `theme=${form.get("theme")}` } });
}
""",
    "app/routes/api.v1.$.ts": """
import { db } from "~/utils/db.server";
export async function action({ request }: any) {
  const key = request.headers.get("authorization");
  if (key !== "Bearer machine") return new Response("no", { status: 401 });
  await db.entry.create({});
  return new Response("made");
}
""",
    "app/routes/webhooks.stripe.ts": """
import { db } from "~/utils/db.server";
export async function action({ request }: any) { await db.payment.create({}); return new Response("ok"); }
""",
    "app/routes/settings.profile.ts": """
import { withUser } from "some-package";
export const action = withUser(async () => new Response("ok"));
""",
}
HOOK = {"route": "POST /webhooks/stripe", "reason": "called by Stripe", "control": "signature", "owner": "team"}
BEARER = {"route": "* /api/v1/*", "when": "bearer", "reason": "machines", "control": "key", "owner": "team"}


def audited(tmp_path: Path, **policy: object) -> RouteTable:
    for name, text in FILES.items():
        path = tmp_path / "client" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    found = RemixTier().routes(
        tmp_path / "client",
        root=tmp_path,
        service="web",
        policy=CsrfPolicy.from_manifest(policy),
        today="2026-11-29",
    )
    assert isinstance(found, RouteTable), found
    return found


def test_rows_and_verdicts_of_the_shape(tmp_path: Path):
    """A wrapper of the application's own is followed, one of a package is not known, and OAuth callbacks only read."""
    table = audited(tmp_path, exemption=[HOOK])
    assert {row.id: row.verdict for row in table.rows} == {
        "POST /login": "protected",
        "POST /auth/:provider": "protected",
        "POST /users/:username/notes/:noteId": "protected",
        "POST /resources/theme": "unprotected",
        "POST /api/v1/*": "unprotected",
        "POST /settings/profile": "unknown",
        "POST /webhooks/stripe": "exempt",
        "GET /auth/:provider": "safe",
        "GET /auth/:provider/callback": "safe",
    }
    assert table.gaps == ()


def test_what_is_red_has_a_fix_for_a_tier_in_node(tmp_path: Path):
    """`dodai.asgi.wrap` helps nobody there."""
    for row in audited(tmp_path).state_changing:
        red = row.verdict in ("unprotected", "unknown")
        assert ("`await csrf.verify(request)`" in row.fix) is red, row
    reported = audited(tmp_path, mode="report")
    assert {row.fix.partition(":")[0] for row in reported.state_changing} == {'`[csrf] mode = "both"`'}


def test_exemption_for_bearer_tokens_leaves_what_has_a_cookie_to_the_action(tmp_path: Path):
    """An action that verifies nothing stays red: a page of another site sends cookies and no token."""
    row = next(row for row in audited(tmp_path, exemption=[BEARER]).rows if row.id == "POST /api/v1/*")
    assert row.verdict == "unprotected"
    assert row.evidence.endswith("; exempt for bearer tokens without cookies (machines)")
