"""The stand-in for Ollama does what the documented API does; run against the real one, this proves the stand-in."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from conftest import Tiny
from fakes.go_template import TemplateError, render
from fakes.ollama import FakeOllama
from fakes.ollama_models import CHATML
from gguf_edit import with_template
from tunesmith.serving import own_template
from tunesmith.serving.hf_folder import HfFolder
from tunesmith.serving.parity import Reply, Step, other_answer
from tunesmith.serving.targets import ollama_trial
from tunesmith_connectors.ollama import Answer, Ollama, OllamaError

pytest.importorskip("xllamacpp")

REAL = os.environ.get("TUNESMITH_REAL_OLLAMA_URL")
TEMPLATE = "{{ range .Messages }}{{ .Content }}{{ end }}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if REAL:
        yield REAL.rstrip("/")
        return
    with FakeOllama(tmp_path_factory.mktemp("blobs")) as fake:
        yield fake.url


@pytest.fixture
def ollama(server: str) -> Iterator[Ollama]:
    client = Ollama(server)
    yield client
    for name in client.tags():
        if name.startswith("contract:"):
            client.delete(name)
    client.close()


def digest(path: Path) -> str:
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def make(ollama: Ollama, gguf: Path, name: str = "contract:a", **given: Any) -> dict[str, Any]:
    """A model, and what is shown of it."""
    ollama.upload(gguf, digest(gguf))
    assert ollama.create(name, files={"m.gguf": digest(gguf)}, **given)[-1] == "success"
    return ollama.show(name) or {}


def asked(server: str, path: str, **body: Any) -> httpx.Response:
    return httpx.post(f"{server}{path}", json={"model": "contract:a", "stream": False, **body}, timeout=60)


def test_blobs(server: str, tiny: Tiny) -> None:
    content = os.urandom(64)
    name = f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert httpx.head(f"{server}/api/blobs/{name}").status_code == 404
    assert httpx.post(f"{server}/api/blobs/{name}", content=b"something else").status_code == 400
    assert httpx.post(f"{server}/api/blobs/{name}", content=content).status_code == 201
    assert httpx.post(f"{server}/api/blobs/{name}", content=content).status_code == 200
    assert httpx.head(f"{server}/api/blobs/{name}").status_code == 200
    assert httpx.post(f"{server}/api/blobs/sha256:short", content=content).status_code == 400


def test_a_blob_is_sent_once(ollama: Ollama, tiny: Tiny, tmp_path: Path) -> None:
    fresh = tmp_path / "blob"
    fresh.write_bytes(os.urandom(3_000_000))
    assert ollama.upload(fresh, digest(fresh)) is True
    assert ollama.upload(fresh, digest(fresh)) is False


def test_a_wrong_digest_is_refused(ollama: Ollama, tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(os.urandom(10))
    with pytest.raises(OllamaError) as caught:
        ollama.upload(tmp_path / "blob", "sha256:" + "0" * 64)
    assert caught.value.status == 400


def test_create_show_copy_delete(ollama: Ollama, tiny: Tiny) -> None:
    shown = make(ollama, tiny.f16, template=TEMPLATE, parameters={"stop": ["a b", "c"], "num_ctx": 512}, license="L")
    assert shown["license"] == "L"
    assert {line.split()[0] for line in shown["parameters"].splitlines()} == {"stop", "num_ctx"}
    assert shown["model_info"]["general.architecture"] == "llama"
    ollama.copy("contract:a", "contract:b")
    tags = ollama.tags()
    assert tags["contract:a"] == tags["contract:b"]
    assert ollama.delete("contract:b") is True
    assert ollama.delete("contract:b") is False
    assert ollama.show("contract:b") is None
    with pytest.raises(OllamaError) as caught:
        ollama.copy("contract:b", "contract:c")
    assert caught.value.status == 404


def test_the_template_and_the_name_are_not_in_the_metadata(server: str, ollama: Ollama, tiny: Tiny) -> None:
    """Also where everything is asked for: no recipe could go live, because the template was looked for there."""
    make(ollama, tiny.f16)
    for verbose in (False, True):
        metadata = asked(server, "/api/show", verbose=verbose).json()["model_info"]
        assert "tokenizer.ggml.eos_token_id" in metadata
        assert not {"tokenizer.chat_template", "general.name"} & set(metadata)


def test_a_template_that_does_not_parse_is_refused(ollama: Ollama, tiny: Tiny) -> None:
    with pytest.raises(OllamaError):
        make(ollama, tiny.f16, template="{{ if }")
    with pytest.raises(OllamaError):
        make(ollama, tiny.f16, template="{{ range .Messages }}never ended")


def test_quantised_models_are_not_quantised_again(ollama: Ollama, tiny: Tiny) -> None:
    assert make(ollama, tiny.f16, "contract:q", quantize="q8_0")["model_info"]["general.file_type"] == 7
    with pytest.raises(OllamaError):
        make(ollama, tiny.f16, "contract:r", quantize="nonsense")


def test_a_template_near_a_known_one_is_replaced(ollama: Ollama, tiny: Tiny, tmp_path: Path) -> None:
    near = with_template(tiny.f16, tmp_path / "near.gguf", CHATML.replace("message", "m"))
    shown = make(ollama, near)
    assert "range .Messages" in shown["template"]
    assert '"<|im_end|>"' in shown["parameters"], "stop texts come with it"


def test_a_marked_template_is_rendered_itself(ollama: Ollama, tiny: Tiny, tmp_path: Path) -> None:
    own = own_template.COMMENT + CHATML
    shown = make(ollama, with_template(tiny.f16, tmp_path / "far.gguf", own))
    assert shown["template"].rstrip() == own.rstrip()
    assert not shown.get("parameters")
    assert shown["capabilities"] == ["completion"], "the mark promises nothing"


def test_the_rendered_prompt_is_shown(server: str, ollama: Ollama, tiny: Tiny) -> None:
    make(ollama, tiny.f16)
    question = [{"role": "user", "content": "hi"}]
    assert ollama.rendered("contract:a", question) == HfFolder(tiny.hf_dir).render(question)


THINKS = "{% for m in messages %}{{ m.content }}{% endfor %}{{ '<think>\n' if enable_thinking else '<think></think>' }}"


def test_a_model_that_can_think_does_unless_it_is_forbidden(
    server: str, ollama: Ollama, tiny: Tiny, tmp_path: Path
) -> None:
    thinking = with_template(tiny.f16, tmp_path / "thinks.gguf", own_template.COMMENT + THINKS)
    assert "thinking" in make(ollama, thinking)["capabilities"]
    question = {"messages": [{"role": "user", "content": "hi"}], "_debug_render_only": True}
    rendered = [
        asked(server, "/api/chat", **question, **told).json()["_debug_info"]["rendered_template"].strip()
        for told in ({}, {"think": True}, {"think": False})
    ]
    assert rendered == ["hi<think>", "hi<think>", "hi<think></think>"]


def test_what_a_template_does_not_declare_is_refused(server: str, ollama: Ollama, tiny: Tiny) -> None:
    make(ollama, tiny.f16)
    question = {"messages": [{"role": "user", "content": "hi"}], "options": {"num_predict": 1}}
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    refused = asked(server, "/api/chat", **question, tools=[tool])
    assert (refused.status_code, "does not support tools" in refused.text) == (400, True)
    refused = asked(server, "/api/chat", **question, think=True)
    assert (refused.status_code, "does not support thinking" in refused.text) == (400, True)
    held = {"type": "string", "enum": ["yes", "no"]}
    assert asked(server, "/api/chat", **question, think=False, format=held).status_code == 200


def test_raw_prompts_and_chats_agree(ollama: Ollama, tiny: Tiny) -> None:
    make(ollama, tiny.f16, system="S", template="{{ range .Messages }}<{{ .Role }}>{{ .Content }}{{ end }}:")
    prompt = "<system>S<user>hi:"
    for _ in range(2):  # warm at the second asking
        chat = ollama.chat("contract:a", [{"role": "user", "content": "hi"}], tokens=4)
        raw = ollama.raw("contract:a", prompt, tokens=4)
    assert chat.prompt_tokens == raw.prompt_tokens == len(prompt)
    assert other_answer(reply(chat), reply(raw)) is None
    assert all(len(likely) > 1 for _, likely in chat.steps)


def reply(answer: Answer) -> Reply:
    assert answer.prompt_tokens is not None
    return Reply(answer.prompt_tokens, answer.text, [Step(*step) for step in answer.steps], answer.ended)


def test_answers_end_where_the_model_says(server: str, ollama: Ollama, tiny: Tiny) -> None:
    make(ollama, tiny.f16, parameters={"num_predict": 3, "temperature": 0})
    question = {"prompt": "hi", "raw": True, "format": {"type": "string", "enum": ["a" * 40]}}
    assert asked(server, "/api/generate", **question).json()["eval_count"] == 3
    assert asked(server, "/api/generate", **question, options={"num_predict": 6}).json()["eval_count"] == 6


def test_openai_callers_draw_unless_they_say_otherwise(server: str, ollama: Ollama, tiny: Tiny) -> None:
    """The model's own temperature counts at /api/chat only. (A schema, for what this model says is not readable.)"""
    make(ollama, tiny.f16, parameters={"num_predict": 12, "temperature": 0})
    schema = {"type": "string", "pattern": "^[a-h]{6}$"}
    question = {"messages": [{"role": "user", "content": "hello there"}]}
    held = {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}}

    def texts(path: str, **more: Any) -> set[str]:
        answers = [asked(server, path, **question, **more).json() for _ in range(9)]
        return {(a.get("message") or a["choices"][0]["message"])["content"] for a in answers[1:]}  # the first was cold

    assert len(texts("/api/chat", format=schema)) == 1
    assert len(texts("/v1/chat/completions", **held, temperature=0)) == 1
    assert len(texts("/v1/chat/completions", **held)) > 1


