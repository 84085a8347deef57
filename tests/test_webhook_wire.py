"""What goes over the wire: signatures, the allow-list, redirects, endpoints that hang or talk too much."""

from collections.abc import Iterator

import pytest

from fakes.receiver import Receiver
from tunesmith_connectors import webhooks as wire

ALLOWED = wire.hosts("127.0.0.1, *.example.org, n8n:5678, [::1]:5678, ")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        receiver.secret = wire.new_secret()
        yield receiver
        receiver.release.set()


def send(receiver: Receiver, **more: float) -> wire.Answer:
    return wire.send(wire.check_url(f"{receiver.url}/hook", ALLOWED), receiver.secret, "evt-1", b"{}", **more)


def test_signature_is_that_of_the_published_test_vector() -> None:
    signature = wire.sign(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
    )
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_real_verifier_accepts_what_is_sent(receiver: Receiver) -> None:
    assert send(receiver).accepted
    assert receiver.ids == ["evt-1"]


def test_an_endpoint_with_another_secret_refuses(receiver: Receiver, capsys: pytest.CaptureFixture[str]) -> None:
    url, secret = wire.check_url(receiver.url, ALLOWED), wire.new_secret()
    answer = wire.send(url, secret, "evt-1", b"{}")
    assert answer.status_code is None
    assert receiver.events == []
    assert "WebhookVerificationError" in capsys.readouterr().err


def test_an_endpoint_that_hangs_is_left(receiver: Receiver) -> None:
    receiver.answers = [0]
    answer = send(receiver, timeout=0.3)
    assert answer.status_code is None
    assert "0.3 s" in (answer.error or "")
    assert answer.ms < 5000


def test_nobody_listens() -> None:
    with Receiver() as gone:
        url = wire.check_url(gone.url, ALLOWED)
    answer = wire.send(url, wire.new_secret(), "evt-1", b"{}")
    assert (answer.accepted, answer.status_code) == (False, None)
    assert "Connect" in (answer.error or "")


def test_a_redirect_is_not_followed(receiver: Receiver) -> None:
    with Receiver() as inside:
        receiver.answers, receiver.location = [302], f"{inside.url}/admin"
        answer = send(receiver)
        assert inside.calls == []
    assert (answer.accepted, answer.status_code) == (False, 302)
    assert "Redirect" in (answer.error or "")


def test_a_long_answer_is_cut(receiver: Receiver) -> None:
    receiver.answers, receiver.body = [500], b"x" * 5_000_000
    assert send(receiver).error == "x" * 300


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("https://evil.example.com/x", "webhook_host_not_allowed"),
        ("https://example.org/x", "webhook_host_not_allowed"),
        ("https://notexample.org/x", "webhook_host_not_allowed"),
        ("http://n8n:5679/x", "webhook_host_not_allowed"),
        ("http://n8n/x", "webhook_host_not_allowed"),
        ("http://127.0.0.1.evil.example.com/", "webhook_host_not_allowed"),
        ("http://evil.example.com#@hooks.example.org/", "webhook_host_not_allowed"),
        ("http://evil.example.com\\@hooks.example.org/", "bad_webhook_url"),
        ("http://user:pw@hooks.example.org/", "bad_webhook_url"),
        ("ftp://hooks.example.org/", "bad_webhook_url"),
        ("file:///etc/passwd", "bad_webhook_url"),
        ("hooks.example.org/x", "bad_webhook_url"),
        ("http://", "bad_webhook_url"),
        ("http://hooks.example.org\r\nX: y/", "bad_webhook_url"),
    ],
)
def test_addresses_that_are_refused(url: str, code: str) -> None:
    with pytest.raises(wire.WebhookError) as refused:
        wire.check_url(url, ALLOWED)
    assert refused.value.code == code
    assert refused.value.hint


@pytest.mark.parametrize(
    "url",
    [
        "https://a.example.org/x",
        "https://HOOKS.Example.ORG/x",
        "http://n8n:5678/webhook/1",
        "http://127.0.0.1:9/x",
        "http://[::1]:5678/x",
    ],
)
def test_addresses_that_are_allowed(url: str) -> None:
    assert wire.check_url(url, ALLOWED).host
