"""The pages of migrations, rendered from the policy, the rules and the plan that is carried out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dodai.core import codes as core
from dodai.core.errors import Code
from dodai.core.page import CodeBlock, Page, PageTable, Paragraph, Section, Text, bullets, paragraphs
from dodai.engine.plan import Plan, Step
from dodai.engine.render import as_section
from dodai.migrations import codes
from dodai.migrations.check import RULES
from dodai.migrations.migration import Migration
from dodai.migrations.policy import TOOL_LEDGERS, MigrationsPolicy
from dodai.migrations.run.production import procedure

COMMANDS = (
    ("dodai migrate up", Text("apply what is pending; never asks", "未適用分を適用する。確認は求めない")),
    ("dodai migrate status", Text("what is applied, what is pending", "適用済みと未適用の一覧")),
    ("dodai migrate new NAME", Text("create a file with the next version", "次の版番号でファイルを作る")),
    ("dodai migrate check", Text("prove the files on an empty server", "空のサーバーでファイルを検証する")),
    ("dodai migrate rehearse", Text("try the pending ones on a copy under load", "写しの上で負荷をかけて試す")),
    ("dodai migrate down", Text("undo the last one; refused where protected", "直前を戻す。保護された環境では拒否")),
    ("dodai migrate adopt", Text("take over an existing database", "既存のデータベースを引き継ぐ")),
    ("dodai migrate repair", Text("correct the record, with a reason", "理由を添えて記録を訂正する")),
    ("dodai migrate stats", Text("save production's row counts for check", "検査用に本番の行数を保存する")),
)
_FAILURES = (
    codes.FAILED,
    codes.LOCK_TIMEOUT,
    codes.PARTLY_APPLIED,
    codes.CONNECTION_LOST,
    codes.OUTCOME_UNCLEAR,
    codes.LOCK_HELD,
    codes.REFUSED_ORDER,
    codes.REFUSED_EDIT,
    core.POOLED,
)


def migration_operations(policy: MigrationsPolicy, plan: Plan, migrations: Sequence[Migration] = ()) -> Page:
    """`Phase2/migration-operations`: one command everywhere, what CI proves, and production step by step.

    `plan` is a deploy as it would run; the steps of migrations in it are printed.
    """
    return Page(
        "Phase2/migration-operations",
        Text("Migration operations", "マイグレーション運用"),
        paragraphs(
            Text(
                "This page is generated from `dodai.toml`, from the rules and from the plan that dodai carries out.",
                "このページは `dodai.toml`、検査規則、および dodai が実際に実行する計画から生成しています。",
            )
        ),
        (
            _one_command(policy),
            _in_ci(),
            _in_production(policy, plan),
            _failures(),
            _irreversible(migrations),
            _commands(),
        ),
    )


def _one_command(policy: MigrationsPolicy) -> Section:
    return Section(
        Text("One command everywhere", "どこでも同じ一つのコマンド"),
        (
            CodeBlock("dodai migrate up", "console"),
            bullets(
                (
                    Text(
                        f"Files: `{policy.folder}`, format `{policy.format}`; ledger `{policy.table}`.",
                        f"ファイル: `{policy.folder}`、形式 `{policy.format}`、台帳 `{policy.table}`。",
                    ),
                    Text(
                        "Locally it migrates the database of `dodai up`; in CI and production the one in the variable "
                        "of `[database]`.",
                        "ローカルでは `dodai up` のデータベース、CI と本番では `[database]` の環境変数が示す"
                        "データベースに適用します。",
                    ),
                    Text(
                        "Each file is one transaction together with its ledger row. One runner works at a time.",
                        "ファイルごとに、台帳の行も含めて一つのトランザクションで適用します。同時に動くのは一つだけです。",
                    ),
                    Text(
                        f"A statement waits at most {policy.lock_timeout_s:g} s for a lock, then steps back and tries "
                        f"again for up to {policy.lock_patience_s:g} s. It runs at most "
                        f"{policy.statement_timeout_s:g} s.",
                        f"ロックの待ち時間は一回 {policy.lock_timeout_s:g} 秒までで、いったん退いてから"
                        f"最長 {policy.lock_patience_s:g} 秒間やり直します。"
                        f"一つの文の実行は最長 {policy.statement_timeout_s:g} 秒です。",
                    ),
                )
            ),
        ),
    )


def _in_ci() -> Section:
    seen: dict[str, Code] = {rule.code.id: rule.code for rule in RULES if rule.cost != "live"}
    rows = tuple((f"`{id_}`", f"`{code.name}`", code.what) for id_, code in sorted(seen.items()))
    return Section(
        Text("What CI proves", "CI で証明すること"),
        (
            CodeBlock("dodai migrate check --base origin/main", "console"),
            Paragraph(
                Text(
                    "Everything is applied to an empty throw-away PostgreSQL, every new file is taken down and up "
                    "again and compared, and the locks of each statement are measured. Any error fails the build.",
                    "空の使い捨て PostgreSQL にすべて適用し、新しいファイルは Down と再度の Up を行って比較し、"
                    "各文のロックを実測します。エラーが一つでもあればビルドは失敗します。",
                )
            ),
            PageTable((Text("Code", "コード"), Text("Name", "名前"), Text("Found", "検出内容")), rows),
        ),
    )


def _in_production(policy: MigrationsPolicy, plan: Plan) -> Section:
    fields = procedure(policy)
    ours = Plan(plan.request, plan.title, tuple(_alone(plan)))
    facts = bullets(
        (
            _field(Text("Who", "実行者"), fields.who),
            _field(Text("When", "実施時期"), fields.when),
            Text(
                f"Evidence on protected environments: a rehearsal of exactly these files, at most "
                f"{policy.evidence_age_s / 3600:g} h old.",
                f"保護された環境で必要な記録: 同じファイルのリハーサル（{policy.evidence_age_s / 3600:g} 時間以内）。",
            ),
        )
    )
    rows = tuple((condition.when, condition.then) for condition in fields.conditions)
    way_back = Section(
        Text("When to roll back, when to roll forward", "切り戻しの条件、前に直す条件"),
        (PageTable((Text("When", "条件"), Text("Then", "対応")), rows),),
        anchor="rollback-conditions",
    )
    return Section(Text("Production", "本番適用"), (facts,), (as_section(ours, anchor="production-plan"), way_back))


def _alone(plan: Plan) -> list[Step]:
    ours = [step for step in plan.ordered() if step.area == "migrations"]
    ids = {step.id for step in ours}
    return [replace(step, needs=tuple(need for need in step.needs if need in ids)) for step in ours]


def _field(name: Text, value: Text | str) -> Text:
    said = value if isinstance(value, Text) else Text(value, value)
    return Text(f"{name.en}: {said.en}", f"{name.ja}: {said.ja}")


def _failures() -> Section:
    rows = tuple((f"`{code.id}`", code.what, code.fix) for code in _FAILURES)
    head = (Text("Code", "コード"), Text("What happened", "何が起きたか"), Text("What to do", "対応"))
    note = Text(
        "The message names file, line and statement, what is applied and what is not. The ledger is always true.",
        "メッセージにはファイル・行・文と、適用済み・未適用の範囲が示されます。どの場合も台帳は正確です。",
    )
    return Section(Text("When it fails", "失敗したとき"), (Paragraph(note), PageTable(head, rows)), anchor="failures")


def _irreversible(migrations: Sequence[Migration]) -> Section:
    found = [m for m in migrations if not m.reversible and not m.repeatable]
    title = Text("Migrations without a way back", "戻せないマイグレーション")
    if not found:
        return Section(title, paragraphs(Text("None.", "ありません。")))
    rows = tuple((f"`{m.path}`", m.irreversible or Text("no reason given", "理由の記載なし")) for m in found)
    return Section(title, (PageTable((Text("File", "ファイル"), Text("Why", "理由")), rows),))


def _commands() -> Section:
    rows = tuple((f"`{command}`", said) for command, said in COMMANDS)
    return Section(
        Text("Commands", "コマンド"), (PageTable((Text("Command", "コマンド"), Text("Does", "内容")), rows),)
    )


def tool_decision(policy: MigrationsPolicy) -> Page:
    """`Phase1/decisions`: which migration tool was chosen and why; fills the region `migrations` of the user's file."""
    if policy.format in TOOL_LEDGERS:
        return _kept_tool(policy)
    if policy.format != "goose":
        return _kept_files(policy)
    return Page(
        "Phase1/decisions",
        Text(
            "Migration tool: goose's format and ledger, run by dodai",
            "マイグレーションツール: goose の形式と台帳を dodai で実行",
        ),
        (
            bullets(_REASONS),
            Paragraph(
                Text(
                    f"Files in `{policy.folder}`, ledger `{policy.ledger}`. Leaving costs nothing: `goose up` goes on "
                    "where `dodai migrate up` stopped, and back.",
                    f"ファイルは `{policy.folder}`、台帳は `{policy.ledger}` です。`dodai migrate up` の続きを "
                    "`goose up` で進めることも、その逆もできるため、やめるための費用はかかりません。",
                )
            ),
        ),
    )


