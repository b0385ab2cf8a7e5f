"""The production runbook, rendered from the plans that are carried out."""

from __future__ import annotations

from dodai.core.page import Code, Page, Paragraph, Section, Table, Text, bullets, paragraphs
from dodai.engine.plan import Plan
from dodai.engine.render import as_section
from dodai.operations.policy import OperationsPolicy, Service

EXIT_CODES = (
    ("0", Text("done, or already done", "完了、または既に完了")),
    ("1", Text("findings, or a gate refused", "指摘あり、またはゲートが拒否")),
    ("2", Text("usage or manifest", "使い方またはマニフェストの誤り")),
    ("3", Text("failed, everything was restored", "失敗したが、すべて元に戻した")),
    ("4", Text("failed, a person must act", "失敗し、人の対応が必要")),
    ("75", Text("somebody else holds the lock", "他の人がロックを保持している")),
    ("130 / 143", Text("interrupted, taken back", "中断され、元に戻した")),
)


def production_operations(policy: OperationsPolicy, deploy: Plan) -> Page:
    """`Phase2/production-operations`: who, how, and what to do when it fails; `deploy` is the plan as it would run."""
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
        (_services(policy), _deploy(policy, deploy), _health(policy), _failure()),
    )


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
            service.protocol,
            ", ".join(f"`{need}`" for need in service.needs) or "–",
            _healthy_when(service),
            f"{service.drain_s:g} s",
        )
        for service in policy.services.values()
    )
    return Section(Text("Services", "サービス一覧"), (Table(head, rows),))


def _healthy_when(service: Service) -> Text:
    health = service.health
    asked = f"`GET {health.path}`" if service.protocol == "http" else "`grpc.health.v1.Health/Check`"
    return Text(
        f"{asked} is good {health.consecutive} times in a row within {health.timeout_s:g} s, from the deployed version",
        f"{asked} が {health.timeout_s:g} 秒以内に {health.consecutive} 回続けて成功し、デプロイした版が応答している",
    )


def _deploy(policy: OperationsPolicy, plan: Plan) -> Section:
    env = next((name for name in policy.environments if name != "local"), "local")
    commands = f"dodai deploy {env} --dry-run\ndodai deploy {env}\n"
    words = Text(
        "One person deploys. The lock keeps a second one out (exit 75) and names the holder. "
        "The dry run prints the plan below with today's releases and changes nothing.",
        "デプロイは一人で行います。二人目はロックに拒まれ（終了コード 75）、保持者の名前が表示されます。"
        "`--dry-run` は以下の計画を現在のリリースで表示し、何も変更しません。",
    )
    section = as_section(plan, anchor="deploy-plan")
    return Section(Text("Deploy", "デプロイ"), (Paragraph(words), Code(commands, "console")), (section,), "deploy")


def _health(policy: OperationsPolicy) -> Section:
    journeys = tuple(
        Text(
            f"`{journey.name}`: {journey.title or journey.name}, {len(journey.steps)} requests through the edge",
            f"`{journey.name}`: {journey.title or journey.name}（エッジ経由で {len(journey.steps)} リクエスト）",
        )
        for journey in policy.journeys
    )
    words = Text(
        "A release is healthy when its readiness check says so, says the version that was deployed, and the journeys "
        "go as the manifest says. A healthy answer from another version is a failure.",
        "準備完了の応答があり、デプロイした版がそれに答え、ジャーニーが定義どおりに進めば、リリースは正常です。"
        "別の版からの正常応答は失敗として扱います。",
    )
    return Section(Text("Health check", "ヘルスチェック"), (Paragraph(words), bullets(journeys)), anchor="health-check")


def _failure() -> Section:
    words = Text(
        "A failed deploy says what was done, what was undone, what remains and the next command. "
        "The exit code says who has to act.",
        "失敗したデプロイは、実行した手順、取り消した手順、残っている手順、次に打つコマンドを表示します。"
        "誰が動くべきかは終了コードで分かります。",
    )
    head = (Text("Exit code", "終了コード"), Text("Meaning", "意味"))
    return Section(Text("When it fails", "失敗したとき"), (Paragraph(words), Table(head, EXIT_CODES)), anchor="failure")
