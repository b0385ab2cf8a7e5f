"""How every connection of dodai to a PostgreSQL is set up, whichever library makes it."""

from __future__ import annotations

CONNECT_TIMEOUT_S = 10
APPLICATION_NAME = "dodai"
# A vanished server is noticed within 30 s, idle (15 + 3 x 5) or with data on the way (tcp_user_timeout, in ms).
KEEPALIVE = {
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
