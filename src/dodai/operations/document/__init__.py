"""The production runbook, rendered from the plans that are carried out."""

from __future__ import annotations

from collections.abc import Mapping

from dodai.core.page import CodeBlock, Page, PageTable, Paragraph, Section, Text, bullets, paragraphs
from dodai.engine.plan import Plan
from dodai.engine.render import as_section
from dodai.operations.document.gate_sections import audit, gates
from dodai.operations.document.network_section import network
from dodai.operations.document.secret_sections import restore, settings
from dodai.operations.policy import Limitation, OperationsPolicy, Secret, Service

EXIT_CODES = (
    ("0", Text("done, or already done", "完了、または既に完了")),
    ("1", Text("findings, or a gate refused", "指摘あり、またはゲートが拒否")),
    ("2", Text("usage or manifest", "使い方またはマニフェストの誤り")),
    ("3", Text("failed, everything was restored", "失敗したが、すべて元に戻した")),
    ("4", Text("failed, a person must act", "失敗し、人の対応が必要")),
    ("75", Text("somebody else holds the lock", "他の人がロックを保持している")),
    ("130 / 143", Text("interrupted, taken back", "中断され、元に戻した")),
)


def production_operations(
    policy: OperationsPolicy,
    deploy: Plan,
    secrets: Mapping[str, Secret],
    more: tuple[Section, ...] = (),
    restored: Text | None = None,
) -> Page:
    """`Phase2/production-operations`: who, how, and what to do when it fails; `deploy` is the plan as it would run.

    `secrets` are all that there are, `more` sections of other areas that whoever operates the system needs here;
    `restored` says how a restore was rehearsed last.
    """
    env = _env(policy)
    return Page(
        "Phase2/production-operations",
        Text("Production operations", "本番運用"),
        paragraphs(
            Text(
                "This runbook is generated from `dodai.toml` and from the plans dodai carries out. "
                "A step that is described here is the step that runs.",
                "この手順書は `dodai.toml` と、dodai が実際に実行する計画から生成しています。"
                "ここに書かれた手順が、そのまま実行される手順です。",
            )
        ),
        (
            _roles(policy),
            _services(policy),
            settings(policy, secrets, env),
            network(policy, env),
            gates(policy, env),
            _deploy(policy, deploy),
            _health(policy),
            _rollback(env, deploy),
            *((restore(policy, env, restored),) if policy.database.used_by else ()),
            _resume(env),
            _failure(),
            *more,
            audit(env),
        ),
    )


def known_limitations(limitations: tuple[Limitation, ...]) -> Page:
    """`tech`: what is limited, and what shows that it no longer is; `dodai check` holds that the proof exists."""
    head = (Text("id", "id"), Text("limitation", "内容"), Text("shown to be resolved by", "解消を示すもの"))
    stands = Text("still stands", "残っている")
    rows = tuple(
        (f"`{row.id}`", Text(row.text_en or row.text, row.text), f"`{row.resolved_by}`" if row.resolved_by else stands)
        for row in limitations
    )
    said = Text(
        "The rows are the `[[limitation]]` tables of `dodai.toml`. What resolves one is a rule of `dodai check`, "
        "a drill of `dodai rehearse` or a test, and would turn red if the limitation came back.",
        "行は `dodai.toml` の `[[limitation]]` です。解消を示すものは `dodai check` の規則、`dodai rehearse` の訓練、"
        "またはテストで、制約が再び生じれば失敗します。",
    )
    return Page("tech", Text("Known Limitations", "Known Limitations"), (*paragraphs(said), PageTable(head, rows)))


def _env(policy: OperationsPolicy) -> str:
    return next((name for name in policy.environments if name != "local"), "local")


def _roles(policy: OperationsPolicy) -> Section:
    owners = ", ".join(dict.fromkeys(secret.owner for secret in policy.secrets.values() if secret.owner)) or "–"
    head = (Text("Role", "役割"), Text("Duty", "責務"))
    rows: tuple[tuple[str | Text, ...], ...] = (
        (
            Text("Operator", "実行者"),
            Text(
                "reads the dry run, deploys, stays until the plan has ended, resumes or goes back when it has not",
                "dry run を読み、デプロイし、計画が終わるまで見届ける。終わらなければ再開または切り戻しを行う",
            ),
        ),
        (
            Text("Person on call", "当番"),
            Text(
                "starts with `dodai status`, follows the command it names; may go back without asking anybody",
                "まず `dodai status` を見て、表示されたコマンドに従う。切り戻しに許可は要らない",
            ),
        ),
        (
            Text(f"Owners of secrets ({owners})", f"シークレットの管理者（{owners}）"),
            Text(
                "rotate their secrets; nobody else reads the values",
                "担当するシークレットを更新する。値はほかの誰も見ない",
            ),
        ),
    )
    return Section(Text("Roles and duties", "役割と責務"), (PageTable(head, rows),), anchor="roles")


