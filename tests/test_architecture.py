"""Who may import whom, how long a file or a function may be, and what importing the façade costs."""

from __future__ import annotations

import ast
import os
import re
import shutil
import statistics
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SRC = ROOT / "src" / "dodai"
LINES, HARD_LINES, FUNCTION_LINES, FUNCTION_MEDIAN, FUNCTION_P90 = 400, 600, 60, 8, 30
SMALL_LINES, WIRING_LINES = 60, 1500


# --- contracts ---


@dataclass(frozen=True, slots=True)
class Violation:
    """An import that a contract forbids; `planted` is the file it is written into, below src/dodai."""

    contract: str
    planted: str
    code: str
    imported: str

    @property
    def importer(self) -> str:
        return "dodai." + self.planted.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


VIOLATIONS = (
    Violation("1 layers of the house", "core/page.py", "import dodai.engine", "dodai.engine"),
    Violation("1 layers of the house", "csrf/token.py", "import dodai.migrations", "dodai.migrations"),
    Violation("1 layers of the house", "grpc/__init__.py", "import dodai.asgi", "dodai.asgi"),
    Violation("1 layers of the house", "operations/run.py", "import dodai.providers.local", "dodai.providers.local"),
    Violation("1 layers of the house", "providers/local/planted.py", "import dodai.standins", "dodai.standins"),
    Violation("1 layers of the house", "vendor_api/planted.py", "import dodai.operations", "dodai.operations"),
    Violation("1 layers of the house", "stray.py", "", "stray"),
    Violation("2 layers of csrf", "csrf/policy.py", "import dodai.csrf.token", "dodai.csrf.token"),
    Violation("2 layers of csrf", "csrf/stray.py", "", "stray"),
    Violation("2 layers of migrations", "migrations/stray.py", "", "stray"),
    Violation("2 layers of operations", "operations/check/rules.py", "import dodai.operations.run", "dodai.operations.run"),
    Violation("2 layers of operations", "operations/ports/__init__.py", "import dodai.operations.journey", "dodai.operations.journey"),
    Violation("2 layers of rehearsal", "rehearsal/ports.py", "import dodai.rehearsal.load", "dodai.rehearsal.load"),
    Violation("1 layers of the house", "rehearsal/load.py", "import dodai.providers.local", "dodai.providers.local"),
    Violation("2 layers of observability", "observability/policy.py", "import dodai.observability.segment", "dodai.observability.segment"),
    Violation("3 what runs in the user's application reaches nothing but orjson", "runtime/config.py", "import click", "click"),
    Violation("3 the nouns of csrf reach nothing but orjson", "csrf/decision.py", "import starlette", "starlette"),
    Violation("3 dodai.grpc reaches its library", "grpc/metadata.py", "import httpx2", "httpx2"),
    Violation("3 dodai.psycopg reaches its library", "psycopg.py", "import sqlalchemy", "sqlalchemy"),
    Violation("3 dodai.httpx reaches neither httpx nor httpx2", "httpx.py", "import httpx2", "httpx2"),
    Violation("3 frameworks reach the standard library", "frameworks/planted.py", "import starlette", "starlette"),
    Violation("3 frameworks reach the standard library", "frameworks/planted.py", "import dodai.core.page", "dodai.core.page"),
    Violation("3 the agent reaches the standard library", "agent/planted.py", "import orjson", "orjson"),
    Violation("3 the agent reaches the standard library", "agent/planted.py", "import dodai", "dodai"),
    Violation("4 core and every policy are pure", "core/request.py", "import os", "os"),
    Violation("4 core and every policy are pure", "csrf/policy.py", "import secrets", "secrets"),
    Violation("4 core and every policy are pure", "observability/policy.py", "import time", "time"),
    Violation("4 core and every policy are pure", "operations/policy.py", "from datetime import datetime", "datetime"),
    Violation("5 psycopg has two doors", "engine/lease.py", "import psycopg", "psycopg"),
    Violation("5 no command, drill or area names a provider", "cli/up.py", "import dodai.providers.local", "dodai.providers.local"),
    Violation("5 providers do not know each other", "providers/postgres/planted.py", "import dodai.providers.local", "dodai.providers.local"),
    Violation("5 no cycles", "core/errors.py", "import dodai.core.rule", "dodai.core.rule"),
)  # fmt: skip


