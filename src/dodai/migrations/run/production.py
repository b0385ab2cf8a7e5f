"""The production procedure: evidence, apply and verify, with who, when and the way back as fields."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from dodai.core import proposal
from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.core.page import Text
from dodai.engine.plan import Observed, Step, StepContext
from dodai.migrations import apply, codes, ledger
from dodai.migrations.goose_file import history_of
from dodai.migrations.migration import Migration
from dodai.migrations.policy import MigrationsPolicy
from dodai.migrations.ports import Evidence, EvidenceStore, MigrationTarget
from dodai.migrations.run import belonging


@dataclass(frozen=True, slots=True)
class Condition:
    """When something happens, and what is done then."""

    when: Text
    then: Text


@dataclass(frozen=True, slots=True)
class Procedure:
    """Who runs migrations in production, when, and under which conditions they are taken back or fixed forward."""

    who: Text | str
    when: Text | str
    conditions: tuple[Condition, ...]


def procedure(policy: MigrationsPolicy) -> Procedure:
    """The fields that the runbook prints; who and when come from the manifest."""
    nobody = Text("whoever runs the deploy", "デプロイの実行者")
    any_time = Text("as a step of every deploy, before the new release starts", "毎回のデプロイで、新リリースの起動前")
    return Procedure(policy.operator or nobody, policy.window or any_time, CONDITIONS)


CONDITIONS = (
    Condition(
        Text("a file fails (DOD280)", "ファイルが失敗した（DOD280）"),
        Text(
            "it is rolled back by itself and the deploy stops before any service; fix the file and deploy again",
            "そのファイルは自動で取り消され、サービスに触れる前にデプロイが止まる。ファイルを直して再度デプロイする",
        ),
    ),
    Condition(
        Text("no lock within the patience (DOD281)", "時間内にロックを取れない（DOD281）"),
        Text(
            "nothing is changed; end the session that the message names, or deploy at a quieter time",
            "何も変更されない。メッセージが示すセッションを終えるか、空いている時間に再度デプロイする",
        ),
    ),
    Condition(
        Text(
            "a file without a transaction stops in the middle (DOD283)",
            "トランザクションなしのファイルが途中で止まった（DOD283）",
        ),
        Text(
            "the finished statements stay; fix the failed one and run "
            f"`{proposal.MIGRATE_UP()}`, which goes on with it",
            f"済んだ文は残る。失敗した文を直して `{proposal.MIGRATE_UP()}` を実行すると、その文から再開する",
        ),
    ),
    Condition(
        Text("the new release is bad, the schema is fine", "新リリースに問題があり、スキーマには問題がない"),
        Text(
            f"`{proposal.ROLLBACK(env='ENV')}`: expand and contract keeps the old release working on the new schema",
            f"`{proposal.ROLLBACK(env='ENV')}` を実行する。"
            "拡張と縮小を分けているため、旧リリースは新しいスキーマでも動作する",
        ),
    ),
    Condition(
        Text("the schema itself is wrong", "スキーマ自体に誤りがある"),
        Text(
            "roll forward with a new migration; `migrate down` is refused on protected environments",
            "新しいマイグレーションで前に直す。保護された環境では `migrate down` は拒否される",
        ),
    ),
    Condition(
        Text("data was destroyed", "データが失われた"),
        Text(
            "stop writes, restore from the restore point of the deploy, then roll forward",
            "書き込みを止め、デプロイ時の復元ポイントから戻し、その後で前に直す",
        ),
    ),
)


def evidence_step(target: MigrationTarget, *, env: str, evidence: EvidenceStore) -> Step:
    """The step before `migrate` on a protected environment: what is pending was rehearsed, in this order, lately."""

    async def look(_: StepContext) -> Observed:
        return await asyncio.to_thread(_proven, target, env, evidence)

    async def act(_: StepContext) -> None:
        """Only a rehearsal can bring the evidence."""
        raise _no_evidence(env, await asyncio.to_thread(_pending, target))

    return Step(
        id="migration-evidence",
        title=Text("these migrations were rehearsed", "同じマイグレーションのリハーサル記録がある"),
        area="migrations",
        observe=look,
        apply=act,
        verify=look,
        command=proposal.REHEARSE_RECORD(env=env),
    )


def belonging_step(target: MigrationTarget, env: str) -> Step:
    """The step that writes the name of a protected environment into its database, so that no bare URL passes it by."""

    async def look(_: StepContext) -> Observed:
        there = await asyncio.to_thread(belonging.owner, target)
        return Observed("done" if there == env else "needed", f"belongs to {there or 'nobody'}")

    async def act(_: StepContext) -> None:
        await asyncio.to_thread(belonging.mark, target, env)

    return Step(
        id="belonging",
        title=Text("the database knows its environment", "データベースに環境名を記録"),
        area="migrations",
        observe=look,
        apply=act,
        verify=look,
        timeout_s=30.0,
    )


def require_evidence(target: MigrationTarget, *, env: str, evidence: EvidenceStore) -> None:
    """The same outside of a deploy: DOD257 (exit 1) for pending migrations that no fresh rehearsal ran."""
    _proven(target, env, evidence)


@apply.coded()
def _pending(target: MigrationTarget) -> tuple[Migration, ...]:
    migrations = history_of(target).sound()
    with target.reading() as conn:
        state = apply.readable(lambda: ledger.read(conn, target.policy, target.tool))
        return apply.pending(migrations, state).migrations


def _proven(target: MigrationTarget, env: str, evidence: EvidenceStore) -> Observed:
    pending = _pending(target)
    if not pending:
        return Observed("done", "nothing is pending")
    found = fresh(evidence.rehearsals(env), pending, target.policy)
    if found is None:
        raise _no_evidence(env, pending)
    return Observed("done", f"rehearsal `{found.id}`, {found.age_s / 60:.0f} min ago")


def fresh(found: Sequence[Evidence], pending: Sequence[Migration], policy: MigrationsPolicy) -> Evidence | None:
    """The youngest good rehearsal that ended with exactly these files, not older than `[migrations].evidence_age`.

    It may have run more before them: those are applied by now, by a plan that goes on or by the deploy before.
    """
    wanted = tuple(migration.raw_sha256 for migration in pending)
    good = [
        one
        for one in found
        if one.pending[-len(wanted) :] == wanted and one.outcome == "done" and one.age_s <= policy.evidence_age_s
    ]
    return min(good, key=lambda one: one.age_s, default=None)


def _no_evidence(env: str, pending: Sequence[Migration]) -> DodaiError:
    message = f"`{env}` has no fresh rehearsal of the {len(pending)} pending migrations"
    fix = codes.EVIDENCE_NEEDED.fix.en.replace("ENV", env)
    return DodaiError(codes.EVIDENCE_NEEDED, message, fix, exit_code=1)
