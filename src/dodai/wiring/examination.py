"""What this machine and its credentials can do for one environment, for `dodai doctor ENV`; reading changes nothing."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

from dodai.core.errors import DodaiError
from dodai.engine.journal import Head
from dodai.operations.run.preflight import FREE_BYTES, SKEW_NOTE_S, SKEW_STOP_S
from dodai.wiring.local import LocalEnvironment
from dodai.wiring.machine import Row, Verdict
from dodai.wiring.protection import own_gates

if TYPE_CHECKING:  # psycopg is an extra
    from dodai.providers.postgres.control.lease import Standing

MIB = 2**20


def examine_environment(here: LocalEnvironment) -> list[Row]:
    """A row for each thing a deploy would ask for: control database, lock, clock, copy, server, room, signers."""
    return [*_control(here), *_database(here), *_gates(here)]


def _control(here: LocalEnvironment) -> Iterator[Row]:
    env, url = here.environment.name, here.environment.control_url
    copy = head_of_copy(here)
    if not url:
        seen = (
            f"the journal is a file on this machine, {copy.seq} records" if copy.seq else "nothing was ever done here"
        )
        yield Row("control database", "ok", seen)
        return
    from dodai.providers.postgres.connection import address
    from dodai.providers.postgres.control.look import look

    try:
        seen_there = look(url, env, copy)
    except DodaiError as error:
        yield Row("control database", "missing", error.message, "every change", error.fix)
        return
    where = f"PostgreSQL {seen_there.server} at {address(url)}"
    if seen_there.newer:
        fix = "install the newer dodai"
        yield Row("control database", "missing", f"{where}: a newer dodai was there", "every change", fix)
        return
    known = f"{seen_there.head.seq} records" if seen_there.schema else "nothing was ever done here"
    yield Row("control database", "ok", f"{where}: {known}")
    yield _lock(env, seen_there.holder)
    yield _clock(seen_there.offset_s)
    yield _copy(env, copy, seen_there.head, seen_there.copied)


def _lock(env: str, standing: Standing | None) -> Row:
    if standing is None:
        return Row("lock", "ok", "free")
    holder = standing.holder
    said = f"`{holder.actor}` (pid {holder.pid} on `{holder.host}`) for {standing.age}"
    if holder.is_dead or standing.left_s <= 0:
        return Row("lock", "warning", f"{said}, gone", fix=f"dodai resume {env}")
    return Row("lock", "warning", f"{said}; free in {standing.left_s:.0f} s without a sign of life")


def _clock(offset_s: float) -> Row:
    said = f"{offset_s:+.1f} s beside the control database"
    fix = "" if abs(offset_s) <= SKEW_NOTE_S else "set the clock of this machine (NTP)"
    verdict: Verdict = "ok" if not fix else "warning" if abs(offset_s) <= SKEW_STOP_S else "missing"
    return Row("clock", verdict, said, "evidence, approvals, tokens" if fix else "", fix)


def head_of_copy(here: LocalEnvironment) -> Head:
    """The newest record of the copy on this machine, without opening it."""
    path = here.copy_path.with_name(here.copy_path.name + ".head")
    try:
        seq, digest = path.read_text("ascii").split()
        return Head(int(seq), digest)
    except (OSError, ValueError):
        return Head()


def _copy(env: str, copy: Head, database: Head, there: str) -> Row:
    """How the copy on this machine stands to the journal: a copy may be behind, never ahead or elsewhere."""
    if copy.seq == 0:
        return Row("journal copy", "ok", "none yet; it is made with the next change")
    if copy.seq > database.seq or there != copy.hash:
        said = f"record {copy.seq} here is not in the control database, which ends with {database.seq}"
        return Row(
            "journal copy", "missing", said, "every change", f"see `dodai history {env}`: DOD375 says what to do"
        )
    behind = database.seq - copy.seq
    return Row(
        "journal copy", "ok", f"{behind} records behind, made good with the next change" if behind else "the same"
    )


def _database(here: LocalEnvironment) -> Iterator[Row]:
    if not here.project.policy.database.used_by:
        return
    if not asyncio.run(here.database.running()):
        yield Row("database", "warning", "does not run", fix=f"dodai deploy {here.environment.name} starts it")
        return
    from dodai.providers.postgres.control.look import server_version, size_bytes

    url, wanted = here.database.url(), here.project.policy.database.major
    try:
        major, size = server_version(url), size_bytes(url)
    except DodaiError as error:
        yield Row("database", "missing", error.message, "every deploy", error.fix)
        return
    fits = wanted in (0, major)
    fix = "" if fits else f"run PostgreSQL {wanted} here, or correct `[database].major`"
    yield Row("database", "ok" if fits else "warning", f"PostgreSQL {major}", fix=fix)
    free = shutil.disk_usage(here.folder).free
    enough = free >= size + FREE_BYTES
    said = f"{free // MIB} MiB free, a copy takes about {size // MIB} MiB"
    fix = "" if enough else f"free {(size + FREE_BYTES - free) // MIB} MiB below {here.folder}"
    yield Row("restore point", "ok" if enough else "missing", said, "" if enough else "a deploy with migrations", fix)


def _gates(here: LocalEnvironment) -> Iterator[Row]:
    try:
        gates = own_gates(here.project, here.environment, here.project.root)
    except DodaiError as error:
        yield Row("gates", "missing", error.message, "every deploy", error.fix)
        return
    asked = [f"evidence of level {gates.evidence}"] if gates.protected else []
    asked += [f"{gates.approvals} approvals"] if gates.approvals else []
    asked += [f"{len(gates.freeze)} freeze windows"] if gates.freeze else []
    yield Row("gates", "ok", ", ".join(asked) or "none: not protected")
    if not gates.approvals:
        return
    keys = [line for line in gates.signers.splitlines() if line.strip() and not line.startswith("#")]
    few = len(keys) < gates.approvals
    said = f"{len(keys)} keys in {here.environment.allowed_signers}"
    fix = f"{gates.approvals} approvals need as many" if few else ""
    yield Row("allowed_signers", "missing" if few else "ok", said, "dodai approve" if few else "", fix)
    if shutil.which("ssh-keygen") is None:
        yield Row("ssh-keygen", "missing", "not on the PATH", "every deploy here", "install OpenSSH 8.2 or newer")
