"""The runbook's sections on what stands before a deploy, and on the log of what was done."""

from __future__ import annotations

from dodai.core.page import CodeBlock, PageTable, Paragraph, Section, Text, bullets
from dodai.operations.environment_policy import EnvironmentPolicy
from dodai.operations.policy import OperationsPolicy

NONE = Text("–", "–")


def gates(policy: OperationsPolicy, env: str) -> Section:
    """Evidence, approvals and freeze windows of every environment, and the commands in their order."""
    head = (
        Text("Environment", "環境"),
        Text("Evidence", "証跡"),
        Text("Approvals", "承認"),
        Text("Freeze", "フリーズ期間"),
    )
    rows = tuple(_row(environment) for environment in policy.environments.values())
    words = Text(
        "A protected environment is deployed to when the same source was rehearsed lately and somebody else signed the "
        "plan. The first `deploy` is refused and names the plan that waits; the signer sees it before they sign.",
        "保護された環境へデプロイできるのは、同じソースのリハーサル記録が新しく、別の人が計画に署名している場合だけです。"
        "最初の `deploy` は拒否され、承認待ちの計画が表示されます。承認者はその内容を見てから署名します。",
    )
    blocks = (Paragraph(words), PageTable(head, rows), CodeBlock(commands(env), "console"), bullets(_facts()))
    return Section(Text("Before a deploy", "デプロイの前に"), blocks, anchor="gates")


def commands(env: str) -> str:
    """From the first look to the last, as people type them; a test does."""
    return (
        f"dodai doctor {env}\n"
        f"dodai rehearse --record {env}\n"
        f"dodai deploy {env}\n"
        "dodai approve PLAN\n"
        f"dodai deploy {env}\n"
        f"dodai history {env}\n"
    )


def _row(environment: EnvironmentPolicy) -> tuple[str | Text, ...]:
    freeze = ", ".join(f"`{window}`" for window in environment.freeze) or NONE
    if not environment.protected:
        return f"`{environment.name}`", NONE, NONE, freeze
    lasts = f"{environment.approval_age_s / 3600:g} h"
    approvals = Text(f"{environment.approvals}, each for {lasts}", f"{environment.approvals} 名（有効期間 {lasts}）")
    return f"`{environment.name}`", f"`{environment.evidence}`", approvals, freeze


def _facts() -> tuple[Text, ...]:
    return (
        Text(
            "Evidence is of a commit without local changes, and counts for that tree and manifest only (DOD257).",
            "証跡は未コミットの変更がないコミットから作り、同じツリーとマニフェストにだけ有効です（DOD257）。",
        ),
        Text(
            "With `evidence_signers` it counts only with the signature of a machine "
            "(`dodai rehearse --record ENV --key FILE`).",
            "`evidence_signers` を設定すると、マシンの署名がある証跡だけが有効です"
            "（`dodai rehearse --record ENV --key FILE`）。",
        ),
        Text(
            "An approval is an SSH signature over the plan hash, by a key in `allowed_signers` and never by who "
            "deploys. A plan that changes needs a new one, and each counts once (DOD369).",
            "承認は計画のハッシュに対する SSH 署名で、`allowed_signers` にある鍵だけが使えます。"
            "実行者本人の署名は無効です。"
            "計画が変わると取り直しになり、一度使った承認は再利用できません（DOD369）。",
        ),
        Text(
            "In a freeze window deploys are refused with its end (DOD360). What cannot wait gives "
            '`--break-glass "reason"`; it opens the freeze only, and stays on record. A rollback always runs; '
            "with `--restore` it needs the approvals.",
            "フリーズ期間中のデプロイは、終了時刻を示して拒否します（DOD360）。待てない場合は "
            '`--break-glass "理由"` を付けます。解除されるのはフリーズだけで、理由は記録に残ります。'
            "切り戻しはいつでも実行できますが、`--restore` を付ける場合は承認が必要です。",
        ),
        Text(
            "`migrate up` passes the same gate; `migrate down` needs a reason (DOD256).",
            "`migrate up` も同じ条件に従い、`migrate down` には理由が必要です（DOD256）。",
        ),
    )


def audit(env: str) -> Section:
    """Where one reads who did what, and what a damaged log looks like."""
    words = Text(
        "Every change, rehearsal, approval and broken glass is a record that carries the hash of the one before it. "
        "`history` reads all of them and ends with the head; a record that was edited, or is gone, is DOD353 (exit 4), "
        "and nothing is changed until a person has looked.",
        "変更、リハーサル、承認、緊急解除はすべて記録され、各記録は直前の記録のハッシュを含みます。"
        "`history` は全件を検証し、最後に末尾のハッシュを表示します。"
        "書き換えや欠落があれば DOD353（終了コード 4）となり、人が確認するまで何も変更できません。",
    )
    return Section(
        Text("Audit log", "監査ログ"),
        (Paragraph(words), CodeBlock(f"dodai history {env} --limit 50\n", "console")),
        (),
        "audit",
    )
