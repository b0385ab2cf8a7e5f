"""The built-in SHA-256 is that of `hashlib`, and loading it does not load OpenSSL."""

from __future__ import annotations

import hashlib
import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from dodai.core.sha256 import sha256


@given(st.lists(st.binary(max_size=300), max_size=4))
def test_its_digests_are_those_of_hashlib(parts: list[bytes]) -> None:
    ours, theirs = sha256(), hashlib.sha256()
    for part in parts:
        ours.update(part)
        theirs.update(part)
    assert ours.hexdigest() == theirs.hexdigest()
    assert sha256(b"".join(parts)).hexdigest() == theirs.hexdigest()


def test_openssl_stays_out_of_migrate_up_with_nothing_to_do() -> None:
    imports = "import sys, dodai.cli.up_to_date, dodai.migrations.run.settled, dodai.wiring.migration_database"
    done = subprocess.run(
        [sys.executable, "-c", f"{imports}; print('_hashlib' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "False\n"