def _kept_files(policy: MigrationsPolicy) -> Page:
    if policy.format == "plain":
        return _own_files(policy)
    name = policy.format.capitalize()
    return Page(
        "Phase1/decisions",
        Text(
            f"Migration tool: the files of {name}, run by dodai",
            f"マイグレーションツール: {name} のファイルを dodai で実行",
        ),
        (
            bullets(_REASONS[:1]),
            Paragraph(
                Text(
                    f"The files in `{policy.folder}` stay as {name} lays them out; what is applied is in "
                    f"`{policy.ledger}`, no longer in the table of {name}.",
                    f"`{policy.folder}` のファイルは {name} の配置のままです。適用の記録は `{policy.ledger}` に移り、"
                    f"{name} の表は使いません。",
                )
            ),
        ),
    )


def _own_files(policy: MigrationsPolicy) -> Page:
    return Page(
        "Phase1/decisions",
        Text(
            "Migration tool: numbered SQL files, run by dodai",
            "マイグレーションツール: 番号付きの SQL ファイルを dodai で実行",
        ),
        (
            bullets(_REASONS[:1]),
            Paragraph(
                Text(
                    f"Files in `{policy.folder}`, ledger `{policy.ledger}`, a table as goose has it. The files are "
                    "SQL and nothing else: `psql` runs each of them.",
                    f"ファイルは `{policy.folder}`、台帳は goose と同じ形の表 `{policy.ledger}` です。"
                    "ファイルは SQL だけなので、どれも `psql` で実行できます。",
                )
            ),
        ),
    )


