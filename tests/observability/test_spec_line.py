"""`spec/line` is what the code does, and `spec/check_line.py` finds what the vectors say."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dodai.core.line import FIELDS, LINE_TYPES, LINE_VERSION, MAX_LINE_BYTES, OUTCOMES
from dodai.core.request import (
    RequestContext,
    format_request_id,
    is_request_id,
    parse_deadline,
    parse_traceparent,
    time_ms_of,
)
from dodai.observability.line_format import dump, redact
from dodai.observability.policy import ObservabilityPolicy
from dodai.operations.secret import new_value
from dodai.runtime import Runtime, RuntimeConfig
from dodai.runtime.identity import ProofKeyRing, sign, verify

SPEC = Path(__file__).resolve().parents[2] / "spec"


def load(name: str) -> Any:
    return json.loads((SPEC / "line" / name).read_text("utf-8"))


@pytest.fixture(scope="module")
def checker() -> Any:
    spec = importlib.util.spec_from_file_location("check_line", SPEC / "check_line.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_schema_is_the_codes_own():
    """Every field, limit and requirement of `core.line`, and nothing else."""
    schema = load("schema.json")
    assert (schema["version"], schema["maxBytes"]) == (LINE_VERSION, MAX_LINE_BYTES)
    assert (schema["types"], schema["outcomes"]) == (list(LINE_TYPES), list(OUTCOMES))
    assert list(schema["fields"]) == [field.name for field in FIELDS]
    for field in FIELDS:
        stored = schema["fields"][field.name]
        assert stored["type"] == field.kind
        assert stored["maxChars"] == field.max_chars
        assert stored["requiredIn"] == list(field.required)
        assert stored["purpose"] == field.purpose.en


@pytest.mark.parametrize("vector", load("line.json"), ids=lambda vector: vector["name"])
def test_checker_finds_what_the_vector_says(checker: Any, vector: dict[str, Any]):
    """The first word of each problem."""
    found = checker.check_line(vector["line"].encode(), load("schema.json"))
    assert [problem.split(":", 1)[0] for problem in found] == vector["problems"]


def test_request_id_vectors():
    """Alphabet, layout, time and call spans."""
    vectors = load("request_id.json")
    assert all(is_request_id(text.encode()) for text in vectors["valid"])
    assert not any(is_request_id(text.encode()) for text in vectors["invalid"])
    for row in vectors["minted"]:
        assert format_request_id(row["nowMs"], int(row["randomBits"], 16)) == row["id"]
    for row in vectors["times"]:
        assert time_ms_of(row["id"]) == row["ms"]
    for row in vectors["callSpans"]:
        context = RequestContext()
        context.span_id, context.calls = row["span"], row["call"] - 1
        assert context.next_span_id() == row["callSpan"]


@pytest.mark.parametrize("row", load("text.json")["redact"], ids=lambda row: row[0])
def test_redaction_vectors(row: list[str]):
    """What a path loses is the same in every language."""
    assert redact(row[0]) == row[1]


@pytest.mark.parametrize("row", load("text.json")["dump"])
def test_dumped_text_vectors(row: dict[str, Any]):
    """No character of a value ends a line or steers a terminal, and half a surrogate pair becomes text."""
    assert dump(row["fields"]).decode() == row["line"]


@pytest.mark.parametrize("row", load("deadline.json"), ids=lambda row: repr(row["value"]))
def test_deadline_vectors(row: dict[str, Any]):
    """Digits alone; anything else leaves the request without a deadline of its caller."""
    assert parse_deadline(row["value"].encode()) == row["leftS"]


@pytest.mark.parametrize("row", load("traceparent.json"), ids=lambda row: row["value"][:60])
def test_traceparent_vectors(row: dict[str, Any]):
    """W3C Trace Context §3.2: versions, all-zero ids, trailing fields."""
    parsed = parse_traceparent(row["value"].encode())
    assert (list(parsed) if parsed else None) == row["parsed"]


@pytest.mark.parametrize("case", load("identity.json")["cases"], ids=lambda case: case["name"])
def test_identity_vectors(case: dict[str, Any]):
    """Bound to audience and user for a minute, by version 1 to the request as well."""
    ring = ProofKeyRing.parse(load("identity.json")["keys"])
    values = {"audience": case["audience"], "request_id": case["requestId"], "user_id": case["userId"]}
    assert verify(ring, case["proof"], **values, now_s=case["nowS"]) is case["valid"]
    if case["name"] == "version 2":
        assert sign(ring, audience=case["audience"], user_id=case["userId"], now_s=case["nowS"]) == case["proof"]


@pytest.mark.parametrize("case", load("identity.json")["shown"], ids=lambda case: case["name"])
def test_shown_user_vectors(case: dict[str, Any]):
    """While two keys overlap, whichever signs, every process shows a person alike."""
    ring = ProofKeyRing.parse(case["keys"])
    policy = ObservabilityPolicy(stdout=False, user_id="hmac")
    runtime = Runtime(RuntimeConfig(policy=policy, identity_keys=ring))
    assert runtime.shown_user(case["userId"]) == case["shown"]


@pytest.mark.parametrize(
    ("ring", "after"),
    [("", "k1"), ("k1:A", "k2"), ("k9:A", "k91"), ("k2:A,k1:B", "k3"), ("2026-09:A", "2026-10"), ("old:A", "old1")],
)
def test_id_of_a_new_key_sorts_after_those_that_are_there(ring: str, after: str):
    """So that it changes nothing about how lines show people."""
    assert new_value("DODAI_IDENTITY_KEYS", ring).partition(":")[0] == after


@pytest.mark.parametrize("last", ["abcdefghijklmnop", "abcdefghijklmn99", "k_"])
def test_id_of_a_new_key_is_a_sound_one(last: str):
    """At most 16 characters, whatever a person wrote."""
    made = new_value("DODAI_IDENTITY_KEYS", f"{last}:A").partition(":")[0]
    assert (made > last, re.fullmatch("[A-Za-z0-9_-]{1,16}", made) is not None) == (True, True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("k1", "not base64url|shorter"),
        (":abcd", "key id"),
        ("k1:!!!", "base64url|shorter"),
        ("k1:YWJj", "shorter than 16 bytes"),
        ("k1:" + "A" * 43 + ",k1:" + "B" * 43, "used twice"),
        ("k" * 17 + ":" + "A" * 43, "key id"),
    ],
)
def test_malformed_ring_is_refused_without_the_key(text: str, said: str):
    """What is wrong, never the secret."""
    with pytest.raises(ValueError, match=said) as caught:
        ProofKeyRing.parse(text)
    assert "AAAA" not in str(caught.value)
    assert repr(ProofKeyRing.parse("k1:" + "A" * 43)) == "ProofKeyRing()"


def run(*words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    argv = [sys.executable, "-S", str(SPEC / "check_line.py"), *words]
    return subprocess.run(argv, input=stdin, capture_output=True, check=False)


def test_command_needs_the_standard_library_only(tmp_path: Path):
    """Files, standard input, JSON, exit codes."""
    sound = load("line.json")[0]["line"]
    path = tmp_path / "lines.jsonl"
    path.write_text(sound + "\n" + sound.replace('"ok"', '"fine"') + "\n")
    done = run(str(path))
    assert done.returncode == 1
    assert done.stdout.decode().splitlines()[0].startswith(f"{path}:2: outcome:")
    assert run("-", stdin=sound.encode()).returncode == 0
    assert run().returncode == 2
    assert json.loads(run("--json", str(path)).stdout) == {"lines": 2, "sound": 1, "problems": [
        f"{path}:2: outcome: `fine` is none of {', '.join(OUTCOMES)}"
    ]}  # fmt: skip


def test_traffic_finds_duplicates_orphans_and_two_users(checker: Any):
    """What single lines cannot show."""
    base = json.loads(load("line.json")[0]["line"])
    child = {**base, "service": "backend", "spanId": "cccccccccccc0000", "parentSpanId": base["spanId"][:12] + "0003"}
    assert checker.check_traffic([base, child]) == []
    assert checker.check_traffic([base, base])[0].startswith("duplicate")
    assert checker.check_traffic([base, {**child, "parentSpanId": "d" * 16}])[0].startswith("orphan")
    assert checker.check_traffic([{**base, "userId": "a"}, {**child, "userId": "b"}])[0].startswith("user")
