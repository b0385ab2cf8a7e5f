"""The `RouteSource` for Remix and React Router: a table of routes, the forms, and what else is wrong with the tier."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import field
from pathlib import Path

from tree_sitter import Node

from dodai.core.dataclass import dataclass
from dodai.core.fact import Unknown
from dodai.csrf.form_table import FormTable
from dodai.csrf.form_verdict import FormRow
from dodai.csrf.policy import CsrfPolicy
from dodai.csrf.route_table import RouteFlaw, RouteRow, RouteTable, TierFlaws
from dodai.csrf.route_verdict import MODE_FIX, RouteVerdict
from dodai.providers.remix import flaws
from dodai.providers.remix.answers import NodeAnswers, ask_node, audit, confirmed, unread
from dodai.providers.remix.configuration import configuration, exported, shown
from dodai.providers.remix.conventions import RouteModule, Routes, list_routes
from dodai.providers.remix.forms import scan_forms
from dodai.providers.remix.program import External, Program, Unresolved, Value
from dodai.providers.remix.proof import Proof, Prover
from dodai.providers.remix.syntax import ScriptModule, arguments, bare, line, literal, text, walk

_READ_FIX = "correct the syntax"
_VERIFY_FIX = (
    "make `await csrf.verify(request)` the first statement of the action, or put `csrf.middleware` (Remix 2: "
    "`csrf.wrapBuild`) in front of all actions"
)
_FOLDERS = ("app", "src")


@dataclass(frozen=True, slots=True)
class RemixTier:
    """Reads a folder whose `package.json` depends on Remix 2 or React Router in framework mode.

    With a `node` the framework is asked for its own list of routes as well, and the build for what it refuses.
    """

    node: str = ""

    def claims(self, folder: Path) -> bool:
        """Whether the folder is such a tier."""
        names = flaws.dependencies(folder)
        return any(name.startswith(("@remix-run/", "@react-router/")) for name in names)

    def routes(
        self,
        folder: Path,
        *,
        root: Path,
        service: str,
        policy: CsrfPolicy,
        today: str,
        environ: Mapping[str, str] | None = None,
    ) -> RouteTable | Unknown:
        """Every action and loader; `Unknown` when the tier has no routes that can be listed at all."""
        reading = _TierReading.of(folder, root, policy)
        return reading.table(service, today, ask_node(self.node, reading.program, policy, environ or {}))

    def forms(self, folder: Path, *, root: Path, policy: CsrfPolicy) -> FormTable:
        """The forms of every TSX module of the application."""
        return _TierReading.of(folder, root, policy).form_table()


@dataclass(slots=True)
class _TierReading:
    program: Program
    prover: Prover
    routes: Routes
    root: Path
    policy: CsrfPolicy
    gaps: list[Unknown] = field(default_factory=list)

    @classmethod
    def of(cls, folder: Path, root: Path, policy: CsrfPolicy) -> _TierReading:
        program = Program(folder.resolve(), _app(folder.resolve()))
        prover = Prover(program, refuses=policy.mode not in ("report", "framework"))
        return cls(program, prover, list_routes(program, root.resolve()), root.resolve(), policy)

    def table(self, service: str, today: str, told: NodeAnswers) -> RouteTable | Unknown:
        read = self.routes.found
        if not isinstance(told.listed, Unknown):  # what code adds is known then, and what is ignored is not served
            self.routes = Routes(list(told.listed))
        self.gaps += [*self.routes.gaps, *ways_around_actions(self.program, self.root)]
        choke = self.choke_point()
        asked = {} if isinstance(told.asked, Unknown) else {one.id: one for one in told.asked}
        rows = [
            confirmed(row, asked.get(self.id_of(route)))
            for route in self._once()
            for row in self.rows(route, choke, today)
        ]
        if not rows and self.gaps:
            return Unknown(f"TypeScript web tier: {self.gaps[0].reason}", self.gaps[0].fix)
        rows.sort(key=lambda row: (not row.state_changing, row.path, row.source))
        found = flaws.of_tier(self.program, self.root, behind_check=choke is not None)
        loaders = [flaw for route in self._once() for flaw in self.loader_flaws(route)]
        shown = "React Router" if flaws.is_react_router(self.program.folder) else "Remix"
        actions = [self.id_of(route) for route in self._once() if self.has_action(route)]
        self.gaps += unread(told, actions)
        return RouteTable(
            service,
            shown,
            tuple(rows),
            today,
            gaps=tuple(self.gaps),
            flaws=TierFlaws((*found, *loaders)),
            tiers=(audit(service, told, read, actions, self.shown),),
        )

    def id_of(self, route: RouteModule) -> str:
        """The framework's id of a route: as it is listed, else the place of its file below the application."""
        if route.id or not route.file.is_relative_to(self.program.app):
            return route.id
        return route.file.relative_to(self.program.app).with_suffix("").as_posix()

    def has_action(self, route: RouteModule) -> bool:
        module = self.program.module(route.file)
        return module is not None and self.program.export(module, "action") is not None

    def form_table(self) -> FormTable:
        rows: list[FormRow] = []
        gaps: list[Unknown] = []
        count = 0
        for path in sorted(self.program.app.rglob("*")):
            if (
                path.suffix not in (".tsx", ".jsx")
                or "node_modules" in path.parts
                or re.search(r"\.(?:test|spec|stories)\.", path.name)
            ):
                continue
            module = self.program.module(path)
            if module is None:
                gaps.append(Unknown(f"`{self.shown(path)}` cannot be read", "make it readable, below 1 MB"))
                continue
            count += 1
            if module.broken is not None:
                gaps.append(
                    Unknown(
                        f"`{self.shown(path)}:{line(module.broken)}` is no TypeScript that can be parsed", _READ_FIX
                    )
                )
            rows += scan_forms(self.program, module, self.policy, self.shown(path))
        return FormTable(tuple(rows), (), count, tuple(gaps))

    def rows(self, route: RouteModule, choke: Proof | None, today: str) -> Iterator[RouteRow]:
        module = self.program.module(route.file)
        if module is None:
            self.gaps.append(
                Unknown(
                    f"the route module `{self.shown(route.file)}` cannot be read", "correct its path in `routes.ts`"
                )
            )
            return
        if module.broken is not None:
            place = f"{self.shown(module.path)}:{line(module.broken)}"
            self.gaps.append(Unknown(f"`{place}` is no TypeScript that can be parsed", _READ_FIX))
        action, loader = self.program.export(module, "action"), self.program.export(module, "loader")
        if action is not None:
            yield self.row("POST", route, module, self.prover.handler(action), choke, today, action)
        if loader is not None and not isinstance(loader, Unresolved):
            at = loader.node if isinstance(loader, Value) else None
            source = loader.module.path if isinstance(loader, Value) else module.path
            yield RouteRow("GET", route.path, self.shown(source), line(at) if at else 1, "remix", "loader", "safe")

    def row(
        self,
        method: str,
        route: RouteModule,
        module: ScriptModule,
        proof: Proof,
        choke: Proof | None,
        today: str,
        found: object,
    ) -> RouteRow:
        exemption = self.policy.exemption(f"{method} {route.path}")
        source, at = module.path, 1
        if isinstance(found, Value):
            source, at = found.module.path, line(found.node)
        verdict: RouteVerdict = proof.word
        by, evidence = proof.by, f"{proof.evidence} ({self.shown(proof.path)}:{proof.line})"
        if choke is not None:
            verdict, by = "protected", choke.by
            itself = "the action asks as well" if proof.word == "protected" else "the action itself does not ask"
            evidence = f"{choke.evidence} ({self.shown(choke.path)}:{choke.line}); {itself}"
        elif isinstance(found, External | Unresolved):
            source, at = (module.path, 1) if isinstance(found, External) else (found.path, found.line)
        elif proof.word == "unprotected" and self.is_resource(module):
            evidence += "; a resource route: the framework's own origin check does not look at it"
        reason = ""
        if exemption is not None and exemption.holds(today) and exemption.when == "bearer":
            # What has a cookie or no bearer token gets to the action all the same: its verdict stays.
            evidence += f"; exempt for bearer tokens without cookies ({exemption.reason})"
        elif exemption is not None and exemption.holds(today):
            verdict, by, evidence, reason = "exempt", "", exemption.control or exemption.reason, exemption.reason
        fix = MODE_FIX if self.policy.mode == "report" else _VERIFY_FIX
        fix = fix if verdict in ("unprotected", "unknown") else ""
        told = (self.shown(source), at, "remix", "action", verdict, by, evidence, reason)
        return RouteRow(method, route.path, *told, fix=fix)

    def is_resource(self, module: ScriptModule) -> bool:
        return self.program.export(module, "default") is None

    # -- a check that stands before every action

    def choke_point(self) -> Proof | None:
        """Root middleware of React Router, or a wrapped server build of Remix 2; None when neither can be proven."""
        return self.root_middleware() or self.wrapped_build()

    def root_middleware(self) -> Proof | None:
        top = next((route for route in self.routes.found if route.file.stem == "root"), None)
        module = self.program.module(top.file) if top is not None else None
        if module is None or not flaws.runs_middleware(self.program):
            return None
        found = self.program.export(module, "middleware") or self.program.export(module, "unstable_middleware")
        if not isinstance(found, Value) or found.node.type != "array":
            return None
        for member in found.node.named_children:
            node = bare(member)
            owner = (
                node.child_by_field_name("object") if node is not None and node.type == "member_expression" else None
            )
            if node is None or owner is None or text(node.child_by_field_name("property")) != "middleware":
                continue
            if self.prover.maker(self.program.value(found.module, owner)) is not None:
                told = f"`{text(node)}` stands before every action"
                return Proof("protected", told, found.module.path, line(node), "dodai")
        return None

    def wrapped_build(self) -> Proof | None:
        """`export const { entry, routes } = csrf.wrapBuild(build)` in the `server` of remix.config.js."""
        config = configuration(self.program, ("remix.config.js", "remix.config.mjs", "remix.config.cjs"))
        server = literal(exported(self.program, config, "server"))
        path = self.program.folder / server if server is not None else None
        module = self.program.module(path.resolve()) if path is not None and path.is_file() else None
        if module is None:
            return None
        wrapped = {name: self._wrapped_part(module, name) for name in ("entry", "routes")}
        call = wrapped["routes"]
        if call is None or wrapped["entry"] is None:
            return None
        return Proof(
            "protected",
            f"`{' '.join(text(call).split())}` stands before every action",
            module.path,
            line(call),
            "dodai",
        )

    def _wrapped_part(self, module: ScriptModule, name: str) -> Node | None:
        """The call of `wrapBuild` that the export `name` is a part of."""
        value = module.exports.get(name)
        node = bare(value) if isinstance(value, Node) else None
        if node is None:
            return None
        if node.type == "variable_declarator":  # export const { entry, routes } = …
            node = bare(node.child_by_field_name("value"))
        elif node.type == "member_expression" and text(node.child_by_field_name("property")) == name:
            node = bare(node.child_by_field_name("object"))
        if node is not None and node.type == "identifier":
            found = self.program.value(module, node)
            node = found.node if isinstance(found, Value) else None
        called = node.child_by_field_name("function") if node is not None and node.type == "call_expression" else None
        if node is None or called is None or called.type != "member_expression" or len(arguments(node)) != 1:
            return None
        owner = called.child_by_field_name("object")
        if owner is None or text(called.child_by_field_name("property")) != "wrapBuild":
            return None
        return node if self.prover.maker(self.program.value(module, owner)) is not None else None

    def loader_flaws(self, route: RouteModule) -> Iterator[RouteFlaw]:
        module = self.program.module(route.file)
        found = self.program.export(module, "loader") if module is not None else None
        if isinstance(found, Value):
            for path, at, said in flaws.of_loader(found):
                yield RouteFlaw(
                    "loader-changes-state", self.shown(path), at, f"the loader of `{route.path}` calls `{said}`"
                )

    def _once(self) -> list[RouteModule]:
        """A module that several rules of the conventions name is one route."""
        return list({(route.path, route.file): route for route in self.routes.found}.values())

    def shown(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else str(path)


def _app(folder: Path) -> Path:
    """`appDirectory` of the configuration, else `app`."""
    for name in (
        "react-router.config.ts",
        "react-router.config.js",
        "remix.config.js",
        "vite.config.ts",
        "vite.config.js",
    ):
        try:
            match = re.search(r"appDirectory\s*:\s*[\"']([^\"']+)[\"']", (folder / name).read_text("utf-8"))
        except (OSError, UnicodeDecodeError):
            continue
        if match is not None:
            return (folder / match[1]).resolve()
    return folder / next((name for name in _FOLDERS if (folder / name / "routes").is_dir()), "app")


_SCRIPT = re.compile(r"\.(?:tsx?|jsx?|mjs|mts|cjs|cts)$")
_SERVERS = re.compile(r"(?:^|[a-z])(?:app|router|server|api|fastify|hono)$", re.IGNORECASE)
_METHODS = frozenset({"post", "put", "patch", "delete", "all"})
_USE_SERVER = re.compile(rb"""(?m)^\s*["']use server["'];?\s*$""")
_ALLOW = 'audit it another way, then record that: `--allow-unjudged csrf="how it is audited"`'
_MOVE = "write it as a route module with an `action`, or " + _ALLOW


def ways_around_actions(program: Program, root: Path) -> Iterator[Unknown]:
    yield from _server_routes(program, root)
    for path in sorted(program.app.rglob("*")) if program.app.is_dir() else ():
        if path.suffix in (".md", ".mdx") and "routes" in path.parts:
            if re.search(rb"(?m)^export\b[^\n]*\baction\b", _read(path)):
                yield Unknown(f"`{shown(path, root)}` exports an action from Markdown, which is not read", _MOVE)
        elif _SCRIPT.search(path.name) and (found := _USE_SERVER.search(_read(path))) is not None:
            at = _read(path)[: found.end()].count(b"\n", 0, found.end()) or 1
            place = f"{shown(path, root)}:{at}"
            yield Unknown(f"`{place}`: server functions (`use server`) can be called by any page", _ALLOW)


def _server_routes(program: Program, root: Path) -> Iterator[Unknown]:
    """`app.post("/hook", …)` in `server.ts` or below `server/`: the framework never sees such a request."""
    folder = program.folder / "server"
    files = [path for path in program.folder.iterdir() if path.is_file() and path.name.startswith("server.")]
    files += folder.rglob("*") if folder.is_dir() else []
    for path in sorted(files):
        module = program.module(path) if _SCRIPT.search(path.name) and "node_modules" not in path.parts else None
        for call in walk(module.root, lambda one: one.type == "call_expression") if module is not None else ():
            called, given = bare(call.child_by_field_name("function")), arguments(call)
            if called is None or called.type != "member_expression" or len(given) < 2:
                continue
            owner, method = text(called.child_by_field_name("object")), text(called.child_by_field_name("property"))
            where = literal(given[0]) or ""
            framework = "RequestHandler" in text(call) or (method == "all" and "*" in where)
            if method in _METHODS and _SERVERS.search(owner) and where.startswith("/") and not framework:
                place = f"{shown(path, root)}:{line(call)}"
                yield Unknown(f'`{place}`: `{owner}.{method}("{where}")` is no action, and is not audited', _MOVE)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
