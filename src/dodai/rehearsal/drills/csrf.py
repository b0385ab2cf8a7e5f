"""The drills of csrf: what a hostile page can send, keys that change under load, and the token in every form."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import field
from functools import partial

from dodai.core.dataclass import dataclass
from dodai.core.page import Text
from dodai.csrf.form_table import crawl
from dodai.csrf.policy import PROBE_PATH, REFRESH_PATH, CsrfPolicy
from dodai.csrf.ports import Request
from dodai.csrf.run import attack, refused
from dodai.operations.journey import walk
from dodai.operations.secret import CSRF_KEYS
from dodai.rehearsal.drill import Drill, DrillFile, DrillResult
from dodai.rehearsal.ports import Stage, Subject

READERS, ROUNDS_AFTER, PAUSE_S = 4, 5, 0.05

Visitors = Callable[[Stage], AsyncIterator[tuple[str, Request]]]
"""The people of the journeys, each by name with a client of their own, signed in where their journey signs in."""


def drills(policy: CsrfPolicy, targets: tuple[str, ...], visitors: Visitors) -> tuple[Drill, ...]:
    """The drills; `targets` are paths that change state, asked only in ways that must be refused before the handler."""
    if not targets or policy.mode == "report":
        return ()
    return (
        Drill(
            "forged-posts-are-refused",
            "csrf",
            Text("Posts a hostile page could send are refused", "悪意あるページが送れる POST はすべて拒否される"),
            "403 with a code and the request id for each; a genuine post passes the same layer",
            partial(_forged, policy, targets),
        ),
        Drill(
            "keys-rotated-under-load",
            "csrf",
            Text(
                "The keys change while people fill in forms",
                "フォームの入力中に鍵を交換しても、正当な投稿は拒否されない",
            ),
            "0 legitimate posts refused, with tokens of the old key and of the new one; 403 once the old is dropped",
            partial(_rotated, policy),
        ),
        Drill(
            "every-form-carries-a-token",
            "csrf",
            Text("Every form of the pages carries its token", "画面上のすべてのフォームにトークンがある"),
            "every form that changes state has a token, and no page with one may be kept by a shared cache",
            partial(_crawled, policy, visitors),
        ),
    )


async def _forged(policy: CsrfPolicy, targets: tuple[str, ...], stage: Stage) -> DrillResult:
    asked = await attack(stage.request, policy, targets)
    wrong = [f"{one.case} POST {one.path}: {one.problem}" for one in asked if one.problem]
    request_ids = tuple(one.request_id for one in asked)
    observed = f"{len(asked) - len(wrong)} of {len(asked)} posts answered as they must be, one of them genuine"
    return DrillResult(observed, not wrong, request_ids[:3], {"targets": list(targets), "wrong": wrong})


async def _crawled(policy: CsrfPolicy, visitors: Visitors, stage: Stage) -> DrillResult:
    """Follow the links of the front page, as nobody and as the person of each journey, and look at every form."""
    crawls = {"nobody": await crawl(partial(stage.request, "GET"), policy)}
    async for name, request in visitors(stage):
        crawls[name] = await crawl(partial(request, "GET"), policy)
    wrong = [f"as {name}: {one}" for name, found in crawls.items() for one in found.wrong]
    forms, pages = sum(found.forms for found in crawls.values()), sum(found.pages for found in crawls.values())
    observed = f"{forms} forms on {pages} pages as {len(crawls)} people, {len(wrong)} of them wrong"
    request_ids = tuple(id_ for found in crawls.values() for id_ in found.request_ids[:1])
    ok = all(found.ok for found in crawls.values())
    people = {name: {"forms": found.forms, "pages": found.pages} for name, found in crawls.items()}
    return DrillResult(observed, ok, request_ids, {"wrong": wrong, "people": people})


@dataclass(slots=True)
class _FormHolder:
    """Somebody with a form open since before the keys changed, and other pages of ours in a second tab."""

    stage: Stage
    header: str
    cookie: str = "reader=1"
    opened: str = ""
    posts: int = 0
    refused: list[str] = field(default_factory=list)

    async def page(self) -> str:
        """The token in a page opened now; a cookie that comes with it replaces the one before, as in a browser."""
        answer = await self.stage.request("GET", REFRESH_PATH, headers={"cookie": self.cookie})
        if answer.status_code != 200:
            raise refused(f"`{REFRESH_PATH}` answered {answer.status_code}", answer)
        given = answer.headers.get("set-cookie", "").partition(";")[0]
        self.cookie = f"reader=1; {given}" if given else self.cookie
        return str(json.loads(answer.text)["token"])

    async def post(self, token: str) -> None:
        answer = await self.stage.request("POST", PROBE_PATH, headers={"cookie": self.cookie, self.header: token})
        self.posts += 1
        if answer.status_code != 204:
            request_id = answer.headers.get("x-request-id", "-")
            self.refused.append(f"{answer.status_code} for a token of key {_key_of(token)}, request {request_id}")

    async def round(self) -> None:
        await self.post(self.opened)
        await self.post(await self.page())
        await asyncio.sleep(PAUSE_S)


async def _rotated(policy: CsrfPolicy, stage: Stage) -> DrillResult:
    """The plan of `dodai secrets rotate`: a new key in front of the ring, the old one behind it until it is dropped."""
    readers = [_FormHolder(stage, policy.header) for _ in range(READERS)]
    for reader in readers:
        reader.opened = await reader.page()
    over = asyncio.Event()

    async def keep_posting(reader: _FormHolder) -> None:
        while not over.is_set():
            await reader.round()
        for _ in range(ROUNDS_AFTER):
            await reader.round()

    async with asyncio.TaskGroup() as group:
        for reader in readers:
            group.create_task(keep_posting(reader))
        try:
            outcome = await stage.rotate(CSRF_KEYS)
        finally:
            over.set()
    signed_with = _key_of(await readers[0].page())
    ended = await stage.rotate(CSRF_KEYS, finish=True)
    late = await stage.request(
        "POST", PROBE_PATH, headers={"cookie": readers[0].cookie, policy.header: readers[0].opened}
    )
    posts, refused = sum(reader.posts for reader in readers), [one for reader in readers for one in reader.refused]
    changed = signed_with != _key_of(readers[0].opened)
    observed = (
        f"{len(refused)} of {posts} posts refused, "
        f"new tokens are signed with {'the new' if changed else 'the old'} key, "
        f"a token of the old one gets {late.status_code} once that is dropped"
    )
    done = outcome.exit_code == ended.exit_code == 0
    ok = not refused and changed and done and late.status_code == 403
    details = {"readers": READERS, "refused": refused[:5], "rotationSeconds": outcome.seconds}
    return DrillResult(observed, ok, (late.headers.get("x-request-id", "-"),), details)


def _key_of(token: str) -> str:
    """The id of the key that signed it."""
    return token.split(".")[1] if token.count(".") >= 2 else "none"


async def _people(subject: Subject, stage: Stage) -> AsyncIterator[tuple[str, Request]]:
    """Whoever walked each journey, with the cookies they have afterwards."""
    for journey in subject.policy.journeys:
        visitor = subject.visit(stage.url)
        try:
            await walk(journey, visitor)
            yield journey.name, visitor.send
        finally:
            await visitor.close()


def _posts(subject: Subject) -> tuple[str, ...]:
    """The paths that the journeys post to, any saved value replaced by one that exists nowhere."""
    steps = [step for journey in subject.policy.journeys for step in journey.steps if step.method.upper() == "POST"]
    return tuple(dict.fromkeys(re.sub(r"\{[^}]*\}", "0", step.path) for step in steps))


def _of(subject: Subject) -> tuple[Drill, ...]:
    public = subject.policy.public_service
    targets = _posts(subject) if public is not None and (public.app or public.client) else ()
    return drills(subject.csrf, targets, partial(_people, subject))


DRILLS = DrillFile("csrf", _of)
