"""Secrets and personal data: what is found, what only looks so, and what is done about it."""

import sys
from pathlib import Path

import pytest

from tunesmith.datasets.build import build
from tunesmith.datasets.options import DatasetOptions
from tunesmith.datasets.privacy import Action, Guard, find
from tunesmith.errors import BadInput
from tunesmith.tasks.conversation import Row, read_rows

KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjE\n-----END OPENSSH PRIVATE KEY-----"
IBAN = "DE89 3704 0044 0532 0130 00"


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        (f"x {KEY} y", "private_key", KEY),
        ("key sk-proj-" + "a1B2" * 8, "api_key", "sk-proj-" + "a1B2" * 8),
        ("AKIAIOSFODNN7EXAMPLE", "api_key", "AKIAIOSFODNN7EXAMPLE"),
        ("ghp_" + "a" * 36, "api_key", "ghp_" + "a" * 36),
        ("Authorization: Bearer abcdefghij0123456789xyz", "token", "abcdefghij0123456789xyz"),
        ("postgresql://me:hunter2@db/x", "url_password", "hunter2"),
        ("WLAN-Passwort: tulpe-77-Garten", "password", "tulpe-77-Garten"),
        ('{"password": "s3cret!x"}', "password", "s3cret!x"),
        (f"IBAN {IBAN} BIC COBADEFF", "iban", IBAN),
        ("GB82WEST12345698765432", "iban", "GB82WEST12345698765432"),
        ("Karte 4111 1111 1111 1111", "card", "4111 1111 1111 1111"),
        ("amex 378282246310005", "card", "378282246310005"),
        ("write to jo.doe+x@mail.example.org.", "email", "jo.doe+x@mail.example.org"),
        ("call +49 30 901820 now", "phone", "+49 30 901820"),
        ("Tel: 07-3507405", "phone", "07-3507405"),
    ],
)
def test_found(text: str, kind: str, value: str) -> None:
    assert find(text)[kind] == [value]


@pytest.mark.parametrize(
    "text",
    [
        "IBAN DE89 3704 0044 0532 0130 01",  # the checksum is wrong
        "4111 1111 1111 1112",
        "EAN 9555651400385 1 GST 001707421696",
        "Password: required",
        "the password is on the back",
        '{"password": {"type": "string"}}',
        "Invoice 2024-05-01 No. 20240501-778 1.234,50",
        "sk-8",
        "a@b",
        "http://example.org:8080/x@y",
    ],
)
def test_not_found(text: str) -> None:
    assert find(text) == {}


def made(
    place: Path, rows: list[Row], options: DatasetOptions | None = None
) -> tuple[list[Row], dict[str, dict[str, int]]]:
    report = build(None, rows=rows, out=place, options=options)
    return [r for name in report.splits for r in read_rows(place / f"{name}.jsonl")], report.private_data


def rows(text: str) -> list[Row]:
    plain = [
        Row([{"role": "user", "content": f"question {n}"}, {"role": "assistant", "content": "a"}]) for n in range(30)
    ]
    return [
        *plain,
        Row([{"role": "user", "content": f"Look: {text}"}, {"role": "assistant", "content": f"It is {text}"}]),
    ]


def test_secrets_are_redacted_alike_in_prompt_and_answer(tmp_path: Path) -> None:
    kept, private = made(tmp_path, rows("ghp_" + "b" * 36))
    assert "ghp_" not in str(kept)
    assert any(r.answer == "It is [api_key]" and r.prompt[0]["content"] == "Look: [api_key]" for r in kept)
    assert private == {"rows": {"api_key": 1}, "actions": {"redacted": 1}}
    assert "ghp_" not in (tmp_path / "report.json").read_text()


def test_a_secret_in_the_system_prompt_is_redacted(tmp_path: Path) -> None:
    some = rows("nothing")
    for row in some:
        row.messages.insert(0, {"role": "system", "content": "Use ghp_" + "c" * 36})
    kept, _ = made(tmp_path, some)
    assert {r.messages[0]["content"] for r in kept} == {"Use [api_key]"}


def test_own_bank_details_are_reported_and_left_alone(tmp_path: Path) -> None:
    kept, private = made(tmp_path, rows(IBAN))
    assert IBAN in str(kept)
    assert private == {"rows": {"iban": 1}, "actions": {}}


@pytest.mark.parametrize(("action", "count"), [("redact", 31), ("drop", 30)])
def test_an_action_per_kind(tmp_path: Path, action: Action, count: int) -> None:
    kept, _ = made(tmp_path, rows(f"{IBAN} me@example.org"), DatasetOptions(personal_data={"iban": action}))
    assert len(kept) == count
    assert IBAN not in str(kept)
    assert ("me@example.org" in str(kept)) == (action == "redact")


def test_a_dropped_row_says_why(tmp_path: Path) -> None:
    report = build(None, rows=rows("password: abc123!"), out=tmp_path, options=DatasetOptions(secrets="drop"))
    assert [(r.where, r.code) for r in report.rejected] == [("row 31", "private_data")]
    assert "abc123" not in (tmp_path / "report.json").read_text()


def test_presidio_that_is_not_installed_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "presidio_analyzer", None)
    with pytest.raises(BadInput, match="Presidio is not installed") as caught:
        made(tmp_path, rows("nothing"), DatasetOptions(presidio="en_core_web_sm"))
    assert "tunesmith[privacy]" in str(caught.value.hint)


def test_what_more_is_found_is_personal_data() -> None:
    guard = Guard(personal={"person": "redact"}, more=lambda text: {"person": ["Jo Doe"]} if "Jo Doe" in text else {})
    kept = guard.check(
        Row([{"role": "user", "content": "Jo Doe, jo@example.org"}, {"role": "assistant", "content": "Jo Doe"}])
    )
    assert [m["content"] for m in kept.messages] == ["[person], jo@example.org", "[person]"]
    assert guard.summary() == {"rows": {"email": 1, "person": 1}, "actions": {"redacted": 1}}
