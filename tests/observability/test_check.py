"""Other ways to write what a rule finds, what it leaves alone, and what is read at all."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from dodai.core.errors import Code
from dodai.core.fact import NotApplicable
from dodai.core.rule import evaluate
from dodai.observability import codes
from dodai.observability.check import RULES, LineSample, PythonSources, gather_lines, gather_sources
from dodai.observability.check.samples import line_problems

SPEC = Path(__file__).resolve().parents[2] / "spec" / "line"


def findings(tmp_path: Path, text: str, code: Code) -> list[Any]:
    """The findings of one rule over a repository that holds `text`."""
    if code is codes.LINE_DRIFT:
        (tmp_path / ".dodai" / "lines").mkdir(parents=True)
        (tmp_path / ".dodai" / "lines" / "web.jsonl").write_text(text)
    (tmp_path / "app.py").write_text("" if code is codes.LINE_DRIFT else text)
    facts = {
        PythonSources: gather_sources(tmp_path),
        LineSample: gather_lines(tmp_path / ".dodai", tmp_path),
    }
    report = evaluate([rule for rule in RULES if rule.code is code], facts, today=date(2026, 11, 1))
    assert not report.unknown
    return list(report.findings)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("loop.run_in_executor(None, work)", codes.CONTEXT_LOST),
        ("with ThreadPoolExecutor(4) as pool: pool.submit(work)", codes.CONTEXT_LOST),
        ("@app.middleware('http')\nasync def timing(request, call_next): ...", codes.BASE_HTTP_MIDDLEWARE),
        ("H.labels(request.method, request.url.path).observe(1)", codes.UNBOUNDED_LABEL),
        ("C.labels(user=user_id).inc()", codes.UNBOUNDED_LABEL),
        ("current().route = request.url.path", codes.UNBOUNDED_LABEL),
        ("logging.warning(f'bad {request.cookies}')", codes.SECRET_IN_LOG),
        ("logger.error('login', extra={'p': password})", codes.SECRET_IN_LOG),
        ("log.info(user.email)", codes.SECRET_IN_LOG),
        ("print(settings.session_secret)", codes.SECRET_IN_LOG),
        ("print('starts with', os.environ['SESSION_SECRET'])", codes.SECRET_IN_LOG),
        ("log.info('%s', claims.get('email'))", codes.SECRET_IN_LOG),
        ("logging.getLogger(__name__).info('signed in with %s', token)", codes.SECRET_IN_LOG),
    ],
)
def test_variants_are_caught(tmp_path: Path, text: str, code: Code):
    """Other ways to write the same mistake."""
    assert findings(tmp_path, text + "\n", code)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("loop.run_in_executor(ContextExecutor(2), work)", codes.CONTEXT_LOST),
        ("await asyncio.to_thread(work)", codes.CONTEXT_LOST),
        ("H.labels(route=path_template).inc()", codes.UNBOUNDED_LABEL),
        ("logger.info('token_count %s', token_count)", codes.SECRET_IN_LOG),
        ("logger.info('the token expired')", codes.SECRET_IN_LOG),
        ("logger.info(rows['title'], os.environ.get('HOME'))", codes.SECRET_IN_LOG),
        ("self.note('progress', 1)", codes.UNKNOWN_FIELD),
        ("def broken(:", codes.CONTEXT_LOST),
    ],
)
def test_harmless_code_is_left_alone(tmp_path: Path, text: str, code: Code):
    """No finding where nothing is wrong."""
    assert findings(tmp_path, text + "\n", code) == []


def test_tests_environments_and_generated_code_are_not_read(tmp_path: Path):
    """Only what the application itself is made of."""
    for name in ("tests/helper.py", ".venv/x.py", "node_modules/x.py", "test_a.py", "quiz_pb2.py", "web/app.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x = 1\n")
    (tmp_path / "binary.py").write_bytes(b"\xff\xfe")
    sources = gather_sources(tmp_path)
    assert [path for path, _ in sources.files] == ["web/app.py"]
    assert isinstance(gather_sources(tmp_path / "node_modules" / "none"), NotApplicable)


@pytest.mark.parametrize("vector", json.loads((SPEC / "line.json").read_text("utf-8")), ids=lambda v: v["name"])
def test_sample_judges_like_the_checker(vector: dict[str, Any]):
    """The rule and `spec/check_line.py` agree about which lines are sound, but for lengths and alphabets."""
    finer = {"too-long", "hex", "id", "negative"}
    expected = set(vector["problems"]) - finer
    if vector["name"] not in ("NaN", "a key twice", "4,097 bytes"):  # in which the standalone checker looks closer
        assert bool(list(line_problems(vector["line"].encode()))) == bool(expected)


def test_drift_names_service_place_and_count(tmp_path: Path):
    """One finding for each way in which a service leaves the schema."""
    bad = '{"ts":1.5,"v":1,"type":"event","service":"backend","name":"x","userAgent":"curl"}\n'
    (found,) = findings(tmp_path, codes.LINE_DRIFT.page.good[0].text + bad * 3 + '{"ts":1', codes.LINE_DRIFT)
    assert found.message == "`backend` wrote 3 of 4 lines in which unknown field `userAgent`"
    assert str(found.place) == ".dodai/lines/web.jsonl:2"
