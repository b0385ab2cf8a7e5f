"""Every command that dodai proposes is in one table, can be typed, and is carried out where it is proposed."""

from __future__ import annotations

import ast
import json
import re
import shlex
import string
from pathlib import Path

import click
import pytest
from tests.support.command import dodai
from tests.support.proposed import carry_out

from dodai.cli.main import COMMANDS, app
from dodai.core import proposal
from dodai.core.proposal import ALL, addressed, addressed_document
from dodai.wiring.registry import codes

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ROOT / "src" / "dodai"
PRINTED = re.compile(rf"\bdodai (?:{'|'.join(COMMANDS)}|\{{)")
BROKEN_PYTHON = """[project]
name = "shop"
python = "no/python"

[service.web]
command = ["x"]
app = "app:app"
public = true

[env.staging]
"""
ELSEWHERE = {
    "REHEARSE_ONLY": "tests/end_to_end/test_drills.py and others carry out every drill",
    "REPLACED_EXPORT": "tests/end_to_end/test_operations_rollback.py types it with a folder",
    "ALERTS_REPLAY": "tests/observability/test_watch.py types it over lines of its own",
    "DOWN_ANYHOW": "tests/end_to_end/test_operations_control.py types it with a reason",
    "DEPLOY_IMAGE": "tests/end_to_end/test_fly.py types it with the digest of a stand-in's registry",
}
DOCUMENTS = ("document", "pages.py")  # what they print is a document, whose commands other tests carry out
ALLOWED = {
    "__main__.py": "the version",
    "core/page_file.py": "the mark of a generated file",
    "cli/check_report.py": "the title of an annotation",
    "cli/checklist.py": "the mark of the comment",
    "cli/alerts.py": "examples",
    "cli/migrate/adopt.py": "what was given, on record",
    "cli/migrate/down.py": "what was given, on record",
    "cli/migrate/repair.py": "what was given, on record",
    "observability/alert/response.py": "sections of the runbook, a document",
    "observability/incident/written.py": "the first text of a file",
    "observability/run/grafana.py": "the title of a dashboard",
    "operations/run/beside.py": "what was given, on record",
    "cli/install.py": "what was given, on record",
    "operations/run/boot.py": "the text of a unit of systemd",
    "cli/restart.py": "what was given, which is given again after a failure",
    "providers/fly/fleet.py": "a mark of a machine",
    "cli/secrets/rotate.py": "what was given, which is given again after a failure",
    "providers/postgres/control/inspect.py": "the name of a connection",
}


def _help(tree: ast.AST) -> set[int]:
    """Ids of the strings that are docstrings, or the help or example of a command."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            found.add(id(node.value))
        if isinstance(node, ast.keyword) and node.arg in ("example", "help", "summary"):
            found |= {id(inner) for inner in ast.walk(node.value)}
    return found


def _printed(path: Path) -> list[str]:
    tree = ast.parse(path.read_text("utf-8"))
    skipped = _help(tree)
    inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            text = ast.unparse(node)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner:
            text = node.value
        else:
            continue
        if id(node) not in skipped and PRINTED.search(text):
            found.append(f"{path.relative_to(SOURCES)}:{node.lineno}: {text}")
    return found


def test_no_message_prints_a_command_that_is_not_in_the_table():
    """One that stands in a message alone is carried out by nobody, and is wrong once a command changes."""
    found, excused = [], set()
    for path in sorted(SOURCES.rglob("*.py")):
        name = str(path.relative_to(SOURCES))
        excused |= {name} if name in ALLOWED and _printed(path) else set()
        if (
            name == "core/proposal.py"
            or name in ALLOWED
            or any(part.startswith(DOCUMENTS) for part in Path(name).parts)
        ):
            continue
        found += _printed(path)
    assert found == []
    assert excused == set(ALLOWED)


def _typed(line: str) -> click.Context:
    """The command line as click reads it; raises for a command, option or argument that does not exist."""
    words = shlex.split(line)[1:]
    context = click.Context(app, info_name="dodai")
    command: click.Command = app
    while isinstance(command, click.Group):
        _, found, words = command.resolve_command(context, words)
        assert found is not None
        command = found
        context = click.Context(command, parent=context, info_name=command.name)
    return command.make_context(str(command.name), words, parent=context)


@pytest.mark.parametrize("name", ALL)
def test_every_proposed_command_can_be_typed(name):
    """Its command, options and arguments exist, and it has every word that it needs."""
    proposed = ALL[name]
    words = {
        field: {"area": "csrf", "number": "1"}.get(field, "word")
        for _, field, _, _ in string.Formatter().parse(proposed.text)
        if field
    }
    line = proposed(**words).replace("done|undone", "done")
    if not line.endswith("--help"):
        _typed(line)
    assert proposed.state
    assert "{" not in line


def _is_known(line: str) -> bool:
    """Whether a command of a page is one of the table, each word of a state a placeholder; a verb alone is a name."""
    verbs = line.split()[1:]
    if len(verbs) == 1:
        return verbs[0] in COMMANDS
    if verbs in (["incident", "new"], ["migrate", "up"]):
        return True
    shapes = (re.sub(r"\\{\w+\\}|\b[A-Z]{2,}\b", r"\\S+", re.escape(one.text)) for one in ALL.values())
    return any(re.fullmatch(shape, line) for shape in shapes)


def test_commands_of_the_code_pages_are_those_of_the_table():
    """What a page says is printed with the failure and pasted as well; words in capitals are the reader's."""
    pages = [(code.id, text) for code in codes().values() for text in (code.fix.en, code.fix.ja)]
    named = [(page, line) for page, text in pages for line in re.findall(r"`(dodai [a-z][^`<]*?) ?[`<]", text)]
    assert [(page, line) for page, line in named if not _is_known(line)] == []