def _services(policy: OperationsPolicy) -> Section:
    head = (
        Text("Service", "サービス"),
        Text("Protocol", "プロトコル"),
        Text("Needs", "依存先"),
        Text("Healthy when", "正常の条件"),
        Text("Drain", "処理完了の猶予"),
    )
    rows = tuple(
        (
            f"`{service.name}`" + (" (public)" if service.public else ""),
            service.protocol if service.kind == "server" else "worker",
            ", ".join(f"`{need}`" for need in service.needs) or "–",
            _healthy_when(service),
            f"{service.drain_s:g} s",
        )
        for service in policy.services.values()
    )
    return Section(Text("Services", "サービス一覧"), (PageTable(head, rows),))


def _healthy_when(service: Service) -> Text:
    health = service.health
    asked = {
        "http": f"`GET {service.ready_path}`",
        "grpc": "`grpc.health.v1.Health/Check`",
        "tcp": "a TCP connection",
        "command": f"`{' '.join(health.command)}`",
        "heartbeat": f"a line with `{health.heartbeat}`, at most {health.heartbeat_age_s:g} s old,",
    }[service.ready_kind]
    return Text(
        f"{asked} is good {health.consecutive} times in a row within {health.timeout_s:g} s, from the deployed version",
        f"{asked} が {health.timeout_s:g} 秒以内に {health.consecutive} 回続けて成功し、デプロイした版が応答している",
    )


def _deploy(policy: OperationsPolicy, plan: Plan) -> Section:
    env = _env(policy)
    commands = f"dodai deploy {env} --dry-run\ndodai deploy {env}\n"
    words = Text(
        "One person deploys. The lock keeps a second one out (exit 75) and names the holder. "
        "The dry run prints the plan below with today's releases and changes nothing.",
        "デプロイは一人で行います。二人目はロックに拒まれ（終了コード 75）、保持者の名前が表示されます。"
        "`--dry-run` は以下の計画を現在のリリースで表示し、何も変更しません。",
    )
    section = as_section(plan, anchor="deploy-plan")
    return Section(Text("Deploy", "デプロイ"), (Paragraph(words), CodeBlock(commands, "console")), (section,), "deploy")


def _health(policy: OperationsPolicy) -> Section:
    journeys = tuple(
        Text(
            f"`{journey.name}`: {journey.title or journey.name}, {len(journey.steps)} requests through the edge",
            f"`{journey.name}`: {title_ja}（エッジ経由で {len(journey.steps)} リクエスト）",
        )
        for journey in policy.journeys
        for title_ja in (journey.title_ja or journey.title or journey.name,)
    )
    words = Text(
        "A release is healthy when its readiness check says so, says the version that was deployed, and the journeys "
        "go as the manifest says. A healthy answer from another version is a failure.",
        "準備完了の応答があり、デプロイした版がそれに答え、利用シナリオが定義どおりに進めば、リリースは正常です。"
        "別の版からの正常応答は失敗として扱います。",
    )
    return Section(Text("Health check", "ヘルスチェック"), (Paragraph(words), bullets(journeys)), anchor="health-check")


