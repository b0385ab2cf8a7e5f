"""A plan as people and programs read it: the dry run, the runbook section, JSON."""

from __future__ import annotations

from typing import Any

from dodai.core.page import Block, Bullets, CodeBlock, Lang, PageTable, Paragraph, Section, Text, say
from dodai.engine.plan import Plan, Step

_WORDS = {
    "undo": Text("undo", "取り消し"),
    "nothing": Text("leaves nothing behind", "後に何も残さない"),
    "forward": Text("fix forward", "ロールフォワードで修正"),
    "no_return": Text("point of no return", "引き返せない地点"),
    "manual": Text("by hand", "手作業"),
    "needs": Text("after", "先行手順"),
    "within": Text("within", "期限"),
}


def as_text(plan: Plan, lang: Lang = "en") -> str:
    """The dry run: one line per step with number, id, title, how it is taken back, and its deadline."""
    request = plan.request
    steps = plan.ordered()
    head = (
        f"{say(plan.title, lang)}  {request.kind} {request.env} {request.release}".rstrip()
        + f"  plan {plan.short_hash}"
    )
    width = max((len(step.id) for step in steps), default=0)
    digits = len(str(len(steps)))
    lines = [head]
    no_return = next((step for step in steps if step.point_of_no_return), None)
    for number, step in enumerate(steps, 1):
        if step is no_return:
            lines.append(f"  {'-' * digits}  {say(_WORDS['no_return'], lang)}")
        facts = f"{_way_back(step, lang)}, {say(_WORDS['within'], lang)} {step.timeout_s:g} s"
        lines.append(f"  {number:>{digits}}  {step.id:<{width}}  {say(step.title, lang)}  ({facts})")
    return "\n".join(lines) + "\n"


def as_section(plan: Plan, *, anchor: str = "") -> Section:
    """The plan as a runbook section: a table of all steps, then a section for each with a command or done by hand."""
    steps = plan.ordered()
    head = (Text("No.", "番号"), "id", Text("Step", "手順"), Text("If it fails", "失敗時"), Text("Deadline", "期限"))
    rows = tuple(
        (str(n), f"`{s.id}`", s.title, Text(_way_back(s, "en"), _way_back(s, "ja")), f"{s.timeout_s:g} s")
        for n, s in enumerate(steps, 1)
    )
    blocks: list[Block] = [Paragraph(_border_sentence(steps)), PageTable(head, rows)]
    if plan.request.command:
        blocks.append(CodeBlock(plan.request.command, "console"))
    return Section(
        plan.title,
        tuple(blocks),
        tuple(_step_section(n, s) for n, s in enumerate(steps, 1) if s.command or s.manual),
        anchor,
    )


def as_json(plan: Plan) -> dict[str, Any]:
    """`dodai.plan/1`; never a secret: inputs and secret versions hold none."""
    request = plan.request
    return {
        "schema": "dodai.plan/1",
        "hash": plan.hash,
        "kind": request.kind,
        "environment": request.env,
        "release": request.release,
        "actor": request.actor,
        "manifestHash": request.manifest_hash,
        "secretVersions": dict(request.secret_versions),
        "arguments": dict(request.arguments),
        "title": {"en": plan.title.en, "ja": plan.title.ja},
        "steps": [_step_json(number, step) for number, step in enumerate(plan.ordered(), 1)],
    }


def _step_json(number: int, step: Step) -> dict[str, Any]:
    return {
        "number": number,
        "id": step.id,
        "title": {"en": step.title.en, "ja": step.title.ja},
        "area": step.area,
        "needs": list(step.needs),
        "onFailure": step.on_failure,
        "undo": step.undo is not None,
        "pointOfNoReturn": step.point_of_no_return,
        "manual": step.manual is not None,
        "timeoutSeconds": step.timeout_s,
        "attempts": step.retry.attempts,
        "command": step.command,
        "inputs": dict(step.inputs),
    }


def _step_section(number: int, step: Step) -> Section:
    title = Text(f"{number}. {step.title.en}", f"{number}. {step.title.ja}")
    blocks: list[Block] = []
    if step.manual:
        marked = Text(f"**By hand:** {step.manual.en}", f"**手作業:** {step.manual.ja}")
        checked = Text("dodai verifies the result itself.", "結果は dodai が自動で確認します。")
        blocks += [Paragraph(marked), Paragraph(checked)]
    if step.command:
        blocks.append(CodeBlock(step.command, "console"))
    return Section(title, (*blocks, Bullets(_facts(step))))


def _facts(step: Step) -> tuple[Text, ...]:
    facts = [Text(f"If it fails: {_way_back(step, 'en')}", f"失敗時: {_way_back(step, 'ja')}")]
    if step.needs:
        needs = ", ".join(f"`{need}`" for need in step.needs)
        facts.append(Text(f"After: {needs}", f"先行手順: {needs}"))
    facts.append(Text(f"Deadline: {step.timeout_s:g} s", f"期限: {step.timeout_s:g} 秒"))
    if step.retry.attempts > 1:
        n = step.retry.attempts
        facts.append(Text(f"Tried up to {n} times", f"最大 {n} 回まで試行"))
    return tuple(facts)


def _way_back(step: Step, lang: Lang) -> str:
    words = [say(_WORDS["manual"], lang)] if step.manual else []
    if step.on_failure == "fix_forward":
        words.append(say(_WORDS["forward"], lang))
    elif step.undo is None:
        words.append(say(_WORDS["nothing"], lang))
    else:
        title = f": {say(step.undo_title, lang)}" if step.undo_title else ""
        words.append(say(_WORDS["undo"], lang) + title)
    return ", ".join([*words, say(_WORDS["no_return"], lang)] if step.point_of_no_return else words)


def _border_sentence(steps: tuple[Step, ...]) -> Text:
    no_return = next((step for step in steps if step.point_of_no_return), None)
    if no_return:
        return Text(
            f"Point of no return: step `{no_return.id}`. Once it began, nothing is undone.",
            f"引き返せない地点は手順 `{no_return.id}` です。始まった後は何も取り消しません。",
        )
    forward = ", ".join(f"`{step.id}`" for step in steps if step.on_failure == "fix_forward")
    if forward:
        return Text(
            f"What fails is undone in reverse order, up to the newest of {forward}: those are only fixed forward.",
            f"失敗すると逆順に取り消します。{forward} はロールフォワードで修正し、取り消しはそこで止まります。",
        )
    return Text(
        "There is no point of no return: whatever fails, everything is undone in reverse order.",
        "引き返せない地点はありません。どの手順が失敗しても、逆順にすべて取り消します。",
    )