def test_every_proposed_command_is_carried_out_by_a_test_in_its_state():
    """`carry_out` finds the command in what was said, and it has to work there."""
    done = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "carry_out":
                done |= {part.attr for part in ast.walk(node) if isinstance(part, ast.Attribute) and part.attr in ALL}
    assert sorted(set(ALL) - done) == sorted(ELSEWHERE)


def test_words_that_do_not_exist_and_files_that_are_not_there(tmp_path):
    """In a folder with nothing in it; what is proposed there works there, or says what it could not judge."""
    here = {"cwd": tmp_path}
    carry_out(dodai("explain", "zzzzzz", cwd=tmp_path).stderr, proposal.EXPLAIN_CODES, **here)
    carry_out(dodai("explain", "DOD001", "--schema", cwd=tmp_path).stderr, proposal.EXPLAIN_SCHEMA, **here)
    carry_out(dodai("trace", "a", "b", cwd=tmp_path).stderr, proposal.TRACE_HELP, **here)
    (tmp_path / "app.py").write_text("app = object()\n")
    checked = dodai("check", cwd=tmp_path)
    carry_out(checked.stdout + checked.stderr, proposal.EXPLAIN_MANIFEST, **here)
    (tmp_path / "dodai.toml").write_text(BROKEN_PYTHON)
    checked = dodai("check", cwd=tmp_path)
    carry_out(checked.stdout + checked.stderr, proposal.DOCTOR, **here)
    told = dodai("docs", cwd=tmp_path)
    assert told.returncode == 0, told.stderr
    page = (tmp_path / "docs" / "Phase2" / "observability.md").read_text("utf-8")
    carry_out(page, proposal.WATCH_ONCE, env="staging", **here)
    unknown = tmp_path / "dodai.toml"
    unknown.write_text(BROKEN_PYTHON + "\n[observability.alert.zzzz]\nthreshold = 2\n")
    checked = dodai("check", "observability", cwd=tmp_path)
    explained = carry_out(checked.stdout + checked.stderr, proposal.EXPLAIN, code="DOD407", **here)
    carry_out(explained.stdout, proposal.ALERTS_LIST, **here)


def test_first_responses_of_the_runbook_work_in_the_example():
    """The generated page names them as they are typed in its repository."""
    quiz = ROOT / "examples" / "quiz"
    page = (quiz / "docs" / "Phase2" / "observability.en.md").read_text("utf-8")
    carry_out(page, proposal.ROUTES, cwd=quiz)


@pytest.mark.parametrize(
    ("text", "options", "meant"),
    [
        ("see `dodai status x`", {}, "see `dodai status x`"),
        ("see `dodai status x`", {"": "--manifest a/b.toml"}, "see `dodai status x --manifest a/b.toml`"),
        ("`dodai explain DOD001`", {"": "--manifest a.toml"}, "`dodai explain DOD001`"),
        ("`dodai migrate up` or `dodai up`", {"migrate": "--env x"}, "`dodai migrate up --env x` or `dodai up`"),
        ("`dodai migrate up --env x`", {"migrate": "--env x"}, "`dodai migrate up --env x`"),
        ("`dodai.toml` of dodai status", {"": "--manifest a.toml"}, "`dodai.toml` of dodai status"),
    ],
)
def test_a_proposed_command_acts_on_what_the_command_before_it_acted_on(text, options, meant):
    """Pasted in the same folder it must not say that there is no manifest, or migrate another database."""
    assert addressed(text, options) == meant


def test_words_of_a_state_are_quoted_for_the_shell():
    """A blank in a name must not make two words of it."""
    assert proposal.TRACE(request="a b") == "dodai trace 'a b'"
    with pytest.raises(KeyError):
        proposal.TRACE()


def test_a_document_proposes_what_the_text_proposes_and_rewrites_nothing_else():
    """`next` is a command line as it is typed; a line of a log and a command on record are what they were."""
    document = {
        "next": ["dodai status x"],
        "error": {"fix": "run `dodai up x`", "message": "`dodai up x` was typed", "data": {"next": None}},
        "text": "`dodai up x`",
    }
    assert addressed_document(document, {"": "--manifest a.toml"}) == {
        "next": ["dodai status x --manifest a.toml"],
        "error": {
            "fix": "run `dodai up x --manifest a.toml`",
            "message": "`dodai up x` was typed",
            "data": {"next": None},
        },
        "text": "`dodai up x`",
    }
    assert addressed_document(document, {}) == document


def test_the_next_command_of_a_json_document_works_where_it_is_read(tmp_path):
    """`status --json` of another folder's manifest, whose path has a quote and a blank."""
    there = tmp_path / 'a "shop"'
    there.mkdir()
    (there / "dodai.toml").write_text(BROKEN_PYTHON)
    seen = dodai("status", "staging", "--json", "--manifest", str(there / "dodai.toml"), cwd=tmp_path)
    proposed = json.loads(seen.stdout)["next"]
    assert proposed == f"dodai deploy staging --manifest {shlex.quote(str(there / 'dodai.toml'))}"
    _typed(proposed)
