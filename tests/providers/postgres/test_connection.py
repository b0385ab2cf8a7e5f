"""What a person is told when a database cannot be reached or says no, and what is never told: the password."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.wait import until

from dodai.core.errors import DodaiError
from dodai.engine.loopback_port import loopback_port
from dodai.providers.postgres.cluster import throw_away
from dodai.providers.postgres.connection import address, coded, connect, connect_async, parameters, without_secrets

SECRET = "s3cret/pass word%"
ENCODED = "s3cret%2Fpass%20word%25"


def refused(dsn: str, **options) -> DodaiError:
    with pytest.raises(DodaiError) as caught:
        connect(dsn, **options)
    shown = " ".join((str(caught.value), caught.value.fix, *caught.value.details))
    assert SECRET not in shown
    assert ENCODED not in shown
    assert caught.value.__cause__ is None
    return caught.value


def at(postgres, *, user: str = "postgres", database: str = "postgres") -> str:
    return f"postgresql://{user}:{ENCODED}@127.0.0.1:{postgres.port}/{database}"


def test_wrong_password_names_the_user_and_not_the_password(postgres):
    """The address, the role, and what to correct."""
    error = refused(at(postgres))
    assert (error.code.id, error.fault) == ("DOD785", "user")
    assert "`postgres`" in error.message
    assert f"127.0.0.1:{postgres.port}" in error.message


def test_unknown_role_is_the_same_refusal_as_a_wrong_password(postgres):
    """The server does not say which of the two it was; neither do we."""
    assert refused(at(postgres, user="nobody_here")).code.id == "DOD785"


def test_unknown_database_is_named(postgres):
    """A misspelt name is told apart from a server that does not answer."""
    error = refused(postgres.dsn("no_such"))
    assert error.code.id == "DOD785"
    assert "has no database `no_such`" in error.message


def test_role_without_login_is_refused(postgres, database):
    """A group role cannot connect."""
    with connect(database, autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS group_only; CREATE ROLE group_only NOLOGIN")
    dsn = database.replace("//postgres@", "//group_only@")
    assert refused(dsn).code.id == "DOD785"


def test_full_server_says_that_connections_ran_out(postgres, database):
    """Too many connections is not `unreachable`: a retry later can succeed, another address cannot."""
    name = address(database).database
    with connect(postgres.dsn(), autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} CONNECTION LIMIT 1")
        connection.execute("DROP ROLE IF EXISTS crowd; CREATE ROLE crowd LOGIN")
        others = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s"
        until(
            lambda: connection.execute(others, [name]).fetchone() == (0,)
        )  # a connection counts until its process ends
    crowd = database.replace("//postgres@", "//crowd@")
    with connect(crowd):
        error = refused(crowd)
    assert error.code.id == "DOD785"
    assert "no more connections" in error.message


def test_nothing_listening_is_unreachable():
    """A refused TCP connection is the provider's fault until shown otherwise."""
    error = refused(f"postgresql://app:{ENCODED}@127.0.0.1:{loopback_port()}/app")
    assert (error.code.id, error.fault) == ("DOD784", "provider")


def test_silent_server_is_given_up_after_the_timeout():
    """A listener that accepts and says nothing does not hold dodai for ever."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        error = refused(f"postgresql://app:{ENCODED}@127.0.0.1:{port}/app", timeout_s=2)
    assert error.code.id == "DOD784"


def test_listener_that_is_no_database_is_unreachable():
    """An HTTP server on the port is not a database."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with contextlib.suppress(OSError):
                while True:
                    peer, _ = server.accept()
                    with peer:
                        peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        error = refused(f"postgresql://app:{ENCODED}@127.0.0.1:{server.getsockname()[1]}/app", timeout_s=3)
        server.shutdown(socket.SHUT_RDWR)
    thread.join(5)
    assert error.code.id == "DOD784"


def test_tls_that_cannot_be_had_is_named(postgres):
    """A server without TLS under `sslmode=require` is a TLS problem, not a missing server."""
    error = refused(at(postgres) + "?sslmode=require")
    assert error.code.id == "DOD784"
    assert "TLS" in error.message


@pytest.mark.parametrize("dsn", [f"postgresql://app:{ENCODED}@localhost:port/app", f"password='{SECRET}' nonsense=1"])
def test_unreadable_url_is_a_usage_error_without_its_text(dsn):
    """The URL holds the password, so libpq's words about it are shown without it."""
    error = refused(dsn)
    assert (error.code.id, error.exit_code) == ("DOD785", 2)


