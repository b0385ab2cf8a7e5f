"""Feeds random and nearly valid requests to the CSRF layer and to its parsers: `python -m tests.csrf.fuzz --inputs N`.

What must hold for every input: no exception, an answer of 400, 403 or 413 when anything was spoiled, the handler reached
only by a request in which nothing was, and always then. Prints seed, counts and the first violation; exits 1 if there
was one. Bounded by the number of inputs, not by time, so that a run can be repeated exactly.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.csrf.driver import APP, EVIL, FORM, KEYS, NOW

from dodai.core.request import RequestContext, bind
from dodai.csrf.body import open_search
from dodai.csrf.decision import configure_origins, decide, judge_provenance, parse_origin
from dodai.csrf.enforce import protect
from dodai.csrf.enforce.csrf_session import cookie_pattern, read_cookie
from dodai.csrf.policy import CsrfPolicy
from dodai.csrf.token import encode_nonce, issue, new_nonce, parse_key_ring, verify

PATTERN = cookie_pattern(b"__Host-dodai-csrf")
RING = parse_key_ring(KEYS)
ORIGINS = configure_origins([APP])
PIECES = [
    b"csrf_token",
    b"=",
    b"&",
    b"%",
    b"%63",
    b"+",
    b"\r\n",
    b"\r\n\r\n",
    b"--",
    b"--XbOuNdArY",
    b"--XbOuNdArY--",
    b"\0",
    b'Content-Disposition: form-data; name="csrf_token"',
    b'; filename="x"',
    b"\xff\xfe",
    b"d1.",
    b'"',
    b"\\",
    b";",
    b":",
    b"Content-Disposition",
    b"form-data",
    b"\n",
    b"\r",
    b" ",
    b"\t",
    b"a" * 300,
    "日本".encode(),
]
TEXTS = [
    "same-origin", "cross-site", "same-site", "none", "null", APP, EVIL, "https://", "@", "/", ":443", ":",
    "[::1]", "%00", "\r\n", " ", ",", "é", "a" * 200, "?", "#", "\\", "http://", "HTTPS://", "javascript:",
    "xn--", "..", "\t", "\x7f", "0",
]  # fmt: skip


@dataclass
class Run:
    """One run: what was asked, what came of it, and the first input that broke a promise."""

    seed: int
    rng: random.Random
    counts: Counter[str] = field(default_factory=Counter)
    violation: str = ""

    def text(self, limit: int = 6) -> str:
        return "".join(self.rng.choice(TEXTS) for _ in range(self.rng.randrange(limit)))

    def noise(self, limit: int = 12) -> bytes:
        return b"".join(self.rng.choice(PIECES) for _ in range(self.rng.randrange(limit)))

    def broken(self, what: str, given: object) -> None:
        self.violation = self.violation or f"{what}: {given!r}"


def fuzz_token(run: Run) -> None:
    """A mutated token is never valid, whatever was done to it."""
    rng = run.rng
    nonce = new_nonce(rng.randbytes(16), signed_in=rng.random() < 0.5, now_s=1_795_000_000)
    token = issue(RING, nonce=nonce, now_s=NOW, random=rng.randbytes(16))
    mutated = mutate(run, token)
    verdict = verify(RING, mutated, nonce=nonce, now_s=NOW, max_age_s=60)
    run.counts[f"token {verdict}"] += 1
    if (verdict == "valid") != (mutated == token):
        run.broken("token", (token, mutated, verdict))


def fuzz_provenance(run: Run) -> None:
    """Header values of any kind come to one of four states, and a hostile one is refused in every mode."""
    values = [[run.text() for _ in range(run.rng.choice((0, 1, 1, 1, 2)))] for _ in range(3)]
    found = judge_provenance(
        fetch_site=values[0], origin=values[1], referer=values[2], host=run.text(), origins=ORIGINS
    )
    run.counts[f"provenance {found.state}"] += 1
    foreign = len(values[1]) == 1 and parse_origin(values[1][0]) not in (None, APP)
    if foreign and found.state != "hostile":
        run.broken("provenance", values)
    if found.state == "hostile" and any(
        decide(mode, found, "valid", anonymous=True).allow for mode in ("both", "either", "header")
    ):
        run.broken("decision", values)


def fuzz_body(run: Run) -> None:
    """Any bytes in any chunks come to the same state."""
    rng = run.rng
    kind = rng.choice([FORM, "multipart/form-data; boundary=XbOuNdArY", "multipart/form-data" + run.text(), run.text()])
    body = run.noise(20)
    states = {feed(kind, body, [len(body)])}
    states.add(feed(kind, body, sorted(rng.randrange(len(body) + 1) for _ in range(3))))
    run.counts[f"body {next(iter(states))[0]}"] += 1
    if len(states) != 1:
        run.broken("body", (kind, body, states))


def fuzz_cookie(run: Run) -> None:
    """Any cookie header is good, bad, doubled or absent."""
    value = encode_nonce(run.rng.randbytes(16)).encode()
    ours = [b"__Host-dodai-csrf", b"=", value, value[:-1], b"; ", b";", b"__Host-dodai-csrf=" + value]
    text = b"".join(run.rng.choice((ours, ours, PIECES)[run.rng.randrange(3)]) for _ in range(run.rng.randrange(6)))
    state, nonce = read_cookie([(b"cookie", text)], PATTERN)
    run.counts[f"cookie {state}"] += 1
    if (nonce is not None) != (state == "good"):
        run.broken("cookie", state)


def feed(kind: str, body: bytes, cuts: list[int]) -> tuple[str, str]:
    opened = open_search([kind.encode("utf-8")], "csrf_token", 65536)
    if isinstance(opened, str):
        return opened, ""
    edges = [0, *cuts, len(body)]
    for index, (start, end) in enumerate(pairwise(edges)):
        if opened.feed(body[start:end], last=index == len(edges) - 2) != "more":
            break
    return opened.state, opened.value


def mutate(run: Run, text: str) -> str:
    """`text`, or something near it."""
    rng = run.rng
    place = rng.randrange(len(text) + 1)
    match rng.randrange(8):
        case 0:
            return text
        case 1:
            return text[:place] + rng.choice(TEXTS) + text[place:]
        case 2:
            return text[:place]
        case 3:
            return text[:place] + chr(rng.randrange(1, 0x3000)) + text[place + 1 :]
        case 4:
            return text.swapcase()
        case 5:
            return text * 2
        case 6:
            return text[place:] + text[:place]
        case _:
            return text[:-1] + rng.choice("AQgwBz_-")


@dataclass
class Sent:
    """A request that would pass, and the list of what was spoiled in it."""

    method: str
    headers: list[tuple[bytes, bytes]]
    body: bytes
    chunks: list[bytes] = field(default_factory=list)
    spoiled: list[str] = field(default_factory=list)
    gone: bool = False


def sound(run: Run) -> Sent:
    """A request that a browser would send from one of our own pages."""
    rng = run.rng
    nonce = new_nonce(rng.randbytes(16), signed_in=rng.random() < 0.5, now_s=1_795_000_000)
    token = issue(RING, nonce=nonce, now_s=NOW, random=rng.randbytes(16))
    cookie = f"__Host-dodai-csrf={encode_nonce(nonce)}"
    headers = [(b"host", b"app.example.com"), (b"cookie", f"a=1; {cookie}; b=2".encode())]
    headers += rng.choice(
        [[(b"sec-fetch-site", b"same-origin")], [(b"origin", APP.encode())], [(b"referer", APP.encode() + b"/x")]]
    )
    kind, body = rng.choice([form, upload, in_header])(run, token, headers)
    if kind:
        headers.append((b"content-type", kind))
    return Sent(rng.choice(["POST", "PUT", "PATCH", "DELETE", "post", "QUERY"]), headers, body)


def form(run: Run, token: str, headers: list[tuple[bytes, bytes]]) -> tuple[bytes, bytes]:
    del headers
    fields = [b"a=1", b"b=" + b"x" * run.rng.randrange(3000), f"csrf_token={token}".encode(), b"c"]
    run.rng.shuffle(fields)
    return FORM.encode(), b"&".join(fields)


def upload(run: Run, token: str, headers: list[tuple[bytes, bytes]]) -> tuple[bytes, bytes]:
    del headers
    boundary = b"".join(run.rng.choice([b"a", b"Z", b"9", b"-", b"'"]) for _ in range(20)) + b"x"
    parts = [
        b'name="a"\r\n\r\n1',
        b'name="csrf_token"\r\n\r\n' + token.encode(),
        b'name="f"; filename="f"\r\n\r\n' + run.rng.randbytes(900),
    ]
    run.rng.shuffle(parts)
    body = b"".join(b"--" + boundary + b"\r\nContent-Disposition: form-data; " + part + b"\r\n" for part in parts)
    return b'multipart/form-data; boundary="' + boundary + b'"', body + b"--" + boundary + b"--\r\n"


def in_header(run: Run, token: str, headers: list[tuple[bytes, bytes]]) -> tuple[bytes, bytes]:
    headers.append((b"x-csrf-token", token.encode()))
    return run.rng.choice([b"", b"application/json", b"text/plain"]), b"{}"


def spoil(run: Run, sent: Sent) -> None:
    """Damage one thing that the decision depends on, and write down what."""
    how = run.rng.choice(SPOILS)
    how(run, sent)
    sent.spoiled.append(how.__name__)


def foreign_origin(run: Run, sent: Sent) -> None:
    kept = [pair for pair in sent.headers if pair[0] not in (b"origin", b"referer", b"sec-fetch-site")]
    evil = [
        (b"sec-fetch-site", b"cross-site"),
        (b"origin", EVIL.encode()),
        (b"origin", b"null"),
        (b"referer", EVIL.encode()),
    ]
    sent.headers = [*kept, run.rng.choice(evil)]


def strange_provenance(run: Run, sent: Sent) -> None:
    name = run.rng.choice([b"origin", b"sec-fetch-site"])
    sent.headers = [pair for pair in sent.headers if pair[0] not in (b"origin", b"sec-fetch-site")]
    sent.headers.append((name, b"\x01" + run.text().encode()))


def other_cookie(run: Run, sent: Sent) -> None:
    sent.headers = [pair for pair in sent.headers if pair[0] not in (b"cookie", b"sec-fetch-site")]
    sent.headers.append((b"cookie", f"__Host-dodai-csrf={encode_nonce(run.rng.randbytes(16))}".encode()))


def doubled_cookie(run: Run, sent: Sent) -> None:
    sent.headers.append((b"cookie", f"__Host-dodai-csrf={encode_nonce(run.rng.randbytes(16))}".encode()))


def no_token(run: Run, sent: Sent) -> None:
    del run
    sent.headers = [pair for pair in sent.headers if pair[0] != b"x-csrf-token"]
    sent.body = sent.body.replace(b"csrf_token", b"csrf_tokem")


def altered_token(run: Run, sent: Sent) -> None:
    def altered(data: bytes) -> bytes:
        start = data.find(b"d1.k001.")
        place = start + 20 + run.rng.randrange(80)
        return (
            data
            if start < 0
            else data[:place] + (b"A" if data[place : place + 1] != b"A" else b"B") + data[place + 1 :]
        )

    sent.body = altered(sent.body)
    sent.headers = [(name, altered(value) if name == b"x-csrf-token" else value) for name, value in sent.headers]


def doubled_token(run: Run, sent: Sent) -> None:
    del run
    headers = [pair for pair in sent.headers if pair[0] == b"x-csrf-token"]
    sent.headers += headers or [(b"x-csrf-token", b""), (b"x-csrf-token", b"")]


def bad_length(run: Run, sent: Sent) -> None:
    sent.headers.append((b"content-length", run.rng.choice([b"-1", b"x", b"1,1", b"99999999999", b"\xd9\xa1"])))


def cut_off(run: Run, sent: Sent) -> None:
    if any(name == b"x-csrf-token" for name, _ in sent.headers):
        no_token(run, sent)
    sent.body = sent.body[: max(0, sent.body.find(b"csrf_token"))]
    sent.gone = True


SPOILS: list[Callable[[Run, Sent], None]] = [
    foreign_origin, strange_provenance, other_cookie, doubled_cookie, no_token, altered_token, doubled_token, bad_length, cut_off,
]  # fmt: skip


async def fuzz_layer(run: Run, reached: list[str], app: Any) -> None:
    """A whole request through the layer."""
    sent = sound(run)
    for _ in range(run.rng.choice((0, 0, 1, 1, 2))):
        spoil(run, sent)
    pieces = split(run, sent.body)
    status: list[int] = []

    async def receive() -> dict[str, Any]:
        if not pieces:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces) or sent.gone}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            status.append(message["status"])

    reached.clear()
    scope = {
        "type": "http",
        "method": sent.method,
        "path": "/save",
        "headers": sent.headers,
        "query_string": b"",
        "client": None,
    }
    await app(scope, receive, send)
    run.counts[f"layer {status[0] if status else 'silent'}"] += 1
    if bool(reached) == bool(sent.spoiled) or (sent.spoiled and status and status[0] not in (400, 403, 413)):
        run.broken("layer", (sent, status, reached))


def split(run: Run, body: bytes) -> list[bytes]:
    if run.rng.random() < 0.5:
        return [body]
    cut = run.rng.randrange(len(body) + 1)
    return [body[:cut], body[cut:]]


async def fuzz(inputs: int, seed: int) -> Run:
    """A run over `inputs` inputs, one in eight of them a whole request."""
    run = Run(seed, random.Random(seed))
    reached: list[str] = []

    async def handler(scope: Any, receive: Any, send: Any) -> None:
        del receive
        reached.append(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    app = protect(handler, policy=CsrfPolicy(), keys=RING, origins=[APP], clock=lambda: float(NOW))
    context = RequestContext()
    context.request_id = "0" * 32
    bind(context)
    parsers = (fuzz_token, fuzz_provenance, fuzz_body, fuzz_cookie)
    for number in range(inputs):
        try:
            if number % 8 == 0:
                await fuzz_layer(run, reached, app)
            else:
                parsers[number % 4](run)
        except Exception as error:  # noqa: BLE001 - an exception is exactly what is looked for
            run.broken("exception", (number, error))
        if run.violation:
            run.violation = f"input {number}: {run.violation}"
            break
    return run


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=20261123)
    parser.add_argument("--write", type=Path, help="also write the result as JSON")
    given = parser.parse_args()
    started = time.perf_counter()
    run = asyncio.run(fuzz(given.inputs, given.seed))
    seconds = time.perf_counter() - started
    print(f"seed {run.seed}, {sum(run.counts.values())} inputs, {seconds:.0f} s")
    for name, count in sorted(run.counts.items()):
        print(f"  {name:28} {count}")
    print(run.violation or "no violation")
    if given.write:
        counts = dict(sorted(run.counts.items()))
        result = {
            "seed": run.seed,
            "inputs": sum(run.counts.values()),
            "violation": run.violation or None,
            "counts": counts,
        }
        given.write.write_text(json.dumps(result, indent=2) + "\n")
    return 1 if run.violation else 0


if __name__ == "__main__":
    sys.exit(main())
