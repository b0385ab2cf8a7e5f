"""A visitor without a browser: keeps cookies, takes forms from the page it got, follows redirects when told to."""

from __future__ import annotations

from dataclasses import dataclass, field

import httpx2

from dodai.operations.journey import read_forms

HTML = {"accept": "text/html", "accept-language": "en"}


@dataclass(slots=True)
class Visitor:
    """`page` is the last answer; `go` and `send` return it, too."""

    client: httpx2.Client
    page: httpx2.Response = field(init=False)

    def go(self, path: str, **headers: str) -> httpx2.Response:
        self.page = self.client.get(path, headers={**HTML, **headers})
        return self.page

    def send(
        self, action: str, *, on: str = "", headers: dict[str, str] | None = None, **fields: str
    ) -> httpx2.Response:
        """Send the form of the page that posts to `action`, as a browser would: hidden fields, Origin, Referer."""
        if on:
            self.go(on)
        form = next(form for form in read_forms(self.page.text) if form.action == action)
        origin = str(self.client.base_url).rstrip("/")
        sent = {**HTML, "origin": origin, "sec-fetch-site": "same-origin", **(headers or {})}
        self.page = self.client.request(form.method, action, data={**form.fields, **fields}, headers=sent)
        return self.page

    def token(self) -> dict[str, str]:
        """The header that scripts of the page send."""
        form = next(form for form in read_forms(self.page.text) if "csrf_token" in form.fields)
        origin = str(self.client.base_url).rstrip("/")
        return {"x-csrf-token": form.fields["csrf_token"], "origin": origin, "sec-fetch-site": "same-origin"}

    def sign_in(self, user: str) -> None:
        """Through the identity provider and back."""
        there = self.send("/sign-in", on="/")
        back = httpx2.post(there.headers["location"], data={"sub": user})
        self.page = self.client.get(back.headers["location"], headers=HTML)
        assert self.page.status_code == 303, self.page.text
