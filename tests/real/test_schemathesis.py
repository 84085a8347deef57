"""The whole OpenAPI document by schemathesis: with a key of each scope, nobody finds a server error, an answer that
the document does not tell, bad input that is taken, or a door without a lock."""

import json
import os
import subprocess
import sys
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
from real.conftest import ROOT
from service import KEY, Service, extraction_rows
from test_paperless import document, lines
from test_scopes import BY_CONTENT, OPEN, WRITES
from tiny import build_tiny_model

pytestmark = pytest.mark.real

UNREACHED: dict[str, str] = {}  # operation → why nothing but 404 is expected of it
SCOPES = {"admin": ["admin"], "train": ["read", "train"], "publish": ["read", "publish"], "read": ["read"], "none": []}
LATER = ("--exclude-operation-id", "delete_model")  # there is one, and others want to find it
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


CONFIG = """
hooks = "real.schemathesis_hooks"
continue-on-failure = true
request-timeout = 20
[generation]
database = "none"
deterministic = true
no-shrink = true
[phases.stateful.inference]
algorithms = []
[checks.positive_data_acceptance]
enabled = false
"""


@pytest.fixture(scope="session")
def command() -> Path:
    """schemathesis in an environment of its own (about half a minute, once)."""
    script = ROOT / "scripts" / "real_schemathesis.sh"
    environment = {**os.environ, "PYTHON": sys.executable}
    done = subprocess.run([script], check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return Path(done.stdout.strip()) / "bin" / "st"


def fuzz(command: Path, fuzzed: Fuzzed, folder: Path, key: str, *options: str) -> Answers:
    """Run it; what each operation answered, and how often."""
    (folder / "schemathesis.toml").write_text(CONFIG, encoding="utf-8")
    argv = [command, "--config-file", "schemathesis.toml", "run", fuzzed.document, "--url", fuzzed.service.url]
    argv += ["--header", f"Authorization: Bearer {key}", "--no-color", *options]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "FUZZED": str(folder / "answers.json")}
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300, cwd=folder, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    answers = json.loads((folder / "answers.json").read_text(encoding="utf-8"))
    return {name: Counter({int(status): n for status, n in found.items()}) for name, found in answers.items()}


def _names(fuzzed: Fuzzed) -> dict[str, str]:
    """The operations of the document: `GET /v1/files` → list_files."""
    paths = json.loads(fuzzed.document.read_text(encoding="utf-8"))["paths"]
    return {f"{m.upper()} {path}": op["operationId"] for path, methods in paths.items() for m, op in methods.items()}


def _table(answers: Answers) -> str:
    rows = (f"{name:72} {' '.join(f'{s}×{n}' for s, n in sorted(found.items()))}" for name, found in answers.items())
    return "\n".join(rows)


@pytest.mark.parametrize("scope", ["train", "publish", "read", "none"])
def test_a_key_of_a_scope_opens_no_other_door(command: Path, fuzzed: Fuzzed, tmp_path: Path, scope: str) -> None:
    key = fuzzed.service.new_key(*SCOPES[scope])
    later = LATER if scope == "publish" else ()
    answers = fuzz(command, fuzzed, tmp_path, key, *later, "--phases", "examples,stateful", "--max-examples", "8")
    print(_table(answers))
    needs = {name: scope for scope, names in WRITES.items() for name in names}
    opened = 0
    for name, found in answers.items():
        operation = _names(fuzzed)[name]
        done = {status for status in found if status < 400}
        if operation in OPEN | BY_CONTENT:
            continue
        if needs.get(operation, "read") in SCOPES[scope]:
            opened += bool(done)
        else:
            assert not done, name
            assert set(found) <= {401, 403, 422}, name  # a body that is no JSON is told so before the scope
    assert (opened > 10) == (scope != "none")


def test_an_admin_finds_nothing_and_reaches_everything(command: Path, fuzzed: Fuzzed, tmp_path: Path) -> None:
    first, last = tmp_path / "first", tmp_path / "last"
    first.mkdir()
    last.mkdir()
    answers = fuzz(command, fuzzed, first, KEY, *LATER, "--max-examples", "12")
    answers |= fuzz(command, fuzzed, last, KEY, "--include-operation-id", LATER[1], "--phases", "examples,coverage")
    print(_table(answers))
    names = _names(fuzzed)
    assert set(answers) == set(names)
    nowhere = {names[name] for name, found in answers.items() if not set(found) - {401, 404, 405, 422}}
    assert nowhere == set(UNREACHED)
