"""How long `dodai routes` takes for a web tier in React Router of 200 and 500 routes, read without node."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from results import record, spread

RUNS = 7
SECTION = ("index.tsx", "$id.tsx", "_group/new.tsx", "api/export.tsx", "edit.$id.tsx")
SERVICE = 'import { createCsrf } from "@dodai/remix/csrf.server";\nexport const csrf = createCsrf();\n'
ROUTE = """
import {{ Form, redirect, useLoaderData }} from "react-router";
import {{ CsrfField }} from "~/components/field";
import {{ csrf }} from "~/services/csrf.server";

export async function loader({{ params }}: {{ params: {{ id?: string }} }}) {{
  return {{ item: await db.item.findMany({{ where: {{ id: params.id }} }}) }};
}}

export async function action({{ request }}: {{ request: Request }}) {{
  await csrf.verify(request);
  const form = await request.formData();
  await db.item.update({{ data: {{ name: String(form.get("name")), of: {n} }} }});
  return redirect("/done");
}}

export default function Page() {{
  const {{ item }} = useLoaderData<typeof loader>();
  return <Form method="post"><CsrfField /><input name="name" defaultValue={{item.name}} /></Form>;
}}
"""
FIELD = 'export function CsrfField() { return <input type="hidden" name="csrf_token" value={useToken()} />; }'


def write(folder: Path, sections: int) -> None:
    """A tier with five routes in each section, an action in every one of them."""
    package = {"dependencies": {"@react-router/node": "8.4.0", "react-router": "8.4.0"}}
    files = {
        "package.json": json.dumps(package),
        "dodai.toml": '[project]\nname = "shop"\n[service.web]\ncommand = ["{node}", "server.js"]\npublic = true\n',
        "app/root.tsx": "export default () => null;",
        "app/routes.ts": 'import { autoRoutes } from "react-router-auto-routes";\nexport default autoRoutes();',
        "app/services/csrf.server.ts": SERVICE,
        "app/components/field.tsx": FIELD,
    }
    for n in range(sections):
        files |= {f"app/routes/section{n}/{name}": ROUTE.format(n=n) for name in SECTION}
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    argv = [sys.executable, "-m", "dodai", "routes", "--json"]
    rows = []
    for routes in (200, 500):
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder), routes // len(SECTION))
            taken, spent = [], []
            for _ in range(RUNS):
                began, before = time.perf_counter(), _children_s()
                done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=True)
                taken.append(time.perf_counter() - began)
                spent.append(_children_s() - before)
            summary = json.loads(done.stdout)["summary"]
        assert (summary["protected"], summary["forms"]["protected"]) == (routes, routes)
        rows.append(
            (
                f"{routes} routes, {routes} forms",
                spread(taken, "s", 2),
                spread(spent, "s", 2),
                "≤ 2 s" if routes == 200 else "",
            )
        )
    load = f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    record(
        "web-tier-audit",
        "`dodai routes` for a web tier in React Router, without node",
        ("tier", "whole command, wall", "CPU", "budget"),
        rows,
        f"Every action and form is proven from its source. Load of the machine meanwhile: {load}.",
    )


if __name__ == "__main__":
    main()
