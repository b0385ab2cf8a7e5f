"""Variables of the environment: where sources read them, in each language, and what the manifest says of them."""

from __future__ import annotations

import json

import pytest
from tests.support.command import commit, dodai

from dodai.operations.check.variable_reads import given_in, language_of, reads_of

PYTHON = {
    "subscript": ('import os\nos.environ["A"]', {("A", True)}),
    "asked for": ('import os\nos.environ.get("A", "x")\nos.getenv("B")\n"C" in os.environ', {"A", "B", "C"}),
    "imported": ('from os import environ as e, getenv\ne["A"]\ngetenv("B")', {("A", True), "B"}),
    "bound to a name": ('import os\nENV = os.environ\nENV["A"]', {("A", True)}),
    "handed on": ('import os\ndef of(env):\n    return env["A"], deep(1, env=env)\ndef deep(x, *, env):\n    return env.get("B")\nof(os.environ)', {("A", True), "B"}),
    "class that is handed it": ('import os\nclass S:\n    def __init__(self, env):\n        self.a = env["A"]\nS(os.environ)', {("A", True)}),
    "classmethod": ('import os\nclass S:\n    @classmethod\n    def of(cls, env):\n        return env["A"]\nS.of(os.environ)', {("A", True)}),
    "helper": ('import os\ndef need(name):\n    return os.environ[name]\nneed("A")\nneed("not a variable")', {("A", True)}),
    "helper of both": ('import os\ndef need(env, name):\n    return env[name]\nneed(os.environ, "A")', {("A", True)}),
    "pydantic": ('class S(BaseSettings):\n    model_config = SettingsConfigDict(env_prefix="APP_")\n    key: str\n    port: int = 1', {("APP_KEY", True), "APP_PORT"}),
    "django-environ": ('import environ\nenv = environ.Env()\nenv("A")\nenv.str("B", default="")', {("A", True), "B"}),
    "decouple": ('from decouple import config\nconfig("A")\nconfig("B", default=1)', {("A", True), "B"}),
    "written": ('import os\nos.environ["A"] = "1"\ndel os.environ["B"]', set()),
    "another mapping": ('def of(rows):\n    return rows["A"]\nof({})', set()),
    "no variable of a handed mapping": ('import os\ndef of(env):\n    return env["id"]\nof(os.environ)', set()),
    "no Python": ("os.environ['A", set()),
    "comment": ('# os.environ["A"]\n"""os.environ["B"]"""', set()),
}  # fmt: skip
SCRIPT = {
    "member": ("process.env.A ?? 1; process.env['B']; process.env?.C; import.meta.env.VITE_D", {"A", "B", "C", "VITE_D"}),
    "asserted": ("const a = process.env.A!;", {("A", True)}),
    "taken apart": ("const { A, B: b = 'x' } = process.env;", {"A", "B"}),
    "helper": ("function needed(name: string): string {\n  const value = process.env[name];\n  return value!;\n}\nneeded('A')", {("A", True)}),
    "arrow": ('const needed = (name: string) => process.env[name] ?? fail(name);\nneeded("A")', {("A", True)}),
    "written": ("process.env.A = '1'; process.env['B'] = '2'", set()),
    "compared": ("if (process.env.A === 'x') {}", {"A"}),
    "comments": ("// process.env.A\n/* process.env.B */ const url = 'http://x'; process.env.C", {"C"}),
    "regular expression": ("x.replace(/https?:\\/\\//, ''); process.env.A", {"A"}),
}  # fmt: skip
GO = {
    "direct": ('os.Getenv("A"); v, ok := os.LookupEnv("B")', {"A", "B"}),
    "tag": ('type C struct {\n  A string `env:"A,required"`\n  B string `envconfig:"B"`\n}', {("A", True), "B"}),
    "helper": ('func must(key string) string {\n  return os.Getenv(key)\n}\nvar a = must("A")', {"A"}),
    "comment": ('// os.Getenv("A")', set()),
}


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        pytest.param(path, text, expected, id=f"{path}: {name}")
        for path, cases in (("app.py", PYTHON), ("app.ts", SCRIPT), ("main.go", GO))
        for name, (text, expected) in cases.items()
    ],
)
def test_read_is_found_with_its_name_and_whether_it_must_be_set(path, text, expected):
    """A name alone is one that may be missing."""
    found = {(one.name, one.required) for one in reads_of({path: text})}
    assert found == {one if isinstance(one, tuple) else (one, False) for one in expected}


def test_mapping_is_followed_into_another_file_and_the_line_is_that_of_the_read():
    """As in applications that read all of it in one place."""
    files = {
        "web/app.py": "import os\nfrom web.settings import Settings\nSettings.of(os.environ)\n",
        "web/settings.py": 'class Settings:\n    @classmethod\n    def of(cls, env):\n        return cls(\n            env["A"],\n        )\n',
    }
    assert [(one.path, one.line, one.name) for one in reads_of(files)] == [("web/settings.py", 5, "A")]


