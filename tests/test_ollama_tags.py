"""What Tunesmith makes in Ollama, it takes away again; what it did not make, it leaves alone."""

import pytest

from conftest import Tiny
from fakes.ollama import FakeOllama, Faults
from ollama_fixtures import only_fake, tags
from tunesmith.errors import Conflict, ParityError, Unavailable
from tunesmith.serving import gguf_file
from tunesmith.serving.targets.ollama import OllamaTarget
from tunesmith_connectors.ollama import Ollama

pytest.importorskip("xllamacpp")


def foreign_model(ollama: Ollama, tiny: Tiny, name: str) -> str:
    """Somebody else's model, and its digest."""
    seal = gguf_file.read_seal(tiny.f16)
    ollama.upload(tiny.f16, seal.digest)
    ollama.create(
        name, files={"m.gguf": seal.digest}, template="{{ .Prompt }}", system="Mine", parameters={}, license=""
    )
    return ollama.tags()[name]


@pytest.mark.parametrize("tag", ["latest", "3b"])
def test_a_foreign_model_of_that_name_is_told(tiny: Tiny, target: OllamaTarget, ollama: Ollama, tag: str) -> None:
    assert target.foreign("tiny-model") is None
    foreign_model(ollama, tiny, f"tiny-model:{tag}")
    assert target.foreign("tiny-model") == f"Ollama has a model tiny-model:{tag} that Tunesmith did not make."
    assert target.foreign("Tiny-Model"), "Ollama knows no capitals"
    assert target.foreign("tiny") is None


def test_our_own_model_is_not_foreign(tiny: Tiny, target: OllamaTarget) -> None:
    target.promote(target.deploy(tiny.candidate()))
    assert target.foreign("tiny-model") is None


def test_a_foreign_live_tag_is_neither_replaced_nor_deleted(tiny: Tiny, target: OllamaTarget, ollama: Ollama) -> None:
    before = foreign_model(ollama, tiny, "tiny-model:latest")
    deployment = target.deploy(tiny.candidate())
    with pytest.raises(Conflict, match="did not make") as caught:
        target.promote(deployment)
    assert caught.value.error_code == "foreign_model"
    target.remove(deployment)
    assert tags(ollama) == {"tiny-model:latest": before}


def test_a_foreign_tag_where_our_version_would_go_stays(tiny: Tiny, target: OllamaTarget, ollama: Ollama) -> None:
    before = foreign_model(ollama, tiny, "tiny-model:run-1")
    with pytest.raises(Conflict, match="did not make"):
        target.deploy(tiny.candidate())
    assert ollama.tags()["tiny-model:run-1"] == before


@only_fake
@pytest.mark.parametrize("quantization", ["f16", "q8_0"])
def test_neither_tag_nor_file_is_left(tiny: Tiny, target: OllamaTarget, fake: FakeOllama, quantization: str) -> None:
    """Ollama writes what it is given anew, and kept both."""
    deployment = target.deploy(tiny.candidate(quantization=quantization))
    assert fake.blobs.all() == {fake.models[deployment.model].weights}
    target.promote(deployment)
    target.remove(deployment)
    assert (fake.models, fake.blobs.all()) == ({}, set())


@only_fake
@pytest.mark.parametrize(
    "faults", [Faults(create_error="no space left on device"), Faults(cut=True), Faults(loses={"stop"})]
)
def test_a_failed_deployment_leaves_nothing(tiny: Tiny, target: OllamaTarget, fake: FakeOllama, faults: Faults) -> None:
    fake.faults = faults
    with pytest.raises((Unavailable, ParityError)):
        target.deploy(tiny.candidate())
    assert (fake.models, fake.blobs.all()) == ({}, set())


def test_of_two_equal_versions_the_live_one_stays(tiny: Tiny, target: OllamaTarget, ollama: Ollama) -> None:
    """The same rows and the same seed make the same model twice; taking one away took the live one, too."""
    first, second = target.deploy(tiny.candidate("run-1")), target.deploy(tiny.candidate("run-2"))
    assert first.digest == second.digest
    target.promote(second)
    target.remove(first)
    assert set(tags(ollama)) == {"tiny-model:latest", "tiny-model:run-2"}
    target.remove(second)
    assert not tags(ollama)
