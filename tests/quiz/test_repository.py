"""What dodai says about the quiz's repository, and what is generated in it."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.quiz.stack import QUIZ
from tests.support.command import dodai

GENERATED = ("quiz_pb2.py", "quiz_pb2.pyi", "quiz_pb2_grpc.py")


def test_generated_python_is_what_the_contract_makes(tmp_path):
    """Nobody edits it by hand, nobody forgets to make it again."""
    out = [f"--{kind}_out={tmp_path}" for kind in ("python", "pyi", "grpc_python")]
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I", ".", *out, "contract/quiz.proto"]
    subprocess.run(command, cwd=QUIZ, check=True, timeout=60)
    for name in GENERATED:
        assert (tmp_path / "contract" / name).read_text() == (QUIZ / "contract" / name).read_text(), name


def test_the_whole_history_of_migrations_is_judged_and_nothing_found():
    """Not only what is new; what is found now is in `tests/plan/test_example.py`."""
    said = dodai("check", "migrations", "--all", cwd=QUIZ)
    assert said.returncode == 0, said.stdout + said.stderr


def test_every_sql_file_is_asked_for_and_every_query_has_a_file():
    """A statement nobody runs is not checked against the schema for anybody."""
    store = (QUIZ / "backend" / "store.py").read_text("utf-8")
    files = {path.stem for path in (QUIZ / "backend" / "queries").glob("*.sql")}
    assert {name for name in files if f'"{name}"' not in store} == set()


def test_documents_name_every_limitation_of_the_manifest():
    """The list people read and the rows that checks read are the same."""
    rows = tomllib.loads((QUIZ / "dodai.toml").read_text("utf-8"))["limitation"]
    for page in ("tech.md", "tech.en.md"):
        text = (QUIZ / "docs" / page).read_text("utf-8")
        for row in rows:
            assert f"`{row['id']}`" in text
            assert f"`{row['resolved_by']}`" in text if "resolved_by" in row else True


def test_plan_of_the_example_is_the_plan_with_its_status_added():
    """Nobody fixes the plan to fit what was built."""
    page = (QUIZ / "docs" / "Phase2" / "implementation-plan.md").read_text("utf-8")
    without = re.sub(r"(?s)## 進捗\n.*?(?=^## )", "", page, flags=re.MULTILINE)
    assert without == (Path(__file__).parents[1] / "plan" / "phase2-plan.md").read_text("utf-8")


def test_application_contains_no_fault_of_its_own():
    """Faults come from outside: no name that the code reads from its environment switches one on."""
    known = {"PORT", "DATABASE_URL", "BACKEND_ADDR", "IDENTITY_ADDR", "SESSION_SECRET", "REVIEW_WEBHOOK_SECRET"}
    known |= {"OIDC_ISSUER", "OIDC_CLIENT_ID", "OIDC_CLIENT_SECRET", "DODAI_RELEASE"}
    assert names_read(QUIZ) <= known


def names_read(folder: Path) -> set[str]:

    text = "\n".join(
        path.read_text("utf-8") for part in ("web", "backend", "identity") for path in (folder / part).rglob("*.py")
    )
    return set(re.findall(r'environ(?:ment)?(?:\[|\.get\()[\'"](\w+)[\'"]', text)) - {"PATH_INFO"}
