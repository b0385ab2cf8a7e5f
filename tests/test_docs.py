"""What the documents say can be pasted, found and parsed, and nothing that people must know is missing from them."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
import tomllib
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from cogapp import Cog

from dodai.cli.main import app, run
from dodai.core.errors import DodaiError
from dodai.core.manifest import read
from dodai.wiring.registry import codes, reference

ROOT = Path(__file__).resolve().parents[1]
SRC = ROOT / "src" / "dodai"
DOCS = tuple(sorted((ROOT / "docs").rglob("*.md")))
RUNBOOKS = tuple(sorted((ROOT / "examples" / "quiz" / "docs").rglob("*.md")))
PAGES = tuple(sorted(path for path in (*ROOT.glob("*.md"), *DOCS, *RUNBOOKS) if path.name != "plan.md"))
FACADES = ("asgi", "wsgi", "grpc", "psycopg", "httpx")


@dataclass(frozen=True, slots=True)
class Block:
    page: Path
    line: int
    language: str
    text: str


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(path: Path) -> Iterator[Block]:
    """The fenced blocks of a page; one that is never closed fails."""
    fence: tuple[str, int, str] | None = None
    lines: list[str] = []
    for number, line in enumerate(path.read_text("utf-8").split("\n"), 1):
        found = re.match(r"\s*(`{3,})(\S*)", line)
        if fence is None and found:
            fence, lines = (found[1], number, found[2]), []
        elif fence and found and found[1] == fence[0] and not found[2]:
            yield Block(path, fence[1], fence[2], "\n".join(lines))
            fence = None
        elif fence:
            lines.append(line)
    assert fence is None, f"{shown(path)}:{fence[1] if fence else 0}: fence is never closed"


def prose(path: Path) -> str:
    """The text of a page without its fenced blocks."""
    return re.sub(r"(?ms)^\s*(`{3,})[^\n]*\n.*?^\s*\1\s*$", "", path.read_text("utf-8"))


def anchors(path: Path) -> set[str]:
    """The anchors GitHub makes of the headings of a page, and those written by hand."""
    found: set[str] = set(re.findall(r'<a id="([^"]+)">', path.read_text("utf-8")))
    for heading in re.findall(r"(?m)^#+ (.*)$", prose(path)):
        words = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        kept = "".join(c for c in words if c in "-_ " or unicodedata.category(c)[0] in "LNM")
        slug = kept.replace(" ", "-")
        found.add(slug if slug not in found else f"{slug}-1")
    return found


ALL_BLOCKS = tuple(block for page in PAGES for block in blocks(page))


def named(block: Block) -> str:
    return f"{shown(block.page)}:{block.line}"


# --- links ---


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_every_link_leads_somewhere(page):
    """A relative link names a file of the repository, an anchor a heading of its page."""
    dead = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(file)):
            dead.append(target)
    assert not dead


def test_every_page_is_reachable_from_the_index():
    """A page that nothing links to is read by nobody."""
    index = ROOT / "docs" / "index.md"
    reached, waiting = set(), [index]
    while waiting:
        page = waiting.pop()
        if page in reached or page.suffix != ".md" or not page.exists():
            continue
        reached.add(page)
        names = re.findall(r"\]\(([^)#\s:]+)(?:#[^)]*)?\)", prose(page))
        waiting += [(page.parent / name).resolve() for name in names]
    assert not [shown(page) for page in DOCS if page not in reached]


# --- blocks ---


@pytest.mark.parametrize("block", [b for b in ALL_BLOCKS if b.language == "toml"], ids=named)
def test_a_toml_block_parses(block):
    """People paste it into their manifest."""
    tomllib.loads(block.text)


def in_the_manifest_of_a_reader(block: Block) -> bool:
    """The generated reference names tables that it does not define; tests/core holds it."""
    return block.language == "toml" and block.page in DOCS and block.page.name != "manifest.md"


@pytest.mark.parametrize("block", list(filter(in_the_manifest_of_a_reader, ALL_BLOCKS)), ids=named)
def test_a_manifest_in_the_docs_is_a_sound_manifest(block):
    """Its keys exist and its values have the right form."""
    text = block.text if "[project]" in block.text else f'[project]\nname = "example"\n{block.text}'
    read(text.encode(), reference(), path=named(block))


def added_by(page: Path) -> set[str]:
    """The modules of dodai that a page for contributors adds; `test_contributing` adds them and imports them."""
    titles = re.findall(r'(?m)^`{3,}\w+ title="src/(dodai/.*)\.py"$', page.read_text("utf-8"))
    return {title.replace("/", ".") for title in titles}


@pytest.mark.parametrize("block", [b for b in ALL_BLOCKS if b.language == "python"], ids=named)
def test_a_python_block_parses_and_its_names_exist(block):
    """What is imported from dodai is there."""
    added = added_by(block.page)
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.ImportFrom) and node.module in added:
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "dodai":
            module = importlib.import_module(node.module or "")
            assert all(hasattr(module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.partition(".")[0] == "dodai":
                    importlib.import_module(alias.name)


def command_lines(block: Block) -> list[str]:
    """The commands of a console block: no prompts, comments or continuation lines left."""
    joined = block.text.replace("\\\n", " ")
    return [line for line in joined.split("\n") if line.strip() and not line.lstrip().startswith("#")]


def dodai_words(line: str) -> list[str] | None:
    words = shlex.split(line, comments=True)
    while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
        words = words[1:]
    for runner in (["dodai"], ["uvx", "dodai"], [".venv/bin/dodai"]):
        if words[: len(runner)] == runner:
            return words[len(runner) :]
    return None


def understand(words: list[str]) -> None:
    """Let click parse a command line as far as it can be parsed without doing anything."""
    command: click.Command = app
    context = click.Context(app, info_name="dodai", **app.context_settings)
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        inner = command.get_command(context, words[0])
        assert inner, f"there is no command `{' '.join(words)}`"
        command, words = inner, words[1:]
        context = click.Context(command, parent=context, info_name=command.name)
    if isinstance(command, click.Group):
        known = {option for param in command.get_params(context) for option in param.opts}
        assert set(words) <= known, f"unknown words {words}"
        return
    command.make_context(command.name, list(words), resilient_parsing="--help" in words)


@pytest.mark.parametrize("block", [b for b in ALL_BLOCKS if b.language == "console"], ids=named)
def test_a_console_block_names_only_commands_that_exist(block):
    """Every `dodai` line parses with its options; every `make` line is a target."""
    targets = set(re.findall(r"(?m)^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8")))
    for line in command_lines(block):
        assert not line.startswith("$ "), "commands are written without a prompt, so that they can be pasted"
        words = dodai_words(line)
        if words is not None:
            understand(words)
        elif line.startswith("make "):
            goals = [w for w in shlex.split(line, comments=True)[1:] if "=" not in w]
            assert set(goals) <= targets, line


@pytest.mark.parametrize("page", [page for page in (*DOCS, *RUNBOOKS) if page.name != "codes.md"], ids=shown)
def test_commands_in_a_sentence_exist(page):
    """`dodai WORD` in the docs is never a promise."""
    assert not [words for words in commands_in(prose(page)) if not exists(words)]


def test_the_advice_of_every_code_names_commands_that_exist():
    """Whoever meets a code types what its `fix` says, in either language."""
    said = [(f"{code.id} {code.name}", text) for code in codes().values() for text in (code.what, code.why, code.fix)]
    named = {(name, " ".join(words)) for name, text in said for words in commands_in(f"{text.en} {text.ja}")}
    assert not sorted((name, words) for name, words in named if not exists(words.split()))


def commands_in(text: str) -> list[list[str]]:
    """The words after each `dodai` in backticks, as far as they are plain words."""
    return [words.split() for words in re.findall(r"`dodai ((?:[a-z]+ ?)+)", text)]


def exists(words: list[str]) -> bool:
    """Whether the words begin with a command, and with one of its own if it is a group."""
    command: click.Command | None = app
    while isinstance(command, click.Group) and words:
        command, words = command.get_command(click.Context(command), words[0]), words[1:]
    return command is not None


# --- completeness ---


def source_names(pattern: str, *folders: str) -> set[str]:
    found: set[str] = set()
    for folder in folders:
        for path in (ROOT / folder).rglob("*.py"):
            found |= set(re.findall(pattern, path.read_text("utf-8")))
    return found


DEFINED_CODE = re.compile(r'^([A-Z][A-Z0-9_]+)(?:: Code)? = \w+\(\s*"(DOD\d{3})"', re.MULTILINE)


def test_every_code_can_be_met():
    """A page about something that no line of the source ever says would only pretend."""
    files = list((ROOT / "src" / "dodai").rglob("*.py"))
    defining = [path for path in files if "codes" in (path.stem, path.parent.name)]
    rest = "\n".join(path.read_text("utf-8") for path in files if path not in defining)
    names = {found[2]: found[1] for path in defining for found in DEFINED_CODE.finditer(path.read_text("utf-8"))}
    said = set(re.findall(r"\b(?:DOD\d{3}|[A-Z][A-Z0-9_]+)\b", rest))
    assert [id_ for id_ in codes() if not {id_, names.get(id_, "")} & said] == []


def test_every_code_that_is_mentioned_exists():
    """A number in a message, a docstring, a test or a page leads somewhere."""
    files = [path for folder in ("src", "tests", "docs", "examples", "spec") for path in (ROOT / folder).rglob("*")]
    written = [
        path
        for path in files
        if path.suffix in (".py", ".md", ".toml") and not {"node_modules", ".dodai"} & {*path.parts}
    ]
    said = {(shown(path), id_) for path in written for id_ in re.findall(r"\bDOD\d{3}\b", path.read_text("utf-8"))}
    known = {*codes(), "DOD999", "DOD349"}  # what tests, and the pages for contributors, call a code of nobody's
    assert sorted((name, id_) for name, id_ in said if id_ not in known and name != "tests/core/test_errors.py") == []


def test_every_environment_variable_is_documented_and_every_documented_one_exists():
    """Names that the code reads, hands to services, or marks its processes with."""
    page = (ROOT / "docs" / "reference" / "environment-variables.md").read_text("utf-8")
    documented = set(re.findall(r"`(DODAI_[A-Z][A-Z_]+)", page))
    used = source_names(r"\bDODAI_[A-Z][A-Z_]*[A-Z]\b", "src/dodai")
    assert used <= documented
    assert documented <= used | source_names(r"\bDODAI_[A-Z][A-Z_]*[A-Z]\b", "tests")


def test_every_exit_code_is_documented():
    """A script that calls dodai decides by it."""
    page = (ROOT / "docs" / "reference" / "exit-codes.md").read_text("utf-8")
    documented = {int(code) for code in re.findall(r"(?m)^\| `(\d+)`", page)}
    used = {int(code) for code in source_names(r"exit_code(?:: int)?\s*=\s*(\d+)", "src/dodai")}
    assert used <= documented


def test_every_module_says_what_it_is():
    """Its docstring is the first thing a reader sees."""
    files = [path for path in SRC.rglob("*.py") if path.stat().st_size]
    assert not [shown(path) for path in files if not ast.get_docstring(ast.parse(path.read_text("utf-8")))]


@pytest.mark.parametrize("name", FACADES)
def test_everything_user_code_imports_is_documented(name):
    """Each public name of a façade has a docstring."""
    if not ((SRC / name).is_dir() or (SRC / f"{name}.py").is_file()):
        return
    module = importlib.import_module(f"dodai.{name}")
    bare = [each for each in module.__all__ if callable(getattr(module, each)) and not getattr(module, each).__doc__]
    assert not bare


def test_every_command_has_a_help_page_with_an_example_of_at_most_25_lines():
    """And the list of commands fits as well."""
    context = click.Context(app, info_name="dodai", terminal_width=100, **app.context_settings)
    assert len(app.get_help(context).splitlines()) <= 32
    waiting = [(name, app) for name in app.list_commands(context)]
    while waiting:
        name, group = waiting.pop()
        command = group.get_command(context, name)
        assert command
        inner = click.Context(command, parent=context, info_name=name, max_content_width=100, terminal_width=100)
        if isinstance(command, click.Group):
            waiting += [(each, command) for each in command.list_commands(inner)]
            continue
        page = command.get_help(inner)
        assert "Example" in page, name
        assert len(page.splitlines()) <= 25, name


def test_the_generated_reference_is_fresh(capsys):
    """`make docs` writes it again, and the status in the plan of the example."""
    assert run(["routes", "--help"]) == 0  # click keeps the help option of the first context that asked for it
    pages = [str(path) for path in (*DOCS, *RUNBOOKS) if "[[[cog" in path.read_text("utf-8")]
    assert Cog().main(["cog", "-I", str(ROOT / "docs"), "--check", "--diff", *pages]) == 0, capsys.readouterr().out


def test_the_readmes_are_short():
    """What it is, one picture, two commands; the rest is docs."""
    for name in ("README.md", "README.ja.md"):
        path = ROOT / name
        assert not path.exists() or len(path.read_text("utf-8").splitlines()) <= 200, name


def test_an_unsound_manifest_would_be_noticed():
    """The reader that judges the blocks above is the real one."""
    with pytest.raises(DodaiError):
        read(b'[project]\nnaem = "x"\n', reference(), path="x")
