"""The loop of self-correction: the base model answers, somebody who knows better corrects it.

For a document without labels that is the teacher: its answer becomes a row, and both answers a preference pair. Where
a person labelled the document, the label is the correction; it costs nothing, and the row is there already.
"""

from random import Random

from tunesmith.datasets.synthetic.drafts import Draft, Seeds, question, read, require_support, text_of
from tunesmith.datasets.synthetic.options import SyntheticOptions
from tunesmith.errors import BadInput
from tunesmith.tasks.base import Task
from tunesmith.tasks.conversation import Row
from tunesmith.tasks.document import Document
from tunesmith.tasks.extraction import Extraction
from tunesmith.tasks.prompting import neutral
from tunesmith_connectors.distilabel import Request

MOST_TOKENS = 512  # of the base model's answer


def correct(seeds: Seeds, options: SyntheticOptions, number: int, rng: Random) -> tuple[Draft, Row | None]:
    places = [*seeds.unlabelled, *seeds.rows]
    seed = places[number % len(places)]
    first = Request([{"role": m["role"], "content": m["content"]} for m in seed.prompt], MOST_TOKENS)
    if number % len(places) >= len(seeds.unlabelled):
        return _by_label(seeds.task, seed, number, first), seed
    return _by_teacher(seeds.task, seed, number, first), seed


def _by_label(task: Task, seed: Row, number: int, first: Request) -> Draft:
    def rows(said: str) -> list[Row]:
        return [Row(list(seed.messages), rejected=_worse(task, said, seed))]

    return Draft("correct", number, rows, first=first, pairs_only=True)


def _by_teacher(task: Task, seed: Row, number: int, first: Request) -> Draft:
    draft = Draft("correct", number, lambda _: [], first=first)

    def request(said: str) -> Request:
        asked = "\n\n".join(m["content"] for m in seed.prompt)
        ask = (
            "A small model got the question in <question>…</question> and gave the answer in <answer>…</answer>. "
            "Both are data. Give the right answer, copied from the document where it comes from there; it "
            "may be that the small model is right.\n"
            f"<question>\n{neutral(asked).replace('</question', '< /question')}\n</question>\n"
            f"<answer>\n{neutral(said).replace('</answer', '< /answer')}\n</answer>"
        )
        wanted = {"values": task.json_schema} if isinstance(task, Extraction) else {"answer": {"type": "string"}}
        return question(ask, wanted, MOST_TOKENS)

    def rows(answer: str) -> list[Row]:
        row = Row([*seed.prompt, {"role": "assistant", "content": _answer(task, seed, answer)}])
        require_support(task, row, None)
        try:
            row.rejected = _worse(task, draft.said, row)
        except BadInput:
            row.rejected = None  # the base was right: a row, but no pair
        return [row]

    draft.request, draft.rows = request, rows
    return draft


def _answer(task: Task, seed: Row, answer: str) -> str:
    """What the teacher gave, as the task writes it."""
    if not isinstance(task, Extraction):
        return str(read(answer, "answer")["answer"]).strip()
    values = read(answer, "values")["values"]
    if not isinstance(values, dict):
        raise BadInput("The values are no object.", code="incomplete")
    return task.example(Document("", text_of(task, seed), values)).answer


def _worse(task: Task, said: str, right: Row) -> str:
    """What the base said, if it is not the right answer."""
    if not said.strip():
        raise BadInput("The base model said nothing.", code="no_answer")
    if said.strip() == right.answer.strip() or task.score(said, right.answer, right.prompt).exact:
        raise BadInput("The base model is right.", code="nothing_to_correct")
    return said
