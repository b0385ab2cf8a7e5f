"""A project's own pages for errors (`handler404`) run for no request that was not judged for what changes something."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.csrf.test_exemptions import DJANGO
from tests.csrf.test_framework_mode import DJANGO_ATTACK

PROJECT = (
    DJANGO.replace(
        "class ToTransfer:",
        """
from django.core.exceptions import BadRequest, PermissionDenied, SuspiciousOperation
from django.http import Http404
RAISED = {"404": Http404, "403": PermissionDenied, "400": SuspiciousOperation, "bad": BadRequest, "500": ValueError}
class Raising:
    def __init__(self, get_response): self.get_response = get_response
    def __call__(self, request):
        if "raise" in request.GET: raise RAISED[request.GET["raise"]]
        return self.get_response(request)
def page(status):
    def shown(request, exception=None):
        ran.append(f"{request.method} {status}")
        return HttpResponse(str(status), status=status)
    return shown
def failing(request, error):
    ran.append("view")
    raise RAISED[error]
def form(request):
    from dodai.csrf.enforce import csrf_token
    return HttpResponse(csrf_token())
class ToTransfer:""",
    )
    .replace("site.ToTransfer = ToTransfer", "site.ToTransfer, site.Raising = ToTransfer, Raising")
    .replace('"shop_site.ToTransfer"]', '"shop_site.ToTransfer", "shop_site.Raising"]')
    .replace("MIDDLEWARE=[", "DEBUG_PROPAGATE_EXCEPTIONS=False, MIDDLEWARE=[")
    + """
site.urlpatterns += [path("form/", form), path("failing/<error>/", failing)]
site.handler400, site.handler403, site.handler404, site.handler500 = map(page, (400, 403, 404, 500))
def asgi_read(target):
    ran.clear()
    sent = [(name.lower(), value) for name, value in FORGED.items()]
    return asyncio.run(call(guarded(ASGIHandler()), "GET", target, sent)).status, list(ran)
def with_token(target):
    from tests.csrf.driver import Browser
    async def asked():
        browser = Browser(guarded(ASGIHandler()))
        await browser.get("/form/")
        ran.clear()
        return (await browser.post(target)).status, list(ran)
    return asyncio.run(asked())
def around(env, target):
    given = {} if env else {"origins": ("https://shop.example",)}
    dodai.wsgi.wrap(WSGIHandler(), config=RuntimeConfig(csrf_keys=KEYS, env=env, **given))
    ran.clear()
    answer = Client(WSGIHandler(), use_cookies=False).post(target, headers=FORGED)
    return answer.status_code, answer.text[:6], list(ran)
"""
)


def answers(*asked: str, project: str = PROJECT) -> list:
    code = project + f"print('ANSWER', json.dumps([{', '.join(asked)}]))\n"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2]
    )
    said = [line for line in done.stdout.splitlines() if line.startswith("ANSWER")]
    assert said, done.stderr
    return json.loads(said[0].removeprefix("ANSWER"))


def test_read_that_becomes_a_write_gets_no_page_of_the_project():
    """Over WSGI and ASGI, whichever page it is; a read that stays one gets it."""
    errors = ["404", "403", "400", "bad", "500"]
    found = answers(
        'wsgi("GET", "/nowhere/?as=POST")',
        'asgi_read("/nowhere/?as=POST")',
        *(f'wsgi("GET", "/hook/?as=POST&raise={each}")' for each in errors),
        *(f'wsgi("GET", "/hook/?raise={each}")' for each in errors),
        'asgi_read("/nowhere/")',
    )
    status = {"bad": 400}
    pages = [int(status.get(each, each)) for each in errors]
    assert found[:7] == [[403, []]] * 7
    assert found[7:] == [*([page, [f"GET {page}"]] for page in pages), [404, ["GET 404"]]]


def test_exempt_request_gets_the_pages_of_its_own_view_alone():
    """And those of what stands in front of it; a path that is no pattern's is nobody's exemption."""
    exempt = '"POST /hook/", "POST /failing/<error>/"'
    found = answers(
        f'wsgi("POST", "/hook/?to=/nowhere/", {exempt})',
        f'wsgi("POST", "/hook/?to=/transfer/", {exempt})',
        f'wsgi("POST", "/hook/?to=/transfer/&raise=404", {exempt})',
        f'wsgi("POST", "/hook/?as=PUT&raise=404", {exempt})',
        'asgi("/hook/?to=/nowhere/", "", "POST /hook/")',
        f'wsgi("POST", "/failing/404/", {exempt})',
        f'wsgi("POST", "/failing/500/", {exempt})',
        f'wsgi("POST", "/hook/?raise=403", {exempt})',
        'asgi("/failing/404/", "", "POST /failing/<error>/")',
    )
    assert found[:5] == [[403, []]] * 5
    assert found[5:] == [
        [404, ["view", "POST 404"]],
        [500, ["view", "POST 500"]],
        [403, ["POST 403"]],
        [404, ["view", "POST 404"]],
    ]


def test_request_with_a_token_gets_the_page():
    """It proved itself; nothing of this sort is asked of a path that does not exist."""
    assert answers('with_token("/nowhere/")', 'with_token("/failing/403/")') == [
        [404, ["POST 404"]],
        [403, ["view", "POST 403"]],
    ]


@pytest.mark.parametrize(("env", "ran"), [("", False), ("local", True)])
def test_request_that_came_around_the_layer_gets_no_page(env, ran):
    """In production: the application inside is served. While developing it is told."""
    targets = {"/nowhere/": ["404", ["POST 404"]], "/failing/500/": ["500", ["view", "POST 500"]]}
    found = answers(*(f"around({env!r}, {target!r})" for target in targets))
    shown = [[int(status), status, pages] for status, pages in targets.values()]
    assert found == (shown if ran else [[403, "DOD161", []]] * 2)


def test_page_of_a_project_whose_own_check_has_not_run():
    """In mode `framework` a path that does not exist gets its page; what nobody checked does not get that of its error."""
    project = DJANGO_ATTACK.replace("MIDDLEWARE=MIDDLEWARE", "MIDDLEWARE=[OWN]").partition('print("WSGI"')[0]
    project = project.replace("import asyncio,", "import asyncio, json,") + (
        "def page(request, exception=None): ran.append('page'); return HttpResponse('page', status=404)\n"
        "site.handler404 = site.handler500 = page\n"
    )
    asked = ['[post("/nowhere", {}), list(ran)]', '[post("/hook", {}), list(ran)]']
    assert answers(*asked, project=project) == [[404, ["page"]], ["DOD163", ["page"]]]
