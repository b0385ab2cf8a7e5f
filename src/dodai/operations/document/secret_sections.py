"""The runbook's sections on settings and secrets, and on going back to earlier data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from dodai.core.page import CodeBlock, PageTable, Paragraph, Section, Text, bullets
from dodai.operations.policy import OperationsPolicy, Secret

DAY_S, HOUR_S, MINUTE_S = 86_400, 3_600, 60
NONE = Text("–", "–")
CHANGED_BY: Mapping[str, Text] = {
    "overlap": Text("`command`: `rotate`, later `--finish`", "`command`: `rotate`、のちに `--finish`"),
    "replace": Text("`command`: `rotate`", "`command`: `rotate`"),
    "dual-role": Text("`command`: `rotate`", "`command`: `rotate`"),
    "external": Text("`manual`: get it from its issuer; `command`: `set`", "`manual`: 発行元で取得、`command`: `set`"),
}


def manual_steps(secrets: Iterable[Secret]) -> int:
    """How many steps of the runbook a person has to do elsewhere: only an issuer can make a new value of theirs."""
    return sum(secret.rotation == "external" for secret in secrets)


def settings(policy: OperationsPolicy, secrets: Mapping[str, Secret], env: str) -> Section:
    """Every secret and setting: who gets it, whom to ask, how and how often it changes; and the commands."""
    head = (
        Text("Name", "名前"),
        Text("Used by", "利用するサービス"),
        Text("Owner", "管理者"),
        Text("Changed by", "変更手段"),
        Text("Old value stays for", "古い値が有効な期間"),
        Text("At the latest every", "更新の間隔"),
    )
    count = manual_steps(secrets.values())
    most = {name: one.manual_steps for name, one in policy.environments.items() if one.manual_steps >= 0}
    allowed = ", ".join(f"`{name}` {number}" for name, number in most.items())
    bound = Text(f" At most: {allowed}.", f"上限: {allowed}。") if allowed else Text("", "")
    words = Text(
        "No value stands here, in the manifest, in the journal or in a log. Each command is a plan: it can be resumed "
        f"and taken back like a deploy. Steps that a person has to do elsewhere (`manual`): {count}.{bound.en}",
        "値はここにも、マニフェスト、ジャーナル、ログにも現れません。どのコマンドも計画として実行され、デプロイと同じように"
        f"再開や取り消しができます。人が別の場所で行う手順（`manual`）は {count} 件です。{bound.ja}",
    )
    blocks = (
        Paragraph(words),
        PageTable(head, (*map(_secret_row, secrets.values()), *_setting_rows(policy))),
        CodeBlock(_commands(secrets, env), "console"),
        bullets(_facts(env)),
    )
    return Section(Text("Settings and secrets", "設定とシークレット"), blocks, anchor="secrets")


def _secret_row(secret: Secret) -> tuple[str | Text, ...]:
    overlaps = secret.rotation == "overlap"
    return (
        f"`{secret.name}`",
        ", ".join(f"`{name}`" for name in secret.used_by) or NONE,
        secret.owner or NONE,
        CHANGED_BY[secret.rotation],
        _length(secret.overlap_s) if overlaps else NONE,
        _length(secret.every_s) if secret.every_s else NONE,
    )


def _setting_rows(policy: OperationsPolicy) -> Iterator[tuple[str | Text, ...]]:
    for setting in policy.settings.values():
        used_by = ", ".join(f"`{name}`" for name in setting.used_by)
        by = Text(f"a deploy; {setting.about or 'a setting'}", f"デプロイ。{setting.about or '設定値'}")
        yield f"`{setting.name}`", used_by, NONE, by, NONE, NONE


def _length(seconds: float) -> str:
    for unit, size in (("d", DAY_S), ("h", HOUR_S), ("min", MINUTE_S)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"


def _commands(secrets: Mapping[str, Secret], env: str) -> str:
    """From a look to an emergency, with names that there are."""
    lines = [f"dodai secrets list {env}", f"dodai check operations --target {env}"]
    overlapping = next((one.name for one in secrets.values() if one.rotation == "overlap" and one.owner != "dodai"), "")
    overlapping = overlapping or next((one.name for one in secrets.values() if one.rotation == "overlap"), "")
    if overlapping:
        rotate = f"dodai secrets rotate {env} {overlapping}"
        lines += [rotate, f"{rotate} --finish", f"{rotate} --now"]
    issued = next((one.name for one in secrets.values() if one.rotation == "external"), "")
    return "\n".join([*lines, *([f"dodai secrets set {env} {issued}"] if issued else [])]) + "\n"


def _facts(env: str) -> tuple[Text, ...]:
    return (
        Text(
            "`rotate` signs nobody out: every process recognises the new value before one signs with it. `--finish` "
            "drops the old value, and is refused until nothing made with it is in use (DOD561).",
            "`rotate` で誰もログアウトされません。新しい値で署名する前に、"
            "すべてのプロセスがその値を検証できるようになります。`--finish` は古い値を取り除きますが、"
            "その値で作られたものが使われている間は拒否されます（DOD561）。",
        ),
        Text(
            "A value that somebody else may know: `--now`. It stops working at once; whatever was made with it "
            "(sessions, forms, tokens) is refused from then on.",
            "値が漏れたおそれがある場合は `--now` を使います。その値は直ちに無効になり、"
            "その値で作られたもの（セッション、フォーム、トークン）は以後拒否されます。",
        ),
        Text(
            f"A command that was killed: `dodai resume {env}` finishes it, `--undo` takes it back; until then no "
            "other plan begins.",
            f"途中で終わったときは `dodai resume {env}` で続行、`--undo` で取り消します。"
            "それまでほかの計画は始められません。",
        ),
    )


def restore(policy: OperationsPolicy, env: str, proven: Text | None) -> Section:
    """Going back to the data of a restore point: when, with which commands, what it costs, and when it was tried."""
    bound_s = policy.database.restore_within_s
    words = Text(
        "For data that a migration or a release destroyed. Nobody is served meanwhile. What was written after the copy "
        "is set aside, never dropped: `replaced` lists it, and exports it as SQL that inserts it again.",
        "マイグレーションやリリースがデータを壊したときの手順です。その間は提供を止めます。"
        "コピー以後の書き込みは捨てずに別に保管し、`replaced` で一覧と再登録用の SQL を得られます。",
    )
    commands = (
        f"dodai releases {env}\n"
        f"dodai rollback {env} RELEASE --restore POINT --dry-run\n"
        f"dodai rollback {env} RELEASE --restore POINT\n"
        f"dodai replaced {env}\n"
        f"dodai replaced {env} --export FOLDER\n"
    )
    allowed = (
        Text(
            f"It may take {_length(bound_s)} (`[database] restore_within`), from the command until people are served.",
            f"許容時間は、コマンドから提供再開まで {_length(bound_s)} です（`[database] restore_within`）。",
        )
        if bound_s
        else Text(
            "Nobody says how long it may take: `[database] restore_within`.",
            "許容時間は決められていません（`[database] restore_within`）。",
        )
    )
    never = Text(
        "No rehearsal of it is on record here: `dodai rehearse --all --document`.",
        "復元のリハーサルは記録されていません（`dodai rehearse --all --document`）。",
    )
    blocks = (Paragraph(words), CodeBlock(commands, "console"), bullets((allowed, proven or never)))
    return Section(Text("Restore", "データの復元"), blocks, anchor="restore")