def lint(root: Path) -> tuple[int, Mapping[str, str]]:
    """The exit code of import-linter over `root`, and what it says about each broken contract."""
    argv = [
        sys.executable,
        "-c",
        "from importlinter.cli import lint_imports_command; lint_imports_command()",
        "--no-cache",
    ]
    path = os.pathsep.join((str(root / "src"), str(root)))
    env = {**os.environ, "PYTHONPATH": path, "NO_COLOR": "1", "COLUMNS": "400"}
    done = subprocess.run(argv, cwd=root, env=env, capture_output=True, text=True, check=False)
    _, _, broken = done.stdout.partition("Broken contracts")
    assert done.returncode == 0 or broken, done.stdout + done.stderr
    titles = "|".join(re.escape(name) for name in sorted(contract_names()))
    parts = re.split(rf"^({titles})\n-+\n", broken, flags=re.MULTILINE)
    return done.returncode, dict(zip(parts[1::2], parts[2::2], strict=True))


def contract_names() -> set[str]:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    return {contract["name"] for contract in pyproject["tool"]["importlinter"]["contracts"]}


@pytest.fixture(scope="module")
def red(tmp_path_factory) -> Mapping[str, str]:
    """What the contracts say about a copy of the sources with every violation planted."""
    root = tmp_path_factory.mktemp("planted")
    shutil.copy(ROOT / "pyproject.toml", root)
    (root / "tests").mkdir()
    shutil.copy(ROOT / "tests" / "import_contracts.py", root / "tests")
    shutil.copytree(ROOT / "src", root / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for violation in VIOLATIONS:
        with (root / "src" / "dodai" / violation.planted).open("a", encoding="utf-8") as file:
            file.write(f"\n{violation.code}\n")
    return lint(root)[1]


def test_the_sources_keep_every_contract():
    """The dependency rules of the house hold."""
    code, broken = lint(ROOT)
    assert (code, broken) == (0, {})


@pytest.mark.parametrize("violation", VIOLATIONS, ids=lambda v: f"{v.planted}-{v.imported}")
def test_a_planted_violation_is_caught_by_its_contract(violation, red):
    """Each contract names the importer and what it must not import."""
    told = red.get(violation.contract, "")
    if violation.code:
        # The contract about cycles prints names without their package.
        importer, imported = (re.escape(name.rpartition(".")[2]) for name in (violation.importer, violation.imported))
        assert re.search(rf"{importer}\b.* -> .*\b{imported}\b", told), told
    else:
        assert re.search(r"\bstray\b", told), told


def test_every_contract_has_a_violation_that_it_catches():
    """A contract nobody has seen red proves nothing."""
    assert {violation.contract for violation in VIOLATIONS} == contract_names()


def test_every_area_and_facade_stands_in_a_contract():
    """Whoever adds one of them decides what it may reach."""
    config = (ROOT / "pyproject.toml").read_text("utf-8")
    for area in ("csrf", "migrations", "operations", "observability"):
        assert f'containers = ["dodai.{area}"]' in config
    for facade in ("asgi", "wsgi", "grpc", "psycopg", "httpx"):
        if (SRC / facade).is_dir() or (SRC / f"{facade}.py").is_file():
            assert f'"dodai.{facade}"' in config, f"dodai.{facade} needs a reach contract"


# --- the façade in a fresh interpreter ---


def test_importing_the_asgi_facade_loads_only_ourselves_the_standard_library_and_orjson():
    """It is imported by every process of the user's application."""
    program = (
        "import sys; before = set(sys.modules); import dodai.asgi;"
        "print(*sorted({m.partition('.')[0] for m in set(sys.modules) - before}))"
    )
    argv = [sys.executable, "-I", "-c", program]
    loaded = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()
    assert "dodai" in loaded
    assert [name for name in loaded if name not in sys.stdlib_module_names] in (["dodai"], ["dodai", "orjson"])


# --- sizes ---


def sources() -> tuple[Path, ...]:
    """Our own Python files: the package and the example, without what protoc wrote."""
    found = (*SRC.rglob("*.py"), *(ROOT / "examples").rglob("*.py"))
    hidden = ("node_modules", ".venv", ".dodai", "__pycache__")
    return tuple(p for p in found if not re.search(r"_pb2(_grpc)?\.py$", p.name) and not set(p.parts) & set(hidden))


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Every function of a file with its number of lines."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield (
                f"{path.relative_to(ROOT)}:{node.lineno} {node.name}",
                (node.end_lineno or node.lineno) - node.lineno + 1,
            )


