"""The command line's contract: exit codes, streams, envelopes, and nothing that surprises a pipe."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from tests.support.command import dodai

from dodai import __version__
from dodai.cli.main import COMMANDS


def write_manifest(folder, text="[project]\nname = 'quiz'\n"):
    (folder / "dodai.toml").write_text(text)
    return folder


def test_version_is_printed_without_loading_the_command_line_library():
    """The start-up budget leaves no room for click."""
    code = "import sys, dodai.__main__ as m; sys.argv = ['dodai', '--version']; m.main(); print('click' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines() == [f"dodai {__version__}", "False"]


def test_help_groups_the_commands_and_fits_a_screen():
    """A line for each command, grouped, on one screen; a command more than these is a reason to think of groups."""
    answer = dodai("--help")
    assert answer.returncode == 0
    assert len(answer.stdout.splitlines()) <= 36
    assert "Every day:" in answer.stdout
    assert all(f"  {name} " in answer.stdout for name in COMMANDS if name in answer.stdout.split())


@pytest.mark.parametrize("name", ["check", "explain", "docs", "doctor", "up", "down", "deploy", "status", "rehearse"])
def test_help_of_every_command_shows_an_example(name):
    """Nobody has to guess the shape of a command line."""
    answer = dodai(name, "--help")
    assert answer.returncode == 0
    assert f"dodai {name}" in answer.stdout.split("Example:")[1]


def test_unknown_command_is_a_usage_error_on_stderr():
    """Exit code 2, nothing on stdout, a way on."""
    answer = dodai("chek")
    assert answer.returncode == 2
    assert answer.stdout == ""
    assert "DOD054 usage: No such command 'chek'. Did you mean 'check'?" in answer.stderr


@pytest.mark.parametrize("words", [["status", "--wait", "--timeout"], ["deploy", "staging", "--dry-run", "--wait"]])
@pytest.mark.parametrize("seconds", ["nan", "-1"])
def test_time_that_is_never_over_is_a_usage_error(words, seconds, tmp_path):
    """A command that waits for it would wait for ever."""
    answer = dodai(*words, seconds, cwd=tmp_path)
    assert (answer.returncode, "DOD054 usage: Invalid value for '--" in answer.stderr) == (2, True), answer.stderr


@pytest.mark.parametrize("words", [["chek"], ["migrate", "upp"], ["secrets", "lst"]])
def test_unknown_command_is_a_usage_error_with_click_8_1_as_well(words, tmp_path):
    """The oldest click that dodai is installed beside has no `NoSuchCommand`."""
    code = "import sys, click; vars(click.exceptions).pop('NoSuchCommand', None); "
    code += "from dodai.cli.main import run; sys.exit(run(sys.argv[1:]))"
    command = [sys.executable, "-c", code, *words]
    answer = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False)
    assert answer.returncode == 2, answer.stderr
    assert f"DOD054 usage: No such command '{words[-1]}'. Did you mean '" in answer.stderr


def without(module, *words, cwd):
    """dodai where `module` cannot be imported, as after `pip install dodai` alone."""
    code = f"import sys; sys.modules[{module!r}] = None; from dodai.cli.main import run; sys.exit(run(sys.argv[1:]))"
    command = [sys.executable, "-c", code, *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=60, check=False)


def test_missing_extra_is_told_with_the_line_that_installs_it(tmp_path):
    """Exit code 2 and one line to paste; it is no defect of dodai."""
    write_manifest(tmp_path)
    (tmp_path / "db" / "migrations").mkdir(parents=True)
    answer = without("psycopg", "migrate", "status", cwd=tmp_path)
    assert answer.returncode == 2
    assert "DOD053 missing-extra: `psycopg` is not installed\n  fix: pip install 'dodai[postgres]'" in answer.stderr


def test_rules_that_need_a_missing_extra_are_unknown_and_the_others_are_judged(tmp_path):
    """`dodai check` reads files without a database driver; what it cannot try is no pass."""
    write_manifest(tmp_path)
    folder = tmp_path / "db" / "migrations"
    folder.mkdir(parents=True)
    text = "-- +goose Up\nCREATE TABLE t (id int PRIMARY KEY);\n-- +goose Down\nDROP TABLE t;\n"
    (folder / "20261101000000_t.sql").write_text(text)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    answer = without("psycopg", "check", cwd=tmp_path)
    assert "`psycopg` is not installed\n  fix: pip install 'dodai[postgres]'" in answer.stdout
    assert "DOD080" not in answer.stdout + answer.stderr
    assert without("psycopg", "check", "--fast", cwd=tmp_path).returncode == 0


def test_missing_manifest_is_told_with_the_code_and_exit_2(tmp_path):
    """A command that acts on the manifest says where it looked."""
    answer = dodai("deploy", "staging", cwd=tmp_path)
    assert answer.returncode == 2
    assert "DOD050 manifest-not-found" in answer.stderr
    assert "fix: " in answer.stderr


def test_errors_as_json_are_one_document_on_stdout(tmp_path):
    """The envelope is `dodai.error/1` and stderr stays empty."""
    answer = dodai("status", "--json", cwd=tmp_path)
    document = json.loads(answer.stdout)
    assert (document["schema"], document["error"]["code"], document["exitCode"]) == ("dodai.error/1", "DOD050", 2)
    assert answer.stderr == ""


def test_unknown_environment_names_the_nearest_one(tmp_path):
    """A typing error in an environment never reaches another environment."""
    folder = write_manifest(tmp_path, "[project]\nname = 'quiz'\n[env.staging]\n")
    answer = dodai("status", "stagin", cwd=folder)
    assert answer.returncode == 2
    assert "did you mean `staging`?" in answer.stderr


def test_deploy_without_a_terminal_and_without_yes_is_refused(tmp_path):
    """Silence is not consent."""
    folder = write_manifest(
        tmp_path, "[project]\nname = 'quiz'\n[env.staging]\n[service.web]\ncommand = ['sleep', '1']\npublic = true\n"
    )
    answer = dodai("deploy", "staging", cwd=folder)
    assert answer.returncode == 2
    assert "DOD052 confirmation-needed" in answer.stderr


def test_dry_run_prints_the_plan_as_data_and_changes_nothing(tmp_path):
    """Text and JSON name the same steps."""
    folder = write_manifest(
        tmp_path, "[project]\nname = 'quiz'\n[env.staging]\n[service.web]\ncommand = ['sleep', '1']\npublic = true\n"
    )
    text = dodai("deploy", "staging", "--dry-run", cwd=folder)
    document = json.loads(dodai("deploy", "staging", "--dry-run", "--json", cwd=folder).stdout)
    ids = [step["id"] for step in document["steps"]]
    assert text.returncode == 0
    assert document["schema"] == "dodai.plan/1"
    assert ids[-3:] == ["retire-web", "keep", "record"]
    assert all(step in text.stdout for step in ids)
    assert f"differs from what serves\n  release     web: nothing -> {document['release']}\n" in text.stdout
    assert document["differs"] == {"release": f"web: nothing -> {document['release']}"}
    assert not (folder / ".dodai" / "env" / "staging" / "journal.sqlite").exists()


def test_explain_speaks_both_languages_and_finds_names():
    """A code and its name lead to the same page."""
    by_code, by_name = dodai("explain", "DOD002"), dodai("explain", "manifest-unknown-key")
    assert by_code.stdout == by_name.stdout
    assert "対処:" in dodai("explain", "dod002", "--lang", "ja").stdout
    answer = dodai("explain", "DOD0O2")
    assert answer.returncode == 2
    assert "did you mean" in answer.stderr


def test_manifest_reference_is_printed_and_is_toml():
    """What `explain manifest` prints can be pasted."""
    import tomllib

    tomllib.loads(dodai("explain", "manifest").stdout)
    schema = json.loads(dodai("explain", "manifest", "--json").stdout)["jsonSchema"]
    assert json.loads(dodai("explain", "manifest", "--schema").stdout) == schema
    assert dodai("explain", "DOD002", "--schema").returncode == 2
    assert schema["properties"]["project"]["required"] == ["name"]


def test_closed_pipe_ends_quietly():
    """`dodai explain | head -1` prints one line and no traceback."""
    answer = subprocess.run(
        f"{sys.executable} -m dodai explain | head -n 1", shell=True, capture_output=True, text=True, check=False
    )
    assert len(answer.stdout.splitlines()) == 1
    assert answer.stderr == ""


def test_pipe_never_sees_an_escape(tmp_path):
    """Colour is for terminals."""
    answer = dodai("check", "--fast", cwd=write_manifest(tmp_path, "[project]\nnaem = 'x'\n"))
    assert answer.returncode == 2
    assert "\x1b" not in answer.stdout + answer.stderr
    assert "dodai.toml:2:1" in answer.stdout


def test_github_format_is_workflow_commands(tmp_path):
    """Each finding is one line that GitHub shows beside the diff."""
    folder = write_manifest(tmp_path, "[project]\nnaem = 'x'\n")
    answer = dodai("check", "--fast", "--output-format", "github", cwd=folder)
    assert answer.stdout.startswith("::error file=dodai.toml,line=1,title=DOD004 manifest-missing-key::")
    assert "%0Afix: " in answer.stdout


def test_sarif_is_a_document_and_exits_like_every_format(tmp_path):
    """An unsound manifest ends with 2 whoever reads the report."""
    folder = write_manifest(tmp_path, "[project]\nnaem = 'x'\n")
    answer = dodai("check", "--fast", "--output-format", "sarif", cwd=folder)
    document = json.loads(answer.stdout)
    assert answer.returncode == 2
    assert {result["ruleId"] for result in document["runs"][0]["results"]} == {"DOD002", "DOD004"}
