"""The codes the engine raises: DOD350-359 and DOD370-377."""

from __future__ import annotations

from dodai.core.errors import Code
from dodai.core.text import Text

LEASE_HELD = Code(
    "DOD350",
    "environment-is-locked",
    what=Text(
        "Somebody else is changing this environment.",
        "ほかの誰かがこの環境を変更している最中です。",
    ),
    why=Text(
        "Two plans at once would undo and overwrite each other's work.",
        "二つの計画を同時に進めると、互いの作業を上書きしたり取り消したりしてしまいます。",
    ),
    fix=Text(
        "Wait for the named holder, or ask them. A holder that died is replaced at once, without force.",
        "表示された実行者の終了を待つか、本人に確認してください。落ちた実行者のロックは自動的に引き継がれます。",
    ),
)
LEASE_LOST = Code(
    "DOD351",
    "environment-lock-lost",
    what=Text(
        "The lock on the environment was lost while a plan was running; it stopped before its next change.",
        "計画の実行中に環境のロックを失ったため、次の変更の前に停止しました。",
    ),
    why=Text(
        "A holder that was paused may have been replaced; going on would fight the new one.",
        "停止していた間に別の実行者へ交代した可能性があり、続けると衝突します。",
    ),
    fix=Text(
        "See who works there with `dodai status ENV`, then `dodai resume ENV`.",
        "`dodai status ENV` で現在の実行者を確かめてから `dodai resume ENV` を実行してください。",
    ),
)
JOURNAL_UNWRITABLE = Code(
    "DOD352",
    "journal-not-writable",
    what=Text("The journal of the environment cannot be written.", "環境のジャーナルに書き込めません。"),
    why=Text(
        "Nothing is changed that was not written down first: without a record no crash could be recovered from.",
        "記録できない変更は行いません。記録がなければ、障害からの復旧ができないためです。",
    ),
    fix=Text(
        "Free space or mend permissions of the named file, then run the command again.",
        "表示されたファイルの空き容量と権限を直してから、もう一度実行してください。",
    ),
)
JOURNAL_BROKEN = Code(
    "DOD353",
    "journal-is-broken",
    what=Text(
        "The journal is damaged, was edited, or lost records.",
        "ジャーナルが壊れているか、書き換えられたか、記録が失われています。",
    ),
    why=Text(
        "Every record carries the hash of the one before it; what no longer fits proves nothing about what was done.",
        "各記録は直前の記録のハッシュを含みます。つながらない記録は、何が行われたかの根拠になりません。",
    ),
    fix=Text(
        "Restore the file from a backup; otherwise keep it aside and look at the environment with `dodai status ENV`.",
        "バックアップから復元してください。なければファイルを退避し、`dodai status ENV` で実環境を確認してください。",
    ),
)
JOURNAL_NEWER = Code(
    "DOD354",
    "journal-from-newer-dodai",
    what=Text("The journal was written by a newer dodai.", "ジャーナルは新しい版の dodai が書いたものです。"),
    why=Text(
        "An older program could misread what a newer one recorded.",
        "古い版では、新しい版の記録を読み違えるおそれがあります。",
    ),
    fix=Text("Install the newer dodai.", "新しい版の dodai を導入してください。"),
)
PLAN_UNFINISHED = Code(
    "DOD355",
    "plan-unfinished",
    what=Text("An earlier plan of this environment has not ended.", "この環境には終わっていない計画があります。"),
    why=Text(
        "Starting another would build on a state nobody has settled.",
        "状態が定まらないまま、次の計画を重ねることになります。",
    ),
    fix=Text(
        "`dodai resume ENV` finishes it, `dodai resume ENV --undo` takes it back.",
        "`dodai resume ENV` で続行、`dodai resume ENV --undo` で取り消しができます。",
    ),
)
PLAN_CHANGED = Code(
    "DOD356",
    "plan-is-another",
    what=Text(
        "The plan rebuilt from the journal is not the plan that was started.",
        "ジャーナルから組み立て直した計画が、開始時の計画と一致しません。",
    ),
    why=Text(
        "A resume must finish what was agreed to; another dodai may build other steps from the same request.",
        "再開は合意した内容を完了させるものです。版の異なる dodai は、同じ要求から別の手順を作ることがあります。",
    ),
    fix=Text(
        "Resume with the dodai version that started the plan.",
        "計画を開始したときと同じ版の dodai で再開してください。",
    ),
)
NOTHING_UNFINISHED = Code(
    "DOD357",
    "nothing-to-resume",
    what=Text("No plan of this environment is unfinished.", "この環境に終わっていない計画はありません。"),
    why=Text("There is nothing to finish or to undo.", "続行も取り消しも必要ありません。"),
    fix=Text(
        "Nothing; `dodai history ENV` shows what ended.", "対応は不要です。`dodai history ENV` で履歴を確認できます。"
    ),
    level="info",
)
STEP_BLOCKED = Code(
    "DOD358",
    "step-blocked",
    what=Text("A step must not be tried in the present state.", "現在の状態では、この手順を実行できません。"),
    why=Text("Its own look at the world said so; the detail names the reason.", "手順自身の確認結果によるものです。"),
    fix=Text(
        "Mend the named reason, then run the command again.", "表示された原因を直して、もう一度実行してください。"
    ),
)
STEP_FAILED = Code(
    "DOD359",
    "step-failed",
    what=Text("A step of a plan failed.", "計画の手順が失敗しました。"),
    why=Text(
        "What it had changed was undone where that is possible; the report lists what was done, undone and remains.",
        "変更は可能な範囲で元に戻しました。行ったこと、戻したこと、残ったことは報告にあります。",
    ),
    fix=Text(
        "Mend the cause in the message, then run the named command.",
        "原因を直し、表示されたコマンドを実行してください。",
    ),
)
STEP_TIMED_OUT = Code(
    "DOD370",
    "step-timed-out",
    what=Text("A step did not end within its deadline.", "手順が期限内に終わりませんでした。"),
    why=Text(
        "A plan that waits for ever holds the lock for ever.",
        "期限がなければ、ロックを握ったまま待ち続けることになります。",
    ),
    fix=Text(
        "Look at what the step waits for, then run the named command.",
        "何を待っていたのかを確かめ、表示されたコマンドを実行してください。",
    ),
)
STEP_UNVERIFIED = Code(
    "DOD371",
    "step-not-verified",
    what=Text(
        "A step was carried out, but what it should have brought about is not there.",
        "手順は実行されましたが、期待した結果を確認できません。",
    ),
    why=Text("Nothing counts as done that was not verified.", "確認できないものは完了と見なしません。"),
    fix=Text("Read the detail, mend the cause, then run the named command.", "詳細を読み、原因を直してください。"),
)
UNDO_FAILED = Code(
    "DOD372",
    "undo-failed",
    what=Text("A step could not be undone.", "手順を元に戻せませんでした。"),
    why=Text(
        "The environment is between two states; steps it rests on were left alone.",
        "環境は途中の状態です。その手順が前提とする手順には手を付けていません。",
    ),
    fix=Text(
        "Mend the cause, then `dodai resume ENV --undo`, or go forward with `dodai resume ENV`.",
        "原因を直し、`dodai resume ENV --undo` で取り消すか、`dodai resume ENV` で続行してください。",
    ),
)
PLAN_INTERRUPTED = Code(
    "DOD373",
    "plan-interrupted",
    what=Text("A person or the system stopped the plan.", "計画は途中で止められました。"),
    why=Text(
        "The current step was finished or undone first, so that nothing is left half-made.",
        "中途半端な状態を残さないよう、実行中の手順を終えるか元に戻してから停止しています。",
    ),
    fix=Text("Run the named command when ready.", "準備ができたら、表示されたコマンドを実行してください。"),
)
STEP_DECLINED = Code(
    "DOD374",
    "manual-step-declined",
    what=Text("A step that a person does was not confirmed.", "人が行う手順が確認されませんでした。"),
    why=Text("dodai cannot do this step itself.", "この手順は dodai だけでは実行できません。"),
    fix=Text("Do the step, then run the command again.", "手順を行ってから、もう一度実行してください。"),
)
JOURNALS_DIFFER = Code(
    "DOD375",
    "journals-differ",
    what=Text(
        "The journal in the control database and the copy on this machine do not say the same.",
        "制御データベースのジャーナルと、このマシンの控えの内容が食い違っています。",
    ),
    why=Text(
        "One of them lost or gained records, as after a restore. The longer one is not right for being longer.",
        "復元などで片方の記録が欠けたか増えています。長い方が正しいとは限りません。",
    ),
    fix=Text(
        "Compare both heads with what runs (`dodai status ENV`), then choose one: `dodai resume ENV --trust database`"
        " or `--trust copy`.",
        "両方の末尾を実環境（`dodai status ENV`）と照らし合わせ、`dodai resume ENV --trust database` か"
        " `--trust copy` で正しい方を選んでください。",
    ),
)
CONTROL_UNAVAILABLE = Code(
    "DOD376",
    "control-database-unavailable",
    what=Text("The control database does not answer.", "制御データベースが応答しません。"),
    why=Text(
        "It holds the lock and the journal: without it nobody may change the environment. A running plan stopped.",
        "ロックとジャーナルがそこにあるため、応答がない間は環境を変更できません。実行中の計画は停止しています。",
    ),
    fix=Text(
        "Bring it back or correct `control_url`, then `dodai status ENV` and `dodai resume ENV`.",
        "復旧するか `control_url` を直し、`dodai status ENV` を確認してから `dodai resume ENV` を実行してください。",
    ),
)

CODES: tuple[Code, ...] = (
    LEASE_HELD,
    LEASE_LOST,
    JOURNAL_UNWRITABLE,
    JOURNAL_BROKEN,
    JOURNAL_NEWER,
    PLAN_UNFINISHED,
    PLAN_CHANGED,
    NOTHING_UNFINISHED,
    STEP_BLOCKED,
    STEP_FAILED,
    STEP_TIMED_OUT,
    STEP_UNVERIFIED,
    UNDO_FAILED,
    PLAN_INTERRUPTED,
    STEP_DECLINED,
    JOURNALS_DIFFER,
    CONTROL_UNAVAILABLE,
)