def test_no_file_is_longer_than_its_budget():
    """A module that outgrows it becomes a folder of the same name."""
    long = {str(p.relative_to(ROOT)): n for p in sources() if (n := len(p.read_text("utf-8").splitlines())) > LINES}
    assert not long


def test_no_test_file_is_longer_than_the_hard_limit():
    """A suite of that length has more than one subject."""
    tests = (ROOT / "tests").rglob("*.py")
    assert not {p.name: n for p in tests if (n := len(p.read_text("utf-8").splitlines())) > HARD_LINES}


def test_no_function_is_longer_than_its_budget_and_most_are_short():
    """The median and the ninetieth percentile keep the rest honest."""
    sizes = dict(each for path in sources() for each in functions(path))
    assert not {name: lines for name, lines in sizes.items() if lines > FUNCTION_LINES}
    assert statistics.median(sizes.values()) <= FUNCTION_MEDIAN
    assert statistics.quantiles(sizes.values(), n=10)[-1] <= FUNCTION_P90


ALONE = {
    "csrf/enforce/body_timeout.py": "a clock around any ASGI `receive`, with tests of its own",
    "csrf/enforce/script.py": "the text of a script that browsers load",
    "frameworks/fastapi.py": "one module for each framework, loaded by its name",
    "operations/check/variable_reads/ecmascript.py": "one reader for each language",
    "operations/check/variable_reads/go.py": "one reader for each language",
    "operations/run/sign_in_step.py": "the only step about sign-in, beside procedures that have no lines left",
    "providers/local/http2_end.py": "frames of HTTP/2, a format with tests of its own",
    "runtime/sql_statement.py": "what may be said of a statement, pure, beside a driver that needs psycopg",
    "wiring/local_provider.py": "a provider, loaded by its name",
    "wiring/postgres_provider.py": "a provider, loaded by its name",
}
"""Small modules that stand alone, each with its reason."""


