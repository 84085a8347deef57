"""Ollama as a target, against a stand-in with real tokens, or the real one (TUNESMITH_REAL_OLLAMA_URL)."""

import json
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from conftest import Tiny
from fakes import ollama_engine
from fakes.ollama import FakeOllama, Faults
from fakes.ollama_models import KNOWN
from gguf_edit import copied, with_double_bos
from ollama_fixtures import REAL, only_fake, tags
from tunesmith.errors import BadInput, Conflict, ParityError, Unavailable
from tunesmith.serving import own_template
from tunesmith.serving.hf_folder import HfFolder
from tunesmith.serving.targets.ollama import OllamaTarget
from tunesmith.settings import Settings
from tunesmith.tasks.base import Constraint
from tunesmith_connectors.ollama import Ollama

pytest.importorskip("xllamacpp")


def test_deploy_parity_promote(tiny: Tiny, target: OllamaTarget, ollama: Ollama) -> None:
    deployment = target.deploy(tiny.candidate())
    assert deployment.model == "tiny-model:run-1"
    report = target.parity(deployment)
    report.require()
    assert {"metadata", "with_system.raw", "without_system.token_count"} <= {check.name for check in report.checks}
    assert "tiny-model:latest" not in ollama.tags()
    target.promote(deployment)
    assert ollama.tags()["tiny-model:latest"] == deployment.digest
    with target.serve(deployment) as endpoint:
        body = {"model": endpoint.model, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 9}
        body = target.body(body, Constraint({"type": "string", "enum": ["yes", "no"]}))
        answer = httpx.post(f"{endpoint.base_url}/chat/completions", json=body, timeout=60)
    assert answer.status_code == 200


def test_all_that_ollama_would_guess_is_told(tiny: Tiny, target: OllamaTarget, ollama: Ollama) -> None:
    target.deploy(tiny.candidate())
    shown = ollama.show("tiny-model:run-1") or {}
    assert shown["system"] == "You are tiny"
    assert shown["template"] == own_template.carried(HfFolder(tiny.hf_dir))
    assert '"<|im_end|>"' in shown["parameters"]
    assert "1024" in shown["parameters"]


def test_doing_everything_twice_makes_nothing_twice(tiny: Tiny, target: OllamaTarget, ollama: Ollama) -> None:
    first, second = target.deploy(tiny.candidate()), target.deploy(tiny.candidate())
    assert first == second
    target.promote(first)
    target.promote(first)
    assert sorted(name for name in ollama.tags() if name.startswith("tiny-model")) == [
        "tiny-model:latest",
        "tiny-model:run-1",
    ]


def test_a_second_version_replaces_and_rolls_back(
    tiny: Tiny, target: OllamaTarget, ollama: Ollama, tmp_path: Path
) -> None:
    first = target.deploy(tiny.candidate())
    second = target.deploy(replace(tiny.candidate("run-2"), num_ctx=512))
    assert first.digest != second.digest
    for live in (first, second, first):
        target.promote(live)
        assert ollama.tags()["tiny-model:latest"] == live.digest
    target.remove(second)
    target.remove(second)
    assert set(tags(ollama)) == {"tiny-model:run-1", "tiny-model:latest"}
    target.remove(first)
    assert not tags(ollama), "the live tag goes with its version"


def test_a_changed_export_under_the_same_version_is_created_anew(
    tiny: Tiny, target: OllamaTarget, tmp_path: Path
) -> None:
    first = target.deploy(tiny.candidate())
    content = bytearray(tiny.f16.read_bytes())
    content[-2] ^= 1  # another weight
    (tmp_path / "x").write_bytes(content)
    second = target.deploy(tiny.candidate(gguf=copied(tmp_path / "x", tmp_path / "other.gguf")))
    assert first.digest != second.digest


@only_fake
def test_the_old_version_is_unloaded_and_the_new_one_loaded(
    tiny: Tiny, target: OllamaTarget, fake: FakeOllama, tmp_path: Path
) -> None:
    content = bytearray(tiny.f16.read_bytes())
    content[-2] ^= 1
    (tmp_path / "x").write_bytes(content)
    first = target.deploy(tiny.candidate())
    second = target.deploy(tiny.candidate("run-2", gguf=copied(tmp_path / "x", tmp_path / "other.gguf")))
    target.promote(first)
    assert list(fake.engine.loaded) == [fake.models["tiny-model:run-1"].weights]
    target.promote(second)
    assert list(fake.engine.loaded) == [fake.models["tiny-model:run-2"].weights]
    # Also when nothing but the live tag is left of the old version.
    del fake.models["tiny-model:run-2"]
    target.promote(first)
    assert list(fake.engine.loaded) == [fake.models["tiny-model:run-1"].weights]


def test_ollama_quantises_a_float_export(tiny: Tiny, target: OllamaTarget, ollama: Ollama) -> None:
    deployment = target.deploy(tiny.candidate(quantization="q4_k_m"))
    shown = ollama.show(deployment.model) or {}
    assert shown["model_info"]["general.file_type"] == 15
    target.parity(deployment).require()


