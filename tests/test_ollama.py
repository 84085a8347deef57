"""The stand-in for Ollama does what the documented API does; run against the real one, this proves the stand-in."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from conftest import Tiny
from fakes.go_template import TemplateError, render
from fakes.ollama import FakeOllama
from tunesmith_connectors.ollama import Ollama, OllamaError

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


def make(ollama: Ollama, tiny: Tiny, name: str = "contract:a", **given: object) -> list[str]:
    ollama.upload(tiny.f16, digest(tiny.f16))
    asked: dict[str, object] = {"template": TEMPLATE, "system": None, "parameters": {}, "license": "x", **given}
    return ollama.create(name, files={"m.gguf": digest(tiny.f16)}, **asked)  # type: ignore[arg-type]


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
    assert make(ollama, tiny, parameters={"stop": ["a b", "c"], "num_ctx": 512})[-1] == "success"
    shown = ollama.show("contract:a") or {}
    assert shown["template"] == TEMPLATE
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


def test_a_template_that_does_not_parse_is_refused(ollama: Ollama, tiny: Tiny) -> None:
    with pytest.raises(OllamaError):
        make(ollama, tiny, template="{{ if }")
    with pytest.raises(OllamaError):
        make(ollama, tiny, template="{{ range .Messages }}never ended")


def test_quantised_models_are_not_quantised_again(ollama: Ollama, tiny: Tiny, server: str) -> None:
    make(ollama, tiny, "contract:q", quantize="q8_0")
    assert (ollama.show("contract:q") or {})["model_info"]["general.file_type"] == 7
    with pytest.raises(OllamaError):
        make(ollama, tiny, "contract:r", quantize="q2_K")


def test_a_missing_template_is_guessed(server: str, ollama: Ollama, tiny: Tiny) -> None:
    make(ollama, tiny)
    asked = {"model": "contract:guess", "files": {"m.gguf": digest(tiny.f16)}}
    assert "success" in httpx.post(f"{server}/api/create", json=asked, timeout=60).text
    shown = ollama.show("contract:guess") or {}
    assert "<|im_start|>" in shown["template"]
    assert not shown.get("system")  # the default system prompt of the model's own template is lost


def test_raw_prompts_and_chats_agree(ollama: Ollama, tiny: Tiny) -> None:
    make(ollama, tiny, system="S", template="{{ range .Messages }}<{{ .Role }}>{{ .Content }}{{ end }}:")
    chat = ollama.chat("contract:a", [{"role": "user", "content": "hi"}], tokens=4)
    assert chat == ollama.raw("contract:a", "<system>S<user>hi:", tokens=4)
    assert chat[0] == len("<system>S<user>hi:")


def test_preload_and_unload(ollama: Ollama, tiny: Tiny) -> None:
    make(ollama, tiny)
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
