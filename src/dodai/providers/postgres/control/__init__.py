"""The control database: the journal and the lock of an environment in a PostgreSQL, whoever runs the environment."""

from __future__ import annotations

from dodai.providers.postgres.control.control_connection import ControlConnection, knowing_better
from dodai.providers.postgres.control.journal_table import PostgresJournal
from dodai.providers.postgres.control.lease_table import PostgresLease

__all__ = ["ControlConnection", "PostgresJournal", "PostgresLease", "knowing_better"]