def test_nothing_is_ever_pulled(tiny: Tiny, target: OllamaTarget, request: pytest.FixtureRequest) -> None:
    deployment = target.deploy(tiny.candidate())
    target.promote(deployment)
    if not REAL:
        fake: FakeOllama = request.getfixturevalue("fake")
        assert fake.pulls == []
        assert ("POST", "/api/pull") not in fake.calls


def test_a_first_token_that_the_template_writes_is_not_doubled(
    tiny: Tiny, target: OllamaTarget, tmp_path: Path
) -> None:
    target.parity(target.deploy(tiny.candidate(gguf=with_double_bos(tiny.f16, tmp_path / "bos.gguf")))).require()


@only_fake
def test_a_double_bos_fails_parity(tiny: Tiny, target: OllamaTarget, old: FakeOllama, tmp_path: Path) -> None:
    """The GGUF has Ollama add a first token that the translated template writes too."""
    deployment = target.deploy(tiny.candidate(gguf=with_double_bos(tiny.f16, tmp_path / "bos.gguf")))
    report = target.parity(deployment)
    failed = {check.name for check in report.checks if not check.passed}
    assert failed >= {"with_system.token_count", "without_system.token_count", "several_turns.token_count"}
    with pytest.raises(ParityError):
        report.require()


@only_fake
def test_a_template_that_was_changed_in_ollama_fails_parity(tiny: Tiny, target: OllamaTarget, fake: FakeOllama) -> None:
    """Autodetection takes ChatML for the model's own template: the same tokens but for one line break."""
    deployment = target.deploy(tiny.candidate())
    made = fake.models[deployment.model]
    (go, _), *_ = KNOWN.values()
    fake.models[deployment.model] = replace(made, go=go.replace("<|im_end|>\n", "<|im_end|>"))
    failed = {check.name for check in target.parity(deployment).checks if not check.passed}
    assert {"metadata", "with_system.prompt", "with_system.token_count", "with_system.raw"} <= failed


@only_fake
def test_an_ollama_that_renders_only_go_is_told_the_same_in_go(
    tiny: Tiny, target: OllamaTarget, old: FakeOllama, ollama: Ollama
) -> None:
    target.ready_for(tiny.hf_dir)
    deployment = target.deploy(tiny.candidate())
    shown = ollama.show(deployment.model) or {}
    assert '{{ if eq .Role "system" }}<|im_start|>system\n' in shown["template"]
    target.parity(deployment).require()
    assert target.deploy(tiny.candidate()) == deployment, "and is not made again"


UPPER = "{% for m in messages %}{{ m.content | upper }}{% endfor %}{{ eos_token }}"


def base_with(tiny: Tiny, place: Path, template: str, **config: str) -> Path:
    place.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (place / name).write_bytes((tiny.hf_dir / name).read_bytes())
    told = json.loads((tiny.hf_dir / "config.json").read_text(encoding="utf-8"))
    (place / "config.json").write_text(json.dumps({**told, **config}), encoding="utf-8")
    (place / "chat_template.jinja").write_text(template, encoding="utf-8")
    return place


def test_a_base_is_tried_before_its_training(tiny: Tiny, target: OllamaTarget, ollama: Ollama, tmp_path: Path) -> None:
    """Any template can be served; that of a family for which Ollama has code of its own is never asked."""
    target.ready_for(tiny.hf_dir)
    target.ready_for(base_with(tiny, tmp_path / "upper", UPPER))
    with pytest.raises(BadInput, match="renderer of its own") as caught:
        target.ready_for(base_with(tiny, tmp_path / "gemma", UPPER, model_type="gemma4_text"))
    assert "llamacpp" in str(caught.value.hint)
    with pytest.raises(BadInput, match="no chat template"):
        target.ready_for(base_with(tiny, tmp_path / "bare", ""))
    assert not tags(ollama)


@only_fake
def test_a_template_that_an_old_ollama_cannot_render_is_refused_before_training(
    tiny: Tiny, target: OllamaTarget, old: FakeOllama, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match="does not render a model's own template"):
        target.ready_for(base_with(tiny, tmp_path / "upper", UPPER))
    assert not old.models


def test_a_target_that_is_away_is_not_ready(tiny: Tiny, settings: Settings) -> None:
    away = OllamaTarget(settings.model_copy(update={"ollama_url": "http://127.0.0.1:9"}))
    for ask in (lambda: away.ready_for(tiny.hf_dir), lambda: away.foreign("m")):
        with pytest.raises(Unavailable):
            ask()


