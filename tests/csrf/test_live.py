"""`dodai routes --live` against the quiz as it really runs: what is seen from outside decides, not what was audited."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.quiz.stack import QUIZ, running_quiz


def live(url: str) -> tuple[int, dict[str, list[dict[str, object]]]]:
    command = [sys.executable, "-m", "dodai", "routes", "--live", url, "--json", "--manifest", str(QUIZ / "dodai.toml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=180)
    return done.returncode, json.loads(done.stdout)


def test_running_system_that_disagrees_with_the_audit_is_red(quiz_database: str, tmp_path: Path):
    """The same commit, served as it is and then in mode "report": green, and red with each post that came through."""
    reporting = tmp_path / "dodai.toml"
    text = (QUIZ / "dodai.toml").read_text("utf-8")
    assert "\n[csrf]\n" in text
    reporting.write_text(
        text.replace("\n[csrf]\n", '\n[csrf]\nmode = "report"\n').replace('\nmode = "both"', ""), "utf-8"
    )
    (tmp_path / "quiz").mkdir()
    with running_quiz(quiz_database, tmp_path / "quiz") as stack:
        code, told = live(stack.url)
        assert code == 0, told
        assert {(one["method"], one["path"]) for one in told["asked"]} >= {
            ("POST", "/questions"),
            ("DELETE", "/questions/0"),
            ("PUT", "/api/questions/0/star"),
        }
        assert not any(one["problem"] for one in told["asked"])
        assert "POST /webhooks/review" in told["notAsked"]

        stack.end("web")
        stack.manifest = str(reporting)
        stack.start("web")
        code, told = live(stack.url)
        assert code == 1
        assert {one["path"] for one in told["asked"] if one["problem"]} >= {"/-/dodai/probe", "/sign-out"}
