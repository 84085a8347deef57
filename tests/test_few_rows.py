"""What few training rows must not teach: that something can never happen, because it did not happen yet."""

import json
from typing import Any

import pytest

from fakes.gbnf import Gbnf
from tunesmith.tasks.conversation import Row
from tunesmith.tasks.extraction import Extraction


def rows(count: int, **more: Any) -> list[Row]:
    return [
        Row(
            [
                {"role": "user", "content": f"Invoice {n}, {n % 9 + 1} items"},
                {"role": "assistant", "content": json.dumps({"id": str(n), "items": n % 9 + 1, **more})},
            ]
        )
        for n in range(count)
    ]


def admits(task: Extraction | None, answer: str) -> bool:
    assert task is not None
    constraint = task.constraint([{"role": "user", "content": "Invoice 77, 2 items"}])
    assert constraint is not None
    assert constraint.grammar is not None
    return Gbnf(constraint.grammar).admits(answer)


@pytest.mark.parametrize("items", ["null", "2.5", "2"])
def test_ten_rows_do_not_rule_out_a_null_or_a_fraction(items: str) -> None:
    assert admits(Extraction.infer(rows(10)), f'{{"id": "77", "items": {items}}}')


def test_sixty_rows_do() -> None:
    task = Extraction.infer(rows(60))
    assert admits(task, '{"id": "77", "items": 2}')
    assert not admits(task, '{"id": "77", "items": null}')
    assert not admits(task, '{"id": "77", "items": 2.5}')


def test_ten_short_texts_leave_room_for_a_longer_one() -> None:
    note = "delivered to the neighbour " * 5
    assert admits(Extraction.infer(rows(10, note="ok")), json.dumps({"id": "77", "items": 2, "note": note}))


@pytest.mark.parametrize("written", ["12.50", "1e3", "-0.10"])
def test_how_a_number_is_written_is_no_matter_of_style(written: str) -> None:
    """json.dumps cannot write 12.50: the answers had no style, and were held to nothing."""
    given = rows(20)
    for row in given:
        row.messages[-1]["content"] = row.answer.replace("}", f', "total": {written}}}')
    task = Extraction.infer(given)
    assert admits(task, f'{{"id": "77", "items": 2, "total": {written}}}')
    assert not admits(task, f'{{"id": "77","items": 2, "total": {written}}}'), "the style is kept"


def test_a_rare_word_for_nothing_stays_possible() -> None:
    """Where values look alike, what looked otherwise was dropped as a labelling error: "N/A" is none."""
    given = rows(80)
    for row in given[::40]:
        row.messages[-1]["content"] = json.dumps({"id": "N/A", "items": 2})
    assert admits(Extraction.infer(given), '{"id": "N/A", "items": 2}')