def test_read_only_database_refuses_writes_with_a_code(database):
    """A standby or a database set read-only is told as such, with what was being done."""
    with connect(database, autocommit=True) as connection:
        connection.execute("SET default_transaction_read_only = on")
        with pytest.raises(DodaiError) as caught, coded(database, "apply 0001_init.sql"):
            connection.execute("CREATE TABLE t (id int)")
    assert caught.value.code.id == "DOD785"
    assert caught.value.message.startswith("apply 0001_init.sql: ")
    assert "read-only" in caught.value.message


def test_errors_of_the_sql_itself_pass_through(database):
    """A syntax error belongs to whoever wrote the statement: its SQLSTATE and position stay."""
    with connect(database) as connection, pytest.raises(psycopg.errors.SyntaxError), coded(database):
        connection.execute("CREATE TABEL t (id int)")


def test_session_ended_by_the_server_is_coded(postgres, database):
    """An administrator's terminate reaches the user as a code with what was being done."""
    with connect(database) as connection:
        connection.execute("SELECT 1")
        with connect(postgres.dsn(), autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s)", (connection.info.backend_pid,))
        with pytest.raises(DodaiError) as caught, coded(database, "apply"):
            connection.execute("SELECT 1")
    assert caught.value.code.id == "DOD784"


def test_server_killed_in_the_middle_of_a_statement_is_coded():
    """kill -9 of the server: the statement ends with a coded error, not with a hang."""
    with throw_away() as cluster, connect(cluster.dsn(), autocommit=True) as connection:
        server = int((cluster.data_dir / "postmaster.pid").read_text().split()[0])

        def crash() -> None:
            os.kill(connection.info.backend_pid, signal.SIGKILL)
            os.kill(server, signal.SIGKILL)

        timer = threading.Timer(0.1, crash)
        timer.start()
        with pytest.raises(DodaiError) as caught, coded(cluster.dsn(), "apply"):
            connection.execute("SELECT pg_sleep(60)")
        timer.join()
    assert caught.value.code.id == "DOD784"


def test_session_carries_the_program_name_and_the_callers_options(database):
    """pg_stat_activity shows who holds a lock; `options` reach the server."""
    with connect(database, application_name="dodai migrate", options="-c lock_timeout=1234ms") as connection:
        assert connection.execute("SHOW application_name").fetchone() == ("dodai migrate",)
        assert connection.execute("SHOW lock_timeout").fetchone() == ("1234ms",)


async def test_async_connection_answers_and_refuses_alike(database):
    """The engine's event loop gets the same errors."""
    async with await connect_async(database) as connection:
        cursor = await connection.execute("SELECT 1")
        assert await cursor.fetchone() == (1,)
    with pytest.raises(DodaiError, match="DOD784"):
        await connect_async(f"postgresql://app@127.0.0.1:{loopback_port()}/app")


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=4, max_size=30))
def test_password_never_survives_redaction(password):
    """Raw, percent-encoded, or as a word: whatever it is made of, it is taken out."""
    from urllib.parse import quote

    encoded = quote(password, safe="")
    dsn = f"postgresql://app:{encoded}@db.example.com/app"
    text = without_secrets(f"cannot use <<{dsn}>> or <<{password}>>", dsn)
    assert f"<<{password}>>" not in text
    assert f":{encoded}@" not in text
    assert password not in str(address(dsn)) or password in "postgresql://app@db.example.com:5432/app"


FIRST, SECOND = ("Zebra", "4711"), "Quokka"


@pytest.mark.parametrize("between", [*"@/:#?% [];'\"=&+", "@@", "%4", "%zz", "://", "\\"])
@pytest.mark.parametrize("first", FIRST)
@pytest.mark.parametrize("form", ["postgresql://app:{}@127.0.0.1:1/app", "host=127.0.0.1 port=1 user=app password={}"])
def test_no_piece_of_a_password_that_was_not_escaped_is_shown(form, first, between):
    """Whatever libpq takes the pieces for: a host, a port, a parameter, a word."""
    dsn = form.format(f"{first}{between}{SECOND}")
    with pytest.raises(DodaiError) as caught:
        connect(dsn, timeout_s=2)
    said = "\n".join((str(caught.value), caught.value.fix, *caught.value.details))
    assert not [half for half in (first, SECOND) if half in said], said


def test_an_unescaped_at_sign_is_told_with_how_it_is_written():
    """Not as a remote host that consists of the rest of the password."""
    with pytest.raises(DodaiError) as caught:
        parameters("postgresql://app:Zebra@Quokka@127.0.0.1/app")
    assert caught.value.message == ("the database URL cannot be read: an `@` comes before the one in front of the host")
    assert "`@` is written `%40`" in caught.value.fix
    assert parameters("postgresql://app:Zebra%40Quokka@127.0.0.1/app")["password"] == "Zebra@Quokka"
    assert parameters("host=@abstract user=app")["host"] == "@abstract"
