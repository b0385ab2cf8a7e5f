"""The runbook's section on the network: who may connect to what, over what, what proves it, what happens without it."""

from __future__ import annotations

from collections.abc import Iterator

from dodai.core.page import CodeBlock, PageTable, Paragraph, Section, Text
from dodai.operations.environment_policy import EnvironmentPolicy
from dodai.operations.policy import Dependency, OperationsPolicy

DAY_S = 86_400.0
HEAD = (
    Text("From → to", "接続元 → 接続先"),
    Text("Over", "方式"),
    Text("Proven by", "確認するもの"),
    Text("When it fails", "失敗したとき"),
)


def network(policy: OperationsPolicy, env: str) -> Section:
    """Every connection that the manifest allows; what is not in the table is closed."""
    words = Text(
        "These are the connections that the manifest allows. The command tries what can be reached from where it runs, "
        "and what must be refused there.",
        "マニフェストが許可する接続は次のとおりです。次のコマンドは、実行した場所から届く接続と、そこから拒否されるべき接続を試します。",
    )
    command = CodeBlock(f"dodai check operations --target {env}\n", "console")
    blocks = (Paragraph(words), command, PageTable(HEAD, tuple(_rows(policy, env))))
    return Section(Text("Network policy", "ネットワークポリシー"), blocks, anchor="network")


def _rows(policy: OperationsPolicy, env: str) -> Iterator[tuple[str | Text, ...]]:
    environment, public = policy.environments.get(env, EnvironmentPolicy(env)), policy.public_service
    left = f"{environment.certificate_left_s / DAY_S:g}"
    yield (
        Text("people → edge", "利用者 → エッジ"),
        Text(
            f"https, TLS 1.2 or newer, a trusted certificate that lasts {left} days more; plain http leads to https",
            f"https。TLS 1.2 以上、信頼された証明書（残り {left} 日以上）。平文の http は https へ転送",
        ),
        "DOD510, DOD511, DOD512, DOD513",
        Text("nobody gets in: renew the certificate at the edge", "誰も利用できない。エッジで証明書を更新する"),
    )
    if public is not None:
        yield (
            Text(f"edge → `{public.name}`", f"エッジ → `{public.name}`"),
            Text("with the edge's key; anybody else gets 403", "エッジの鍵が必要。ほかの要求には 403"),
            "DOD514",
            Text("502 or 504 with the request id", "リクエスト ID 付きの 502 または 504"),
        )
    for service in policy.services.values():
        for need in service.needs:
            protocol = policy.services[need].protocol
            yield (
                f"`{service.name}` → `{need}`",
                Text(f"{protocol}, its private address", f"{protocol}、内部アドレス"),
                _drills(policy.dependencies.get(need)),
                _failure(policy.dependencies.get(need)),
            )
    for name in policy.database.used_by:
        held = next((one for one in policy.dependencies.values() if one.kind == "postgres"), None)
        yield (
            Text(f"`{name}` → PostgreSQL", f"`{name}` → PostgreSQL"),
            Text("`sslmode=verify-full` unless it is on this machine", "このマシン以外では `sslmode=verify-full`"),
            Text(f"DOD066, {_drills(held)}", f"DOD066, {_drills(held)}"),
            _failure(held),
        )
    closed = ", ".join(f"`{one}`" for one in environment.closed_ports)
    yield (
        Text("anybody else → a service or the database", "その他 → サービス、データベース"),
        Text(f"refused ({closed})" if closed else "refused", f"拒否（{closed}）" if closed else "拒否"),
        "DOD515",
        Text("close the port, then ask again", "ポートを閉じて、もう一度確認する"),
    )


def _drills(dependency: Dependency | None) -> str:
    if dependency is None:
        return "–"
    return ", ".join(f"`{dependency.name}-{mode}`" for mode in ("refused", "blackholed", "half-open", "slow"))


def _failure(dependency: Dependency | None) -> Text:
    if dependency is None:
        return Text("not declared: `[dependency.NAME]` says it", "未定義（`[dependency.NAME]` で定義する）")
    return Text(
        f"503 or 504 with the request id within {dependency.deadline_s:g} s; at once after "
        f"{dependency.breaker_failures} failures, for {dependency.breaker_reset_s:g} s",
        f"{dependency.deadline_s:g} 秒以内にリクエスト ID 付きの 503 または 504。"
        f"{dependency.breaker_failures} 回失敗した後は {dependency.breaker_reset_s:g} 秒間すぐに返す",
    )
