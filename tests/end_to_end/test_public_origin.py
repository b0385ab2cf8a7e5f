"""An application that answers to its own name only and sends everybody to https, as frameworks do in production."""

from __future__ import annotations

import urllib.request

import pytest
from tests.end_to_end.hosted_app import HostedApp

STRICT = """
class Strict(Page):
    def do_GET(self):
        if self.headers["host"] != "shop.example.com":
            return self.send_error(400)
        if self.headers["x-forwarded-proto"] != "https":
            self.send_response(301)
            self.send_header("location", f"https://shop.example.com{self.path}")
            return self.end_headers()
        return super().do_GET()

    def do_POST(self):
        self.command = "GET"
        return self.do_GET() if self.headers["origin"] == "https://shop.example.com" else self.send_error(403)

Page = Strict
"""
POSTS = """
[[journey.step]]
name = "order"
method = "POST"
path = "/"
effect = "write"
"""


@pytest.fixture
def app(tmp_path):
    small = HostedApp(tmp_path)
    yield small
    small.clear()


def manifest(app, old, new):
    path = app.folder / "dodai.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_an_application_with_a_name_of_its_own_behind_https_is_served_and_visited_under_it(app):
    """Each failure on the way names the key that helps, and two keys are all that it takes."""
    app.write(spoil=STRICT)
    manifest(app, 'contains = "hello from"\n', f'contains = "hello from"\n{POSTS}')
    said = app.run("deploy", "staging", "--yes").stderr
    assert "`host` in `[service.web.health]` is what it is asked as" in said
    manifest(app, "consecutive = 1", 'consecutive = 1, host = "shop.example.com"')
    said = app.run("deploy", "staging", "--yes").stderr
    assert '`scheme = "https"` in `[service.web.health]`' in said
    manifest(app, "consecutive = 1", 'consecutive = 1, scheme = "https"')
    said = app.run("deploy", "staging", "--yes").stderr
    assert "DOD389" in said
    assert "name that address as the first of `public_origins`" in said
    manifest(app, "[env.staging]\n", '[env.staging]\npublic_origins = ["https://shop.example.com"]\n')
    done = app.run("deploy", "staging", "--yes")
    assert done.returncode == 0, done.stderr
    # The edge takes the keys of the release before back, with that release.
    assert asked(app) == 200
    manifest(app, 'public_origins = ["https://shop.example.com"]\n', "")
    done = app.run("deploy", "staging", "--yes")
    assert (done.returncode, "undone: edge, start-web" in done.stderr) == (3, True), done.stderr
    assert asked(app) == 200


def asked(app):
    """The status that whoever comes by the public name gets."""
    page = urllib.request.Request(f"http://127.0.0.1:{app.known()['ports']['edge']}/")
    page.add_header("host", "shop.example.com")
    with urllib.request.urlopen(page, timeout=30) as answer:
        return answer.status
