"""The whole OpenAPI document by schemathesis: with a key of each scope, nobody finds a server error, an answer that
the document does not tell, bad input that is taken, or a door without a lock."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fakes.http_app import Answer, HttpApp
from fakes.litellm import FakeLiteLLM
from fakes.paperless import FakePaperless
from service import Service, extraction_rows
from test_paperless import document, lines
from tiny import build_tiny_model

pytestmark = pytest.mark.real

UNREACHED: dict[str, str] = {}  # operation → why nothing but 404 is expected of it
SCOPES = {"admin": ["admin"], "train": ["read", "train"], "publish": ["read", "publish"], "read": ["read"], "none": []}
Answers = dict[str, Counter[int]]


class Hears(HttpApp):
    """Takes every webhook."""

    def handle(self, method: str, path: str, body: bytes, headers: Any) -> Answer:
        return 204, None


@dataclass
class Fuzzed:
    """A service in which everything that the document's examples name is there, and that document."""

    service: Service
    document: Path


def _seed(service: Service, hears: str) -> dict[str, str]:
    """Make what the examples name. Example → what it is here."""
    http = service.http
    file = service.openai.files.create(file=("rows.jsonl", extraction_rows(40)), purpose="fine-tune").id
    recipe = {
        "name": "household-documents",
        "sources": [{"file": file}],
        "base_model": "tiny",
        "training": {"hyperparameters": {"n_epochs": 1, "batch_size": 4}},
        "publish": {"name": "household-extractor"},
    }
    http.post("/v1/recipes", json=recipe).raise_for_status()
    run = http.post("/v1/recipes/household-documents/runs").raise_for_status().json()["id"]
    assert service.finished(run)["status"] == "succeeded", service.finished(run)
    [version] = [row["version"] for row in http.get("/v1/datasets/household-documents").json()["data"]]
    rows = {"file": ("rows.jsonl", extraction_rows(20))}
    http.post("/v1/datasets/household-documents/import", files=rows).raise_for_status()
    nightly = {"name": "nightly", "recipe": "household-documents", "cron": "0 2 * * *"}
    http.post("/v1/schedules", json=nightly).raise_for_status()
    hook = http.post("/v1/webhooks", json={"url": hears, "events": ["run.failed"]}).raise_for_status().json()["id"]
    delivery = http.post(f"/v1/webhooks/{hook}/test").raise_for_status().json()["id"]
    return {
        "run-0123456789ab": run,
        "ftjob-0123456789ab": run.replace("run-", "ftjob-"),
        "file-0123456789ab": file,
        "wh_0123456789abcdef": hook,
        "dlv-0123456789ab": delivery,
        "30bead0acc7985d7": version,
        "https://n8n.example.org/webhook/tuned": hears,
        "smollm2-135m-instruct": "tiny",
    }


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzed]:
    models = tmp_path_factory.mktemp("models")
    build_tiny_model(models / "tiny")
    with ExitStack() as stack:
        hears, litellm = stack.enter_context(Hears()), stack.enter_context(FakeLiteLLM(database=True))
        documents = [document(number, content="Mill Bakery\nTOTAL 12.30") for number in range(1, 13)]
        paperless = stack.enter_context(FakePaperless(lines(*documents)))
        service = Service(
            tmp_path_factory.mktemp("home"),
            TUNESMITH_MODELS=str(models),
            TUNESMITH_WEBHOOK_HOSTS="127.0.0.1",
            TUNESMITH_LITELLM_URL=litellm.url,
            TUNESMITH_LITELLM_KEY=litellm.key,
            TUNESMITH_PAPERLESS_URL=paperless.url,
            TUNESMITH_PAPERLESS_TOKEN=paperless.token,
        )
        stack.callback(service.close)
        there = _seed(service.start(), hears.url)
        service.stop()
        service.arguments = ["--no-worker"]  # what the fuzzer starts stays queued
        text = json.dumps(service.start().http.get("/openapi.json").json())
        for example, here in there.items():
            text = text.replace(example, here)
        place = tmp_path_factory.mktemp("document") / "openapi.json"
        place.write_text(text, encoding="utf-8")
        yield Fuzzed(service, place)
