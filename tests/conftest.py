"""What every suite shares."""

from __future__ import annotations

import functools
import os
import ssl

import httpcore2
import pytest
from hypothesis import settings

pytest_plugins = [
    "tests.support.scratch",
    "tests.levels",
    "tests.optional_parts",
    "tests.support.postgres",
    "tests.quiz.fixtures",
]

# An example that takes long on a busy machine says nothing about what is tested: no timed assertions, here neither.
settings.register_profile("dodai", deadline=None)
# CI asks the same examples each time, so that a red run is red again; a person's machine looks for new ones.
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("DODAI_TEST_REPEATABLE") == "1" else "dodai")

# The suites start some thousand processes; each would compile the package and the example anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@functools.cache
def _authorities(trust_env: bool, *_variables: str | None) -> ssl.SSLContext:
    return _read_authorities(_trust_env=trust_env)


def _authorities_of_now(*, _trust_env: bool = True) -> ssl.SSLContext:
    return _authorities(_trust_env, os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


# Each client of a test read the 140 authorities of this machine anew: a twelfth of the suite's processor time.
_read_authorities, httpcore2.default_ssl_context = httpcore2.default_ssl_context, _authorities_of_now


SLOW = ("tests/end_to_end/", "tests/test_guides.py", "tests/operations/", "tests/providers/", "tests/migrations/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take long come first, in whatever order they have: a worker that gets one last works alone at the end."""
    items.sort(key=lambda item: next((n for n, path in enumerate(SLOW) if item.nodeid.startswith(path)), len(SLOW)))
