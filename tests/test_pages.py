"""Pages for people who only have the wheel: followed word by word, from an empty folder, in a clean environment."""

from __future__ import annotations

import re
from pathlib import Path

import httpx2
import pytest
from tests.support.clean_environment import wheel
from tests.support.page import Reader, blocks, reading

ROOT = Path(__file__).resolve().parents[1]
GUIDES = ROOT / "docs" / "guides"
WITH_WORDS = ("react-router.ja.md", "remix-2.ja.md", "secrets.ja.md")
"""Their blocks have comments, in Japanese."""
SECTIONS = {ROOT / "README.md": "In your own application", ROOT / "README.ja.md": "自分のアプリケーションで使う"}
TRANSLATED = [page for page in sorted(GUIDES.glob("*.ja.md")) if page.name not in WITH_WORDS]


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    return wheel(tmp_path_factory.mktemp("wheel"))


def is_protected(reader: Reader) -> None:
    """The application that the page ends with has ids, refuses a forged post and takes its own form."""
    with httpx2.Client(base_url=reader.url, headers={"origin": reader.url}) as visitor:
        page = visitor.get("/")
        forged = visitor.post("/orders", headers={"origin": "https://evil.example"})
        bare = visitor.post("/orders")
        token = re.findall(r'name="csrf_token"[^>]* value="([^"]+)"', page.text)[0]
        accepted = visitor.post("/orders", data={"csrf_token": token})
    assert re.fullmatch(r"[0-9a-f]{32}", page.headers["x-request-id"])
    for refused in (forged, bare):
        assert (refused.status_code, refused.json()["requestId"]) == (403, refused.headers["x-request-id"])
    assert (accepted.status_code, accepted.text) == (200, "ordered")


@pytest.mark.parametrize("page", [*SECTIONS, GUIDES / "adopt.md", GUIDES / "flask.md"], ids=lambda page: page.name)
def test_an_application_adopts_dodai_as_the_page_says(tmp_path, built, page):
    """Every file as it stands, every command as it stands; then the application is asked from outside."""
    with reading(tmp_path / "shop", built) as reader:
        reader.follow(blocks(page, SECTIONS.get(page, "")))
        is_protected(reader)


def test_a_django_project_adopts_dodai_as_the_page_says(tmp_path, built):
    """Django's own tokens decide, and dodai refuses another site and gives each refusal its id."""
    with reading(tmp_path / "shop", built) as reader:
        reader.follow(blocks(GUIDES / "django.md"))
        with httpx2.Client(base_url=reader.url, headers={"origin": reader.url}) as visitor:
            page = visitor.get("/")
            forged = visitor.post("/orders", headers={"origin": "https://evil.example"})
            bare = visitor.post("/orders")
            token = re.findall(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)[0]
            accepted = visitor.post("/orders", data={"csrfmiddlewaretoken": token})
        assert (forged.status_code, forged.json()["requestId"]) == (403, forged.headers["x-request-id"])
        assert (bare.status_code, "CSRF" in bare.text) == (403, True)
        assert (accepted.status_code, accepted.text) == (200, "ordered")
        assert "3 protected" in reader.outputs["dodai routes"]


@pytest.mark.parametrize("page", TRANSLATED, ids=lambda page: page.name)
def test_a_japanese_page_has_the_files_and_commands_of_the_english_one(page):
    """One is executed, so both are; and it is in Japanese."""
    assert blocks(page) == blocks(page.with_name(page.name.replace(".ja.md", ".md")))
    prose = re.sub(r"(?ms)^```.*?^```", "", page.read_text("utf-8"))
    assert len(re.findall(r"[ぁ-んァ-ヶ一-龠]", prose)) > len(prose) / 3


def test_a_package_that_a_page_does_not_install_is_not_there(tmp_path, built):
    """The environment is as empty as the page makes it, so a page that forgets a package fails."""
    with reading(tmp_path / "shop", built) as reader:
        reader.paste("pip install dodai starlette")
        reader.paste('python -c "import dodai.asgi, starlette"')
        with pytest.raises(AssertionError, match="No module named 'uvicorn'"):
            reader.paste('python -c "import uvicorn"')