def test_tests_and_installed_packages_are_no_sources():
    """What only a test reads is nothing an environment has to have."""
    paths = ("tests/a.py", "web/test_a.py", "a_test.go", "a.spec.ts", "node_modules/a/i.js", "a.d.ts", "conftest.py")
    assert [language_of(path) for path in paths] == [""] * len(paths)
    assert [language_of(path) for path in ("web/a.py", "app/a.server.tsx", "cmd/a.go")] == [
        "Python",
        "JavaScript",
        "Go",
    ]


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ("Dockerfile", "FROM x\nENV A=1 \\\n    B=$OTHER\nENV C two words\nARG D\n", [(2, "A", True), (3, "B", False), (4, "C", True)]),
        ("fly.toml", 'app = "x"\n[env]\n  A = "1"\n[http]\n', [(3, "A", True)]),
        ("docker-compose.yml", "services:\n  web:\n    environment:\n      A: x\n      - B=${B}\n    ports: []\n", [(4, "A", True), (5, "B", False)]),
        (".github/workflows/ci.yml", "env:\n  A: ${{ secrets.A }}\njobs:\n  x:\n    run: flyctl secrets set B=2 C=$C\n", [(2, "A", False), (5, "B", True), (5, "C", False)]),
        ("fly.toml", "not toml [", []),
    ],
)  # fmt: skip
def test_value_that_a_file_gives_is_found_with_its_line(path, text, expected):
    """A reference to another variable is no value."""
    assert [(one.line, one.name, one.literal) for one in given_in(path, text)] == expected


MANIFEST = """[project]
name = "shop"
[service.web]
command = ["{python}", "-m", "web"]
public = true
env = { ADMIN_PASSWORD = "hunter2", GREETING = "hi" }
[secret.SESSION_SECRET]
used_by = ["web"]
[setting.LEFT_OVER]
used_by = ["web"]
"""
CODE = 'import os\nos.environ["SESSION_SECRT"]\nos.environ.get("GREETING")\nos.environ.get("DEPTH")\nos.environ["HOME"]\nSESSION_SECRET = 1\n'


def findings(folder):
    done = dodai("check", "operations", "--fast", "--output-format", "json", cwd=folder)
    found = json.loads(done.stdout)["findings"]
    return [(one["code"], one["level"], one["path"], one["line"], one["message"], one["fix"]) for one in found]


def test_check_names_file_and_line_of_what_is_undeclared_unused_and_in_the_open(tmp_path):
    """A required read is an error, one that may be missing a warning; a typing error is told with the nearest name."""
    (tmp_path / "dodai.toml").write_text(MANIFEST)
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "__main__.py").write_text(CODE)
    (tmp_path / "ignored.py").write_text('import os\nos.environ["IGNORED"]\n')
    (tmp_path / ".gitignore").write_text("ignored.py\n")
    commit(tmp_path)
    told = {(code, level, path, line) for code, level, path, line, _, _ in findings(tmp_path)}
    assert told == {
        ("DOD504", "error", "web/__main__.py", 2),
        ("DOD504", "warning", "web/__main__.py", 4),
        ("DOD505", "warning", "dodai.toml", 9),
        ("DOD507", "error", "dodai.toml", 6),
    }
    typed = next(row for row in findings(tmp_path) if row[3] == 2)
    assert typed[4] == "`SESSION_SECRT` is read, and the manifest does not declare it"
    assert typed[5].startswith("did you mean `SESSION_SECRET`? Else declare it: `[secret.SESSION_SECRT]` for a secret")
    assert "hunter2" not in json.dumps(findings(tmp_path))


@pytest.mark.parametrize(
    ("path", "text", "has_value"),
    [
        ("app.py", 'import os\nos.environ.get("A", "k7Jq2wXe")', True),
        ("app.py", 'import os\nos.getenv("A") or "k7Jq2wXe"', True),
        ("app.py", 'from decouple import config\nconfig("A", default="k7Jq2wXe")', True),
        ("app.py", 'import os\nos.environ.get("A", "")\nos.environ.get("A", other)\nos.environ["A"]', False),
        ("app.ts", "const key = process.env.A ?? 'k7Jq2wXe';", True),
        ("app.ts", 'const key = process.env["A"] || "k7Jq2wXe";', True),
        ("app.ts", "const key = process.env.A ?? '' ; const other = process.env.A || given('x');", False),
    ],
)
def test_value_of_a_secret_in_a_source_is_seen(path, text, has_value):
    """What stands there is used where the secret is forgotten, and everybody can read it."""
    assert {one.has_value for one in reads_of({path: text})} == {has_value}


def test_secret_with_a_value_in_a_source_is_an_error_with_its_line(tmp_path):
    """A setting may have one; the value itself is not repeated."""
    (tmp_path / "dodai.toml").write_text(MANIFEST.replace("env = {", "#").replace("LEFT_OVER", "DEPTH"))
    code = 'import os\nkey = os.environ.get("SESSION_SECRET", "k7Jq2wXe")\ndepth = os.environ.get("DEPTH", "3")\n'
    (tmp_path / "web.py").write_text(code)
    commit(tmp_path)
    (row,) = findings(tmp_path)
    assert row[:4] == ("DOD507", "error", "web.py", 2)
    assert "k7Jq2wXe" not in "".join(row[4:])


