"""`packages/remix`: its own suite, and what Python and TypeScript say about each other's tokens, proofs and lines."""

from __future__ import annotations

import json
import re
import runpy
import time
from pathlib import Path

import pytest
from tests import node_parts

from dodai.core import codes as core_codes
from dodai.csrf import codes as csrf_codes
from dodai.csrf.token import decode_nonce, issue, parse_key_ring, verify

SPEC = node_parts.ROOT / "spec"
FIRST = "k001:6KmH-XtgmFGnfhDW1IE47w5Rj0a58doRRboYOtAvk1M"
SECOND = "k002:w37pxN9p0ulsXpuUx118q8WD5-9txlpsAco6jT-LdwU"
NONCE = "ErXeJFwNoGTOUllvsJffHg"

# Issues a token under RING and says what TOKEN is worth, as the package does it.
PEER = """
import { randomBytes } from "node:crypto";
const token = await import(process.env.MODULE);
const ring = token.parseKeyRing(process.env.RING);
const nonce = token.decodeNonce(process.env.NONCE), subject = process.env.SUBJECT;
const nowS = Math.floor(Date.now() / 1000);
const made = token.issue(ring, { nonce, subject, nowS, random: randomBytes(16) });
const verdict = token.verify(ring, process.env.TOKEN, { nonce, subject, nowS, maxAgeS: 86400 });
console.log(JSON.stringify({ made, verdict }));
"""


@pytest.fixture(scope="module")
def package() -> Path:
    return node_parts.built_package()


def test_its_own_suite_is_green_and_its_lines_are_sound(package: Path, tmp_path: Path):
    """Types, vectors, attacks, a real server and real gRPC; every line written meanwhile passes the checker."""
    lines = tmp_path / "lines.jsonl"
    told = node_parts.npm(package, "test", env={"LINES": str(lines)})
    assert re.search(r"Tests\s+\d{3} passed", told), told
    check = runpy.run_path(str(SPEC / "check_line.py"))
    assert lines.read_text().count("\n") >= 15
    assert check["main"]([str(lines)]) == 0


@pytest.mark.parametrize("subject", ["", "u-1", "花子 😀"])
def test_each_side_accepts_the_tokens_of_the_other_through_a_rotation(package: Path, subject: str):
    """The old key signs, then both, then the new one alone: only what a dropped key signed is refused."""
    nonce = decode_nonce(NONCE)
    now_s = int(time.time())
    for ring, other, accepted in ((FIRST, FIRST, True), (FIRST, f"{SECOND},{FIRST}", True), (FIRST, SECOND, False)):
        python = parse_key_ring(ring)
        token = issue(python, nonce=nonce, subject=subject, now_s=now_s, random=bytes(range(16)))
        env = {"MODULE": str(package / "dist" / "token.js"), "RING": other, "NONCE": NONCE, "SUBJECT": subject}
        answer = json.loads(node_parts.node(package, "--input-type=module", "-e", PEER, env={**env, "TOKEN": token}))
        assert answer["verdict"] == ("valid" if accepted else "unknown_key")
        verdict = verify(
            parse_key_ring(f"{SECOND},{FIRST}"),
            answer["made"],
            nonce=nonce,
            subject=subject,
            now_s=now_s + 1,
            max_age_s=86400,
        )
        assert verdict == "valid"


def test_a_refusal_says_the_same_on_both_sides():
    """`spec/refusals.json` is what the Python side tells; the package's own suite compares itself with it."""
    stored = json.loads((SPEC / "refusals.json").read_text("utf-8"))["codes"]
    codes = [code for code in (*core_codes.CODES, *csrf_codes.CODES) if code.id in stored]
    told = {
        code.id: {
            "name": code.name,
            "message": {"en": code.what.en, "ja": code.what.ja},
            "fix": {"en": code.fix.en, "ja": code.fix.ja},
        }
        for code in codes
    }
    assert stored == told


def test_what_npm_would_publish_is_the_build_and_nothing_else(package: Path):
    """No source, no test, no dependency; types beside every module."""
    (packed,) = json.loads(node_parts.npm(package, "pack", "--dry-run", "--json", "--ignore-scripts"))
    names = {row["path"] for row in packed["files"]}
    assert (package / "LICENSE").read_bytes() == (node_parts.ROOT / "LICENSE").read_bytes()
    assert {"README.md", "LICENSE", "package.json", "dist/csrf.server.js", "dist/csrf.server.d.ts"} <= names
    assert all(name.startswith("dist/") or name in ("README.md", "LICENSE", "package.json") for name in names)
    assert "dependencies" not in json.loads((package / "package.json").read_text("utf-8"))


def test_no_lock_file_names_a_registry():
    """Whoever installs asks the registry of their own configuration."""
    locks = node_parts.run(node_parts.ROOT, "git", "ls-files", "*package-lock.json").split()
    assert "packages/remix/package-lock.json" in locks
    assert not [name for name in locks if '"resolved": "http' in (node_parts.ROOT / name).read_text("utf-8")]
