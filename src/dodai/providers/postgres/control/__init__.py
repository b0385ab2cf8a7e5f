"""The control database: the journal and the lock of an environment in a PostgreSQL, whoever runs the environment."""

from __future__ import annotations

from dodai.providers.postgres.control.journal import PostgresJournal
from dodai.providers.postgres.control.lease import PostgresLease
from dodai.providers.postgres.control.session import Session, knowing_better

__all__ = ["PostgresJournal", "PostgresLease", "Session", "knowing_better"]
