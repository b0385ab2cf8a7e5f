"""The clock of a server beside that of this machine."""

from __future__ import annotations

import time

from dodai.core.errors import DodaiError
from dodai.providers.postgres.connection import connect

TIMEOUT_S = 2


def offset_s(url: str) -> float | None:
    """Seconds this machine is ahead of the server at `url`; None when it does not answer."""
    try:
        with connect(url, autocommit=True, timeout_s=TIMEOUT_S) as connection:
            began = time.time()
            row = connection.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()
            return (began + time.time()) / 2 - float(row[0]) if row else None
    except DodaiError:
        return None
