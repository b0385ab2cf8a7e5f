"""`dodai completion`: commands, environments, releases and codes, offered by real shells."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest
from tests.support.command import clean_environment, dodai

MANIFEST = '[project]\nname = "shop"\n\n[env.staging]\n\n[env.production]\n'


@pytest.fixture
def shop(tmp_path):
    (tmp_path / "dodai.toml").write_text(MANIFEST)
    command = tmp_path / "bin" / "dodai"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m dodai "$@"\n')
    command.chmod(0o755)
    return tmp_path


def bash(shop, line):
    """What bash offers for the last word of `line`."""
    words = line.split(" ")
    script = (
        'eval "$(dodai completion bash)"\n'
        f"COMP_WORDS=({' '.join(repr(word) for word in words)})\nCOMP_CWORD={len(words) - 1}\n"
        "_dodai_completion dodai\nprintf '%s\\n' \"${COMPREPLY[@]}\"\n"
    )
    environment = clean_environment()
    environment["PATH"] = f"{shop / 'bin'}:{environment['PATH']}"
    argv = ["bash", "--norc", "-c", script]
    done = subprocess.run(argv, cwd=shop, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr == ""
    return done.stdout.split()


def test_bash_offers_commands_environments_and_codes(shop):
    """In the folder of a manifest; what does not exist is not offered."""
    assert {"resume", "restart", "rehearse", "releases"} <= set(bash(shop, "dodai re"))
    assert bash(shop, "dodai deploy ") == ["local", "staging", "production"]
    assert bash(shop, "dodai deploy st") == ["staging"]
    assert bash(shop, "dodai explain DOD00") == [f"DOD00{number}" for number in range(1, 10)]
    assert bash(shop, "dodai migrate ad") == ["adopt"]


def test_nothing_is_offered_where_there_is_no_manifest(shop):
    """And no traceback lands in the terminal of whoever pressed a key."""
    (shop / "dodai.toml").unlink()
    assert bash(shop, "dodai deploy ") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_has_its_script(tmp_path, shell):
    """The shell itself finds no mistake in it, where it is installed."""
    script = dodai("completion", shell, cwd=tmp_path)
    assert (script.returncode, "_DODAI_COMPLETE" in script.stdout) == (0, True), script.stderr
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script.stdout, text=True, check=True, timeout=60)


def test_the_schema_of_the_manifest_is_in_the_wheel_and_accepts_the_example():
    """`#:schema` of an editor reads the same file that `explain` prints; a key that does not exist is refused by it."""
    import tomllib
    from importlib.resources import files
    from pathlib import Path

    import jsonschema

    from dodai.wiring.registry import reference

    schema = json.loads(files("dodai").joinpath("manifest.schema.json").read_text("utf-8"))
    assert schema == reference().json_schema()
    quiz = tomllib.loads((Path(__file__).resolve().parents[1] / "examples/quiz/dodai.toml").read_text("utf-8"))
    jsonschema.validate(quiz, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**quiz, "projekt": {}}, schema)