@only_fake
def test_a_near_tie_is_no_difference(
    tiny: Tiny, target: OllamaTarget, fake: FakeOllama, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first asking computes a prompt otherwise than the second; two such answers are not compared."""
    monkeypatch.setattr(ollama_engine, "COLD", 50.0)
    target.parity(target.deploy(tiny.candidate())).require()


@only_fake
def test_a_lost_default_system_prompt_fails_parity(tiny: Tiny, target: OllamaTarget, old: FakeOllama) -> None:
    """The model's own template puts it in by itself; a translation cannot."""
    deployment = target.deploy(tiny.candidate())
    old.models[deployment.model] = replace(old.models[deployment.model], system="")
    failed = {check.name for check in target.parity(deployment).checks if not check.passed}
    assert failed == {"without_system.token_count", "without_system.raw"}


@only_fake
def test_answers_that_ollama_cannot_read_do_not_hide_the_prompt(
    tiny: Tiny, target: OllamaTarget, fake: FakeOllama
) -> None:
    """A model that says half a character had its chat refused with a 500."""
    deployment = target.deploy(tiny.candidate())
    fake.faults = Faults(unreadable=True)
    target.parity(deployment).require()
    (go, _), *_ = KNOWN.values()
    fake.models[deployment.model] = replace(fake.models[deployment.model], go=go.replace("<|im_end|>\n", "<|im_end|>"))
    failed = {check.name for check in target.parity(deployment).checks if not check.passed}
    assert {"metadata", "with_system.prompt", "with_system.token_count"} <= failed


@only_fake
def test_an_error_inside_a_200_stream_is_an_error(tiny: Tiny, target: OllamaTarget, fake: FakeOllama) -> None:
    fake.faults = Faults(create_error="write /models: no space left on device")
    with pytest.raises(Unavailable, match="no space left"):
        target.deploy(tiny.candidate())


@only_fake
def test_a_stream_without_success_is_an_error(tiny: Tiny, target: OllamaTarget, fake: FakeOllama) -> None:
    fake.faults = Faults(cut=True)
    with pytest.raises(Unavailable, match="stopped creating") as caught:
        target.deploy(tiny.candidate())
    assert caught.value.retryable
    fake.faults = Faults()
    target.deploy(tiny.candidate())  # and can be done again


@only_fake
@pytest.mark.parametrize("lost", ["stop", "num_ctx", "num_predict", "temperature"])
def test_what_ollama_does_not_keep_is_noticed(tiny: Tiny, target: OllamaTarget, fake: FakeOllama, lost: str) -> None:
    fake.faults = Faults(loses={lost})
    with pytest.raises(ParityError, match=lost):
        target.deploy(replace(tiny.candidate(), num_predict=40))


@only_fake
def test_a_copy_that_did_not_happen_is_noticed(tiny: Tiny, target: OllamaTarget, fake: FakeOllama) -> None:
    deployment = target.deploy(tiny.candidate())
    fake.faults = Faults(refuses_copy=True)
    with pytest.raises(Unavailable, match="did not make"):
        target.promote(deployment)


@only_fake
def test_a_replaced_version_is_not_promoted(tiny: Tiny, target: OllamaTarget, fake: FakeOllama) -> None:
    deployment = target.deploy(tiny.candidate())
    fake.models["tiny-model:run-1"] = replace(fake.models["tiny-model:run-1"], system="Obey.")
    with pytest.raises(Conflict, match="not the version that was measured"):
        target.promote(deployment)
    assert "tiny-model:latest" not in fake.models


def test_answers_end(tiny: Tiny, target: OllamaTarget, ollama: Ollama) -> None:
    """A bare question ran on until the context was full."""
    deployment = target.deploy(replace(tiny.candidate(), num_predict=5))
    held = {"type": "string", "enum": ["a" * 40]}
    asked = {"model": deployment.model, "prompt": "hello", "raw": True, "stream": False, "format": held}
    answer = httpx.post(f"{ollama.url}/api/generate", json=asked, timeout=60).json()
    assert (answer["eval_count"], answer["done_reason"]) == (5, "length")


def test_a_foreign_gguf_is_not_uploaded(tiny: Tiny, target: OllamaTarget, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.gguf"
    foreign.write_bytes(tiny.f16.read_bytes())
    with pytest.raises(ParityError):
        target.deploy(tiny.candidate(gguf=foreign))


def test_check_says_what_to_fix(settings: Settings) -> None:
    missing = OllamaTarget(settings).check()
    assert not missing.ok
    assert "TUNESMITH_OLLAMA_URL" in str(missing.hint)
    away = OllamaTarget(settings.model_copy(update={"ollama_url": "http://127.0.0.1:9"})).check()
    assert not away.ok
    assert "does not answer" in away.detail


def test_check_names_the_version(target: OllamaTarget) -> None:
    assert target.check().ok
    assert "Ollama" in target.check().detail


def test_the_schema_goes_as_response_format(target: OllamaTarget) -> None:
    held = target.body({"messages": []}, Constraint({"type": "object"}, 'root ::= "x"'))
    assert held["response_format"]["json_schema"]["schema"] == {"type": "object"}
    assert "grammar" not in held
    own = {"messages": [], "response_format": {"type": "text"}}
    assert target.body(own, Constraint({"type": "object"})) == own
