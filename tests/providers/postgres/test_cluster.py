from __future__ import annotations

from tests.postgres_fixture import database, postgres  # noqa: F401

from dodai.providers.postgres.connection import connect


def test_fresh_database_answers_over_socket_and_loopback(postgres, database):  # noqa: F811
    """Both ways lead to the same server."""
    with connect(database) as connection:
        connection.execute("CREATE TABLE seen (id int)")
        name = connection.execute("SELECT current_database()").fetchone()[0]
    with connect(postgres.dsn(name, tcp=True)) as connection:
        assert connection.execute("SELECT count(*) FROM seen").fetchone() == (0,)