def _rollback(env: str, plan: Plan) -> Section:
    schema = [step.id for step in plan.ordered() if step.area == "migrations" or step.id == "restore-point"]
    without = ", ".join(f"`{step_id}`" for step_id in schema)
    words = Text(
        "One command goes back to the release before, with its own manifest, through the plan of a deploy: the old "
        "release starts beside the present one, is probed, and gets the traffic when it is healthy. "
        + (f"{without} are left out; `compatible` is looked at instead, before anything is changed." if schema else ""),
        "コマンド 1 つで直前のリリースへ戻します。"
        "マニフェストもそのリリースのものを使い、デプロイと同じ計画で進めます。"
        "旧リリースを並行して起動し、正常を確認してから通信を向けます。"
        + (f"{without} は行わず、代わりに最初の変更より前に `compatible` を確認します。" if schema else ""),
    )
    commands = f"dodai releases {env}\ndodai rollback {env} --dry-run\ndodai rollback {env}\n"
    conditions = bullets(
        (
            Text(
                "Allowed: every migration the release needs is applied, and the schema is the one it ran on.",
                "許可: そのリリースに必要なマイグレーションがすべて適用済みで、スキーマが稼働時と同じ。",
            ),
            Text(
                "Allowed: the schema is newer, and every query in its `[migrations].queries` can be prepared on it.",
                "許可: スキーマは新しいが、`[migrations].queries` のクエリがすべて PREPARE できる。",
            ),
            Text(
                "Refused (DOD367, exit 1): a query no longer fits, or nobody can tell. `--yes` does not override it. "
                "Two procedures are left, each a plan with a consent of its own: roll forward (write the fix, then "
                f"`dodai deploy {env}`), or go back in time (`dodai rollback {env} RELEASE --restore POINT`, as "
                "the message says it): nobody is served meanwhile, and what was written since the copy is set aside. "
                f"The copies are listed by `dodai releases {env}`, those writes by `dodai replaced {env}`, which also "
                "exports them as SQL that inserts them again.",
                "拒否（DOD367、終了コード 1）: 適合しないクエリがある、または判断できない。`--yes` でも強行できません。"
                "残る手順は 2 つで、それぞれ別の計画として承認を得て実行します。修正を書いて前へ進める"
                f"（`dodai deploy {env}`）か、時点を戻す（`dodai rollback {env} RELEASE --restore POINT`。"
                "実際のコマンドは表示されます）かです。時点を戻す間は提供を止め、複製以後の書き込みは別に保管します。"
                f"複製は `dodai releases {env}` で、退避した書き込みは `dodai replaced {env}` で確認できます"
                "（後者は再登録用の SQL も出力します）。",
            ),
            Text(
                "A second rollback goes one release further back, never to the one that was left.",
                "もう一度実行すると、さらに 1 つ前のリリースへ戻ります。離れたリリースへは戻りません。",
            ),
        )
    )
    return Section(
        Text("Rollback", "切り戻し"), (Paragraph(words), CodeBlock(commands, "console"), conditions), anchor="rollback"
    )


def _resume(env: str) -> Section:
    words = Text(
        "A deploy or a rollback that was killed, cut off or interrupted stays in the journal. Nothing new can start "
        "until it is finished or taken back; both look at the world again before they act, so nothing happens twice.",
        "強制終了や切断で途中になったデプロイや切り戻しは、ジャーナルに残ります。続行するか取り消すまで、次の操作は"
        "始められません。どちらも実環境を確認してから動くため、同じ操作が二度行われることはありません。",
    )
    commands = f"dodai status {env}\ndodai resume {env}\ndodai resume {env} --undo\n"
    facts = bullets(
        (
            Text(
                "The lock of a process that died on this machine is taken over at once; that of a silent machine "
                "after 60 s by the database's clock. Exit 75 names the holder.",
                "同じマシンで落ちたプロセスのロックは直ちに、応答のない別マシンのロックはデータベースの時刻で 60 秒後に"
                "引き継ぎます。終了コード 75 のときは保持者が表示されます。",
            ),
            Text(
                "A paused holder that wakes up changes nothing: Host, journal and database refuse its older token. "
                "Each migration transaction proves its token in its own commit, and the new holder ends the session "
                "of the old one. Only where its role may not do that can the one statement outside a transaction that "
                "was about to be sent still happen; the ledger does not record it.",
                "停止していた保持者が動き出しても、Host とジャーナルとデータベースが古いトークンを拒むため、"
                "何も変わりません。マイグレーションの各トランザクションはコミットの中でトークンを確かめ、新しい保持者は古い保持者の"
                "セッションを終わらせます。そのための権限がないときに限り、トランザクション外で送信直前だった 1 文が"
                "実行されることがありますが、台帳には記録されません。",
            ),
            Text(
                "Two journals that differ (DOD375, exit 4): compare both heads with what runs, then "
                f"`dodai resume {env} --trust database` or `--trust copy`.",
                "2 つのジャーナルが食い違うとき（DOD375、終了コード 4）は、両方の末尾を実環境と照らし合わせ、"
                f"`dodai resume {env} --trust database` か `--trust copy` を選びます。",
            ),
        )
    )
    return Section(
        Text("Resume", "中断からの再開"), (Paragraph(words), CodeBlock(commands, "console"), facts), anchor="resume"
    )


def _failure() -> Section:
    words = Text(
        "A failed deploy says what was done, what was undone, what remains and the next command. "
        "The exit code says who has to act.",
        "失敗したデプロイは、実行した手順、取り消した手順、残っている手順、次に打つコマンドを表示します。"
        "誰が動くべきかは終了コードで分かります。",
    )
    head = (Text("Exit code", "終了コード"), Text("Meaning", "意味"))
    return Section(
        Text("When it fails", "失敗したとき"), (Paragraph(words), PageTable(head, EXIT_CODES)), anchor="failure"
    )
