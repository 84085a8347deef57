"""The chat task: no format to check, only that an answer is there, ends, and is near the reference."""

import pytest

from tunesmith.errors import BadInput
from tunesmith.tasks.chat import Chat, loops, token_f1
from tunesmith.tasks.conversation import Row
from tunesmith.tasks.document import Document


@pytest.mark.parametrize(
    ("answer", "ok", "exact"),
    [
        ("The sea is blue today.", True, True),
        ("the sea is blue, today", True, True),
        ("No idea.", True, False),
        ("", False, False),
        ("   ", False, False),
        ("blue " * 30, False, False),
        ("and then it rained again " * 6, False, False),
    ],
)
def test_scores(answer: str, ok: bool, exact: bool) -> None:
    score = Chat().score(answer, "The sea is blue today.", [])
    assert (score.format_ok, score.exact, score.fields) == (ok, exact, {})


def test_f1_counts_words_as_often_as_they_occur() -> None:
    assert token_f1("a a b", "a b b") == pytest.approx(2 / 3)
    assert token_f1("", "") == 0.0


def test_lists_and_refrains_are_no_loops() -> None:
    assert not loops("one two three one two three four")
    assert not loops("ha ha ha")


def test_it_recognises_anything_and_keeps_the_usual_system_prompt() -> None:
    rows = [
        Row(
            [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "q"},
                {"role": "assistant", "content": "a"},
            ]
        )
    ] * 3
    task = Chat.infer(rows)
    assert task is not None
    assert task.prompt("hello")[0] == {"role": "system", "content": "Be brief."}
    assert Chat(task.spec).spec == task.spec
    assert task.constraint(rows[0].prompt) is None
    assert task.few_shot(rows[:1], rows[1].prompt)[-3:] == [*rows[0].messages[1:], rows[1].messages[1]]


def test_a_document_is_no_conversation() -> None:
    with pytest.raises(BadInput):
        Chat().example(Document("1", "text"))