def test_environment_file_in_the_repository_and_a_misspelled_name_are_found(tmp_path):
    """An ignored file and an example without values are nobody's mistake."""
    text = MANIFEST.replace("env = {", "#").replace("LEFT_OVER", "OIDC_ISSUER")
    (tmp_path / "dodai.toml").write_text(text)
    (tmp_path / "web.py").write_text('import os\nos.environ["SESSION_SECRET"]\nos.environ.get("OIDC_ISSUER")\n')
    (tmp_path / ".env").write_text("export SESSION_SECRET='k7Jq2wXe'  # mine\n")
    (tmp_path / ".env.local").write_text("SESSION_SECRET=k7Jq2wXe\n")
    (tmp_path / ".env.example").write_text("SESSION_SECRET=\n# SESSION_SECRET=x\nOTHER=1\n")
    (tmp_path / ".gitignore").write_text(".env.local\n")
    (tmp_path / "fly.toml").write_text('[env]\nOIDC_ISUER = "https://auth.example.com"\nREGION_HINT = "nrt"\n')
    commit(tmp_path)
    told = {(code, level, path, line) for code, level, path, line, _, _ in findings(tmp_path)}
    assert told == {("DOD507", "error", ".env", 1), ("DOD505", "warning", "fly.toml", 2)}
    assert "did you mean `OIDC_ISSUER`?" in {fix for *_, fix in findings(tmp_path)}


def test_path_of_the_manifest_that_leads_to_nothing_is_named_with_its_line(tmp_path):
    """One pattern of two that matches nothing too: the other one does not speak for it."""
    text = MANIFEST.replace("env = {", 'cwd = "front"\n#').replace("[setting.LEFT_OVER]", "[setting.DEPTH]")
    text += '[csrf]\ntemplates = ["pages/*.html", "mails/*.html"]\n[env.staging]\nallowed_signers = "ops/signers"\n'
    (tmp_path / "dodai.toml").write_text(text)
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "home.html").write_text("<p>")
    (tmp_path / "web.py").write_text("SESSION_SECRET = DEPTH = 1\n")
    told = [(code, line, said) for code, _, _, line, said, _ in findings(tmp_path) if code == "DOD508"]
    lines = text.splitlines()
    assert sorted(told) == sorted(
        [
            ("DOD508", 1 + lines.index('cwd = "front"'), "`front`, the `cwd` of `[service.web]`, is not there"),
            (
                "DOD508",
                1 + next(n for n, line in enumerate(lines) if line.startswith("templates")),
                "`mails/*.html`, the `templates` of `[csrf]`, matches no file",
            ),
            (
                "DOD508",
                1 + lines.index('allowed_signers = "ops/signers"'),
                "`ops/signers`, the `allowed_signers` of `[env.staging]`, is not there",
            ),
        ]
    )


def test_env_example_is_written_between_markers_and_its_owner_keeps_the_rest(tmp_path):
    """Fresh when written; stale when the manifest says something else; half a marker is refused with its line."""
    example, manifest = tmp_path / ".env.example", tmp_path / "dodai.toml"
    manifest.write_text(MANIFEST.replace("[setting.LEFT_OVER]", '[setting.DEPTH]\nabout = "how deep"\ndefault = "3"'))
    example.write_text("# ours\nOURS=1\n")
    assert dodai("docs", "--check", cwd=tmp_path).returncode == 1
    assert dodai("docs", cwd=tmp_path).returncode == 0
    assert example.read_text().startswith("# ours\nOURS=1\n\n# dodai:begin variables\n")
    assert "# secret of web\nSESSION_SECRET=\n\n# web: how deep; when not set: 3\n# DEPTH=\n" in example.read_text()
    assert dodai("docs", "--check", cwd=tmp_path).returncode == 0
    manifest.write_text(manifest.read_text().replace("how deep", "how far"))
    stale = dodai("docs", "--check", cwd=tmp_path)
    assert (stale.returncode, "`.env.example` differs" in stale.stdout) == (1, True)
    example.write_text("OURS=1\n# dodai:end variables\n")
    broken = dodai("docs", cwd=tmp_path)
    assert (broken.returncode, "DOD008" in broken.stderr, ".env.example:2" in broken.stderr) == (2, True, True)


def test_repository_without_git_is_searched_and_a_file_that_cannot_be_read_is_not_judged(tmp_path):
    """Unread is not clean."""
    (tmp_path / "dodai.toml").write_text(MANIFEST.replace("env = {", "#"))
    (tmp_path / "web.py").write_bytes(b'import os\nos.environ["SESSION_SECRET"]  # \xff\n')
    done = dodai("check", "operations", "--fast", cwd=tmp_path)
    assert "not judged DOD504" in done.stdout
    assert "`web.py` cannot be read: UnicodeDecodeError" in done.stdout
    assert done.returncode == 1