def test_files_outlive_what_was_made_of_them_but_not_a_model_that_names_them(ollama: Ollama, tiny: Tiny) -> None:
    """Ollama writes a GGUF anew when it makes a model. What was sent stays until its next start, also when making the
    model failed, unless it belongs to a model that is deleted."""
    make(ollama, tiny.f16, quantize="q8_0")
    ollama.delete("contract:a")
    assert ollama.has(digest(tiny.f16))
    ollama_trial.let_go(ollama, digest(tiny.f16))
    assert not ollama.has(digest(tiny.f16))
    with pytest.raises(OllamaError):
        make(ollama, tiny.f16, quantize="nonsense")
    assert ollama.has(digest(tiny.f16))
    ollama_trial.let_go(ollama, digest(tiny.f16))
    assert not ollama.has(digest(tiny.f16))
    assert not [name for name in ollama.tags() if name.startswith("tunesmith-trial:")]


def test_preload_and_unload(ollama: Ollama, tiny: Tiny) -> None:
    make(ollama, tiny.f16)
    ollama.preload("contract:a")
    ollama.unload("contract:a")
    with pytest.raises(OllamaError):
        ollama.preload("contract:nothing")


@pytest.mark.skipif(REAL is not None, reason="the real one would ask its registry")
def test_an_unknown_from_would_be_pulled(server: str) -> None:
    text = httpx.post(f"{server}/api/create", json={"model": "contract:x", "from": "nowhere"}).text
    assert "pulling manifest" in text
    assert '"error"' in text


def test_away_is_retryable() -> None:
    client = Ollama("http://127.0.0.1:9")
    with pytest.raises(OllamaError, match="does not answer") as caught:
        client.tags()
    client.close()
    assert caught.value.retryable


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("a {{- .System -}} b", "aSb"),
        ('{{ if eq .System "S" }}y{{ else }}n{{ end }}', "y"),
        ('{{ if ne .System "S" }}y{{ else if .Nothing }}n{{ else }}z{{ end }}', "z"),
        ('{{ "{{" }}', "{{"),
        ("{{ range .Messages }}({{ .Content }}){{ end }}!", "(1)(2)!"),
    ],
)
def test_go_templates(template: str, text: str) -> None:
    assert render(template, {"System": "S", "Messages": [{"Content": "1"}, {"Content": "2"}]}) == text


@pytest.mark.parametrize("template", ["{{ trim .System }}", "{{ end }}", "{{ range .Messages }}", "{{ if .System }}"])
def test_go_templates_that_do_not_parse(template: str) -> None:
    with pytest.raises(TemplateError):
        render(template, {"System": "S", "Messages": []})