def _kept_tool(policy: MigrationsPolicy) -> Page:
    name = policy.format.capitalize()
    return Page(
        "Phase1/decisions",
        Text(
            f"Migration tool: {name}, run by dodai under its lock and into its log",
            f"マイグレーションツール: {name} を dodai のロックと記録のもとで実行",
        ),
        (
            bullets(
                (
                    Text(
                        f"The history stays {name}'s: nothing is converted, and `{policy.table}` stays its ledger.",
                        f"履歴は {name} のままで、変換は不要です。台帳も `{policy.table}` のままです。",
                    ),
                    Text(
                        f"dodai adds what {name} has not: one runner at a time, `lock_timeout` with retry, checksums "
                        "of applied files, and a log of who applied what, when and from which commit.",
                        f"{name} にない、同時に一つだけの実行、再試行付きの `lock_timeout`、適用済みファイルの検査値、"
                        "誰が・いつ・どのコミットから適用したかの記録を dodai が補います。",
                    ),
                )
            ),
            Paragraph(
                Text(
                    f"Files in `{policy.folder}`. Leaving costs nothing: {name} goes on where `dodai migrate up` "
                    "stopped.",
                    f"ファイルは `{policy.folder}` です。`dodai migrate up` の続きは {name} だけでも進められるため、"
                    "やめるための費用はかかりません。",
                )
            ),
        ),
    )


_REASONS = (
    Text(
        "SQL first: any backend language reads the same files, and so does sqlc.",
        "SQL を主とする形式のため、どの言語のバックエンドからも sqlc からも同じファイルを使えます。",
    ),
    Text(
        "goose alone does not notice an edited applied file, takes no lock from its command line and sets no "
        "`lock_timeout`; dodai does all three and keeps goose's ledger as it is.",
        "goose 単体では、適用済みファイルの改変検知、コマンドラインでのロック、`lock_timeout` の設定がありません。"
        "dodai はこの三つを補い、goose の台帳はそのまま使います。",
    ),
    Text(
        "Alembic ties the schema to Python and keeps heads without a history; dbmate applies out of order without a "
        "word by default (measured).",
        "Alembic はスキーマを Python に結び付け、履歴を持たず先端だけを記録します。"
        "dbmate は既定で順序違反を黙って適用します（実測）。",
    ),
    Text(
        "`psql -f` over every file fails on the second run and never brings an addition to an existing database "
        "(measured).",
        "`psql -f` による全ファイル適用は、二回目の実行で失敗し、既存データベースには追加分が届きません（実測）。",
    ),
)
