"""A real Ollama: every family goes live with its own template, and the whole loop leaves nothing behind.

`TUNESMITH_REAL_OLLAMA_URL=http://127.0.0.1:11434 make test-real SUITE=ollama`. Models that the tests do not know:
TUNESMITH_REAL_OLLAMA_MODELS, a folder of Hugging Face folders.
"""

import json
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import families
from service import Service, extraction_rows
from tiny import build_tiny_model
from tunesmith.errors import BadInput
from tunesmith.serving import export, gguf_file, own_template
from tunesmith.serving.hf_folder import HfFolder
from tunesmith.serving.targets.base import Candidate, Deployment
from tunesmith.serving.targets.ollama import OllamaTarget
from tunesmith.settings import Settings
from tunesmith_connectors.ollama import Ollama

URL = os.environ.get("TUNESMITH_REAL_OLLAMA_URL", "")
MORE = Path(os.environ.get("TUNESMITH_REAL_OLLAMA_MODELS", "/nonexistent"))
if not URL:
    pytest.skip("no real Ollama: set TUNESMITH_REAL_OLLAMA_URL, as http://127.0.0.1:11434", allow_module_level=True)
pytestmark = pytest.mark.real
NAME = f"tunesmith-real-{secrets.token_hex(3)}"  # two suites at one Ollama do not meet
LONGEST = 150
QUESTION = {"role": "user", "content": "RECEIPT\nTOTAL 12.50"}


@pytest.fixture
def ollama() -> Iterator[Ollama]:
    client = Ollama(URL)
    yield client
    left = [tag for tag in client.tags() if tag.startswith((f"{NAME}:", "tunesmith-trial:"))]
    for tag in left:
        client.delete(tag)
    client.close()
    assert not left, "tags were left behind"


def ask(path: str, model: str, **more: Any) -> dict[str, Any]:
    body = {"model": model, "messages": [QUESTION], "stream": False, **more}
    response = httpx.post(f"{URL}{path}", json=body, timeout=300)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def is_held(message: dict[str, Any], schema: dict[str, Any]) -> bool:
    """To the schema, or the template has opened a thought that a random model never closes."""
    thought = message.get("thinking") or message.get("reasoning")
    return bool(thought) or json.loads(message["content"]) in schema["enum"]


def blobs(ollama: Ollama, deployment: Deployment) -> list[str]:
    """What was sent, and what Ollama made of it."""
    modelfile = str((ollama.show(deployment.model) or {}).get("modelfile"))
    kept = [line.rpartition("sha256-")[2].strip() for line in modelfile.splitlines() if line.startswith("FROM ")]
    return [gguf_file.read_seal(Path(deployment.gguf)).digest, *(f"sha256:{digest}" for digest in kept)]


def goes_live(ollama: Ollama, folder: Path, place: Path, quantization: str = "f16") -> None:
    """Export, deploy, parity, promotion, answers, and removal without a trace."""
    start, target = time.monotonic(), OllamaTarget(Settings(home=place, ollama_url=URL))
    target.ready_for(folder)
    gguf = place / "model.gguf"
    export.to_gguf(folder, gguf, "f16", settings=Settings(home=place))
    exported = time.monotonic()
    candidate = Candidate.of_export(
        name=NAME, version="v1", gguf=gguf, hf_dir=folder, quantization=quantization, num_predict=LONGEST
    )
    deployment = target.deploy(candidate)
    report = target.parity(deployment)
    report.require()
    proven = time.monotonic()
    target.promote(deployment)
    shown = ollama.show(f"{NAME}:latest") or {}
    assert shown["template"] == own_template.carried(HfFolder(folder)), "its own template is what is rendered"
    # A schema, because what a random model says cannot always be read.
    schema = {"type": "string", "enum": ["12.50", "1"]}
    answer = ask("/api/chat", NAME, format=schema, think=False)
    assert is_held(answer["message"], schema)
    assert answer["eval_count"] <= LONGEST
    held = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    said = ask("/v1/chat/completions", NAME, response_format=held, temperature=0, reasoning_effort="none")
    assert is_held(said["choices"][0]["message"], schema)
    made = blobs(ollama, deployment)
    target.remove(deployment)
    assert not [tag for tag in ollama.tags() if tag.startswith(NAME)]
    assert not [digest for digest in made if ollama.has(digest)]
    kind, taken = HfFolder(folder).config["model_type"], proven - exported
    print(f"\n{kind}: export {exported - start:.1f} s, deploy and {len(report.checks)} checks {taken:.1f} s")


