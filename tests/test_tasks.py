"""Dates and amounts in text, the registry, and conversations on disk."""

from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tunesmith.errors import NotFound
from tunesmith.tasks.base import TASKS
from tunesmith.tasks.conversation import Row, read_rows, write_rows
from tunesmith.tasks.values import amounts_in, canonical_date, canonical_money, dates_in, mentions


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("am 19. März 2025", ["2025-03-19"]),
        ("19.03.2025", ["2025-03-19"]),
        ("19.3.25", ["2025-03-19"]),
        ("2025-03-19T10:00", ["2025-03-19"]),
        ("le 1er janvier 2024", ["2024-01-01"]),
        ("3 août 2024", ["2024-08-03"]),
        ("March 19, 2025", ["2025-03-19"]),
        ("the 2nd of May 2021", ["2021-05-02"]),
        ("02 Jan 2021", ["2021-01-02"]),
        ("03/04/2025", ["2025-03-04", "2025-04-03"]),
        ("2O25-03-l9", ["2025-03-19"]),
        ("31.02.2025", []),
        ("12.50 EUR", []),
        ("IBAN DE12 3456", []),
        ("Version 1.2.3", []),
    ],
)
def test_dates_in_text(text: str, days: list[str]) -> None:
    assert mentions("date", text) == days


@pytest.mark.parametrize(
    ("text", "amounts"),
    [
        ("1.234,50 €", ["1234.50"]),
        ("1,234.50", ["1234.50"]),
        ("1 234,50", ["1234.50"]),
        ("CHF 1'200.00", ["1200.00"]),
        ("12,- EUR", ["12.00"]),
        ("$5", ["5.00"]),
        ("RM60.31", ["60.31"]),
        ("l2,5O", ["12.50"]),
        ("19.03.2025", []),
        ("3 items", []),
        ("-3.20", ["3.20", "-3.20"]),
        ("0.05", ["0.05"]),
    ],
)
def test_amounts_in_text(text: str, amounts: list[str]) -> None:
    assert [m.value for m in amounts_in(text)] == amounts


def test_mentions_know_where_they_stand() -> None:
    text = "due 19.03.2025 pay 12.00"
    (day,) = dates_in(text)
    assert text[day.start : day.end] == "19.03.2025"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Decimal("99.5"), "99.50"),
        (12, "12.00"),
        (1.005, "1.00"),
        ("EUR99.5", "99.50"),
        ("USD-3.00", "-3.00"),
        ("1.234,50 €", "1234.50"),
        ("1,234", "1234.00"),
        ("", None),
        ("abc", None),
        (True, None),
        (Decimal("NaN"), None),
        (10**13, None),
    ],
)
def test_canonical_money(value: Any, expected: str | None) -> None:
    assert canonical_money(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (date(2025, 3, 19), "2025-03-19"),
        (datetime(2025, 3, 19, 12), "2025-03-19"),
        ("2025-03-19", "2025-03-19"),
        ("19 March 2025", "2025-03-19"),
        ("03/04/2025", None),
        ("soon", None),
        (3, None),
    ],
)
def test_canonical_date(value: Any, expected: str | None) -> None:
    assert canonical_date(value) == expected


def test_the_registry_lists_what_there_is() -> None:
    assert {"chat", "extraction"} <= set(TASKS.names())
    with pytest.raises(NotFound) as caught:
        TASKS.get("poetry")
    assert "extraction" in str(caught.value.hint)


def test_rows_survive_the_disk(tmp_path: Path) -> None:
    rows = [
        Row([{"role": "user", "content": "a\u2028b"}, {"role": "assistant", "content": "é"}], {"group": "g"}, 2.0),
        Row([{"role": "user", "content": "c"}, {"role": "assistant", "content": "d"}]),
    ]
    assert write_rows(tmp_path / "x.jsonl", rows) == 2
    assert list(read_rows(tmp_path / "x.jsonl")) == rows
