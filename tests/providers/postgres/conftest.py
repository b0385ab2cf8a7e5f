from __future__ import annotations

from tests.postgres_fixture import database, postgres  # noqa: F401