@pytest.mark.parametrize("family", families.FAMILIES)
def test_a_family_goes_live(ollama: Ollama, tmp_path: Path, family: str) -> None:
    # llama.cpp looks for tokens of phi-3 where a folder is called so; a trained model's is not.
    goes_live(ollama, families.make(family, tmp_path / "merged"), tmp_path)


@pytest.mark.skipif(not MORE.is_dir(), reason="no further models: set TUNESMITH_REAL_OLLAMA_MODELS")
@pytest.mark.parametrize(
    "folder", sorted(MORE.glob("*/config.json")) if MORE.is_dir() else [], ids=lambda f: f.parent.name
)
def test_a_model_of_yours_goes_live(ollama: Ollama, tmp_path: Path, folder: Path) -> None:
    goes_live(ollama, folder.parent, tmp_path)


@pytest.mark.parametrize("quantization", ["q8_0", "q4_k_m"])
def test_ollama_quantises(ollama: Ollama, tmp_path: Path, quantization: str) -> None:
    goes_live(ollama, families.make("llama", tmp_path / "llama"), tmp_path, quantization)


def test_a_family_that_ollama_renders_itself_is_refused_before_training(ollama: Ollama, tmp_path: Path) -> None:
    folder = families.make("gemma3", tmp_path / "gemma")
    config = folder / "config.json"
    config.write_text(config.read_text(encoding="utf-8").replace('"gemma3_text"', '"gemma4_text"'), encoding="utf-8")
    with pytest.raises(BadInput, match="renderer of its own"):
        OllamaTarget(Settings(home=tmp_path, ollama_url=URL)).ready_for(folder)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    build_tiny_model(tmp_path / "models" / "tiny")
    service = Service(tmp_path / "home", TUNESMITH_MODELS=str(tmp_path / "models"), TUNESMITH_OLLAMA_URL=URL).start()
    yield service
    service.close()


def test_the_whole_loop(ollama: Ollama, service: Service) -> None:
    """Two runs to live, answers on every way in, back to the first, and away."""
    file = service.openai.files.create(file=("rows.jsonl", extraction_rows(40)), purpose="fine-tune")
    live: list[str] = []
    for epochs in (1, 2):
        recipe = {
            "name": f"loop-{epochs}",
            "sources": [{"file": file.id}],
            "base_model": "tiny",
            "training": {"hyperparameters": {"n_epochs": epochs, "batch_size": 4}},
            "gate": {"format_adherence": 0, "not_worse_than": "none"},  # it is tiny
            "publish": {"name": NAME, "target": "ollama", "quantization": "q8_0"},
        }
        service.http.post("/v1/recipes", json=recipe).raise_for_status()
        run = service.http.post(f"/v1/recipes/loop-{epochs}/runs").raise_for_status().json()
        ended = service.finished(run["id"])
        assert ended["status"] == "succeeded", ended["error"]
        live.append(ollama.tags()[f"{NAME}:latest"])
        messages = [{"role": "system", "content": "Answer with JSON."}, QUESTION]
        said = service.openai.chat.completions.create(model=NAME, messages=messages)  # type: ignore[arg-type]
        assert said.choices[0].message.content
        assert "num_predict" in str((ollama.show(f"{NAME}:latest") or {})["parameters"])
    assert live[0] != live[1]
    start = time.monotonic()
    service.http.post(f"/v1/models/{NAME}/rollback").raise_for_status()
    print(f"\nrolled back in {time.monotonic() - start:.1f} s")
    assert ollama.tags()[f"{NAME}:latest"] == live[0]
    service.http.delete(f"/v1/models/{NAME}").raise_for_status()
    assert not [tag for tag in ollama.tags() if tag.startswith(NAME)]
    sent = [gguf_file.read_seal(gguf).digest for gguf in service.home.rglob("*.gguf")]
    assert not [digest for digest in sent if ollama.has(digest)]
