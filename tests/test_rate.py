"""How often one address may ask, and whose address it is."""

from __future__ import annotations

import httpx
import pytest
from fakes import scan_png, served
from limits import parse
from starlette.requests import Request

from mri_models.page.rate import RATE, chosen_rate, visitor


def asked_by(peer: str | None, *forwarded: str) -> str | None:
    headers = [(b"x-forwarded-for", line.encode()) for line in forwarded]
    return visitor(Request({"type": "http", "client": peer and (peer, 1), "headers": headers}))


@pytest.mark.parametrize(
    ("peer", "forwarded", "whose"),
    [
        ("8.8.8.8", [], "8.8.8.8"),
        ("8.8.8.8", ["9.9.9.9"], "8.8.8.8"),  # a stranger's own word is not believed
        ("10.0.3.4", ["9.9.9.9"], "9.9.9.9"),
        ("10.0.3.4", ["1.1.1.1, 9.9.9.9, 10.0.0.7"], "9.9.9.9"),  # what stands before it, the stranger may have sent
        ("10.0.3.4", ["1.1.1.1", "9.9.9.9"], "9.9.9.9"),
        ("10.0.3.4", ["nonsense"], "10.0.3.4"),
        ("10.0.3.4", [], "10.0.3.4"),
        ("127.0.0.1", [], None),
        ("::1", [], None),
        ("127.0.0.1", ["9.9.9.9"], "9.9.9.9"),
        ("2a00:1450:4001:80b::200e", [], "2a00:1450:4001:80b::/64"),
        ("::ffff:9.9.9.9", [], "9.9.9.9"),
        (None, [], "unknown"),
        ("testclient", [], "unknown"),
    ],
)
def test_whose_request_it_is(peer: str | None, forwarded: list[str], whose: str | None):
    assert asked_by(peer, *forwarded) == whose


def test_above_the_rate_a_visitor_waits_and_nobody_else_does(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MRI_RATE", "3/minute")
    with served() as url:

        def send(address: str) -> httpx.Response:
            files = {"files": ("scan.png", scan_png("glioma"))}
            return httpx.post(f"{url}/gradio_api/upload", files=files, headers={"X-Forwarded-For": address})

        assert [send("9.9.9.9").status_code for _ in range(4)] == [200, 200, 200, 429]
        refused = send("9.9.9.9")
        assert 1 <= int(refused.headers["Retry-After"]) <= 60
        assert "at most 3 in a minute" in refused.json()["detail"]
        assert "X-Content-Type-Options" in refused.headers
        assert send("9.9.9.8").status_code == 200
        looks = [httpx.get(f"{url}/healthz", headers={"X-Forwarded-For": "9.9.9.9"}) for _ in range(5)]
        assert {look.status_code for look in looks} == {200}


def test_the_rate_is_the_environments_or_our_own(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("MRI_RATE", raising=False)
    assert chosen_rate() == parse(RATE)
    monkeypatch.setenv("MRI_RATE", "often")
    with pytest.raises(ValueError, match="MRI_RATE must be like"):
        chosen_rate()