def names_imported(path: Path, package: str) -> Iterator[str]:
    """Every name that a file imports, from any place in it, written out."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join((*above, *((node.module,) if node.module else ())))
            yield from (name for alias in node.names for name in (base, f"{base}.{alias.name}"))


def importers() -> dict[Path, set[Path]]:
    """Each module of the package with those that import it; the door of a package with other modules is not one."""
    modules = [path for path in SRC.rglob("*.py") if path.name not in ("__init__.py", "__main__.py")]
    doors = [path for path in SRC.rglob("__init__.py") if len(list(path.parent.glob("*"))) == 1]
    dotted = {dotted_name(path): path for path in (*modules, *doors)}
    found: dict[Path, set[Path]] = {path: set() for path in dotted.values()}
    for path in SRC.rglob("*.py"):
        package = dotted_name(path) if path.name == "__init__.py" else dotted_name(path).rpartition(".")[0]
        for name in names_imported(path, package):
            if dotted.get(name, path) != path:
                found[dotted[name]].add(path)
    return found


def dotted_name(path: Path) -> str:
    """The name that a file is imported by."""
    parts = path.relative_to(SRC.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_small_module_with_one_importer_belongs_into_it():
    """Whoever follows a thought opens one file less; a command is a file of its own."""
    small = {
        path.relative_to(SRC).as_posix()
        for path, users in importers().items()
        if len(users) <= 1
        and len(path.read_text("utf-8").splitlines()) < SMALL_LINES
        and path.relative_to(SRC).parts[0] != "cli"
    }
    assert small - ALONE.keys() == set(), "merge it into its importer or the module beside it"
    assert ALONE.keys() - small == set(), "it does not stand alone any more: take it off the list"


def test_wiring_only_composes():
    """What decides anything is a use case of an area, over ports; wiring is read whole to see what stands where."""
    assert sum(len(path.read_text("utf-8").splitlines()) for path in (SRC / "wiring").glob("*.py")) <= WIRING_LINES


def test_no_module_is_called_after_nothing():
    """`utils`, `helpers` and `manager` say nothing about what is inside."""
    vague = {"util", "utils", "helper", "helpers", "manager", "common", "misc"}
    assert not [str(p) for p in sources() if vague & {p.stem, *p.relative_to(ROOT).parts}]


# --- names ---

GRID = ("policy", "ports", "document", "enforce", "check", "run", "codes", "rules")
"""A file of the grid of areas and verbs: the area says which."""
NAMED_AFTER = (
    "cli",
    "frameworks",
    "rehearsal/drills",
    "agent/templates",
    "observability/notify.py",
    "operations/ports",
    "providers/alembic",
    "providers/django_migrations",
    "standins",
)
"""Folders whose files are named after something else that has that name: a command and what it carries out, a
framework, an area, a port and what implements it, a vendor and its driver."""


def repeated(names: Iterator[tuple[str, Path]]) -> dict[str, list[str]]:
    """Each name that several files use, with those files."""
    found: dict[str, list[str]] = {}
    for name, path in names:
        found.setdefault(name, []).append(path.relative_to(SRC).as_posix())
    return {name: paths for name, paths in found.items() if len(paths) > 1}


def test_no_two_modules_have_one_name_outside_the_grid():
    """Whoever opens `outcome.py` has opened the one there is; packages count as well."""
    own = [path for path in SRC.rglob("*.py") if path.name != "__main__.py"]
    names = ((path.parent.name if path.name == "__init__.py" else path.stem, path) for path in own)
    outside = (
        (name, path)
        for name, path in names
        if name not in (*GRID, "main") and not path.relative_to(SRC).as_posix().startswith(NAMED_AFTER)
    )
    assert repeated(outside) == {}, "rename the new one: put a word before it that says whose it is (`fly_compute`)"


def test_no_two_classes_have_one_name():
    """A class is found by its name, and a message that names it means one thing."""
    classes = (
        (node.name, path)
        for path in SRC.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ClassDef)
    )
    assert repeated(classes) == {}, "rename the new one"


def names_of(node: ast.stmt) -> list[str]:
    """What a statement of a module or class gives a name to; an overload has its name together with the others."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [] if node.decorator_list else [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    inner = (name for target in targets for name in ast.walk(target))
    return [name.id for name in inner if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)]


def test_no_name_of_a_module_or_class_is_given_twice():
    """Two modules that became one: the second constant of a name silently takes the place of the first."""
    twice: list[str] = []
    for path in sorted(path for folder in ("src", "tests", "benchmarks") for path in (ROOT / folder).rglob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        for owner in (tree, *(node for node in ast.walk(tree) if isinstance(node, ast.ClassDef))):
            counts = Counter(name for node in owner.body for name in names_of(node))
            twice += [f"{path.relative_to(ROOT)} {name}" for name, times in counts.items() if times > 1]
    assert twice == []


def test_every_moment_that_people_read_has_one_form():
    """`engine.moment.utc`; what sorts, has its zone and can be pasted into another tool is written by nothing else."""
    printing = [
        ROOT / "src" / "dodai" / "cli",
        ROOT / "src" / "dodai" / "observability" / "run",
        ROOT / "src" / "dodai" / "providers" / "local" / "host",
    ]
    files = [path for folder in printing for path in sorted(folder.rglob("*.py")) if path.name != "page_html.py"]
    assert [path.name for path in files if "strftime" in path.read_text("utf-8")] == []
