"""Export: the merge is PEFT's, the GGUF says what the model says, and nothing half-done is ever taken for done."""

import json
from pathlib import Path

import pytest

import tiny as tiny_model
from conftest import Tiny
from gguf_edit import copied, edited, with_other_template
from tunesmith.errors import BadInput, NotFound, ParityError
from tunesmith.serving import export, gguf_file, own_template
from tunesmith.serving.hf_folder import HfFolder
from tunesmith.serving.merge import merge
from tunesmith.settings import Settings

pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")


def weights(folder: Path) -> "dict[str, object]":
    from safetensors.torch import load_file

    return dict(load_file(folder / "model.safetensors"))


@pytest.mark.parametrize(
    "config",
    [{}, {"use_rslora": True}, {"alpha_pattern": {"layers.1.mlp.up_proj": 32}}, {"lora_alpha": 1}],
    ids=["plain", "rslora", "alpha_pattern", "alpha"],
)
def test_merge_equals_peft(tiny_base: tuple[Path, Path], tmp_path: Path, config: dict[str, object]) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base, _ = tiny_base
    adapter = tiny_model.build_adapter(base, tmp_path / "adapter", **config)
    merge(base, adapter, tmp_path / "merged")
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    expected = PeftModel.from_pretrained(model, adapter).merge_and_unload().state_dict()
    found = weights(tmp_path / "merged")
    changed = 0
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-5, atol=1e-6)
        changed += not torch.equal(tensor, weights(base)[name])
    assert changed == 14  # every projection of both layers


def test_dora_is_merged_by_peft(tiny_base: tuple[Path, Path], tmp_path: Path) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base, _ = tiny_base
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32),
        LoraConfig(r=4, use_dora=True, target_modules=["q_proj"], init_lora_weights=False),
    )
    model.save_pretrained(tmp_path / "adapter")
    merge(base, tmp_path / "adapter", tmp_path / "merged")
    expected = model.merge_and_unload().state_dict()
    for name, tensor in weights(tmp_path / "merged").items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-4, atol=1e-5)


def test_bf16_base_is_merged_in_fp32(tiny_base: tuple[Path, Path], tmp_path: Path) -> None:
    import shutil

    import torch
    from safetensors.torch import load_file, save_file

    base, adapter = tiny_base
    shutil.copytree(base, tmp_path / "base")
    halves = {name: tensor.bfloat16() for name, tensor in load_file(base / "model.safetensors").items()}
    save_file(halves, tmp_path / "base" / "model.safetensors", metadata={"format": "pt"})
    merge(tmp_path / "base", adapter, tmp_path / "merged")
    found = weights(tmp_path / "merged")
    assert all(tensor.dtype == torch.float32 for tensor in found.values())  # type: ignore[attr-defined]
    assert json.loads((tmp_path / "merged" / "config.json").read_text())["dtype"] == "float32"
    name = "model.layers.0.self_attn.q_proj.weight"
    assert not torch.equal(found[name], found[name].bfloat16().float())  # type: ignore[attr-defined]


def test_adapter_of_another_base_is_refused(tiny_base: tuple[Path, Path], tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    base, _ = tiny_base
    adapter = tiny_model.build_adapter(base, tmp_path / "adapter")
    tensors = load_file(adapter / "adapter_model.safetensors")
    save_file(
        {k.replace("layers.1.", "layers.9."): v for k, v in tensors.items()}, adapter / "adapter_model.safetensors"
    )
    with pytest.raises(BadInput, match=r"layers\.9.*does not have") as caught:
        merge(base, adapter, tmp_path / "merged")
    assert caught.value.error_code == "adapter_does_not_fit"
    assert not (tmp_path / "merged").exists()


def test_diverged_weights_are_refused(tiny_base: tuple[Path, Path], tmp_path: Path) -> None:
    adapter = tiny_model.build_adapter(tiny_base[0], tmp_path / "adapter", spread=float("inf"))
    with pytest.raises(BadInput, match="not finite") as caught:
        merge(tiny_base[0], adapter, tmp_path / "merged")
    assert caught.value.error_code == "training_diverged"


def test_unfinished_adapter_is_refused(tiny_base: tuple[Path, Path], tmp_path: Path) -> None:
    adapter = tiny_model.build_adapter(tiny_base[0], tmp_path / "adapter")
    (adapter / "adapter_model.safetensors").unlink()
    with pytest.raises(NotFound):
        merge(tiny_base[0], adapter, tmp_path / "merged")


def test_gguf_says_what_the_model_says(tiny: Tiny) -> None:
    metadata = gguf_file.read_metadata(tiny.f16)
    assert metadata["llama.rope.freq_base"] == 50000.0
    assert metadata["tokenizer.chat_template"] == own_template.COMMENT + tiny_model.TEMPLATE
    assert metadata["tokenizer.ggml.eos_token_id"] == 2
    assert gguf_file.read_seal(tiny.f16).quantization == "f16"


def test_k_quants_and_a_second_call(tiny: Tiny, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    first = export.to_gguf(tiny.hf_dir, tmp_path / "m.gguf", "q4_k_m", settings=settings)
    assert set(first) == {"convert", "quantize", "verify"}
    assert gguf_file.read_seal(tmp_path / "m.gguf").quantization == "q4_k_m"
    assert export.to_gguf(tiny.hf_dir, tmp_path / "m.gguf", "q4_k_m", settings=settings) == {}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.gguf", "m.gguf.json"]  # nothing is left lying


def test_wrong_template_is_not_sealed(tiny: Tiny, tmp_path: Path) -> None:
    wrong = with_other_template(tiny.f16, tmp_path / "wrong.gguf")
    with pytest.raises(ParityError, match="chat template"):
        export.verify(wrong, tiny.hf_dir)


def test_lost_rope_is_noticed(tiny: Tiny, tmp_path: Path) -> None:
    wrong = edited(tiny.f16, tmp_path / "wrong.gguf", b"llama.rope.freq_base", b"llama.rope.freq_bass")
    with pytest.raises(ParityError, match="rope theta is 10000, not 50000"):
        export.verify(wrong, tiny.hf_dir)


def test_only_our_own_exports_are_served(tiny: Tiny, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.gguf"
    foreign.write_bytes(tiny.f16.read_bytes())
    with pytest.raises(ParityError, match="own export"):
        gguf_file.read_seal(foreign)
    changed = copied(tiny.f16, tmp_path / "changed.gguf")
    content = bytearray(changed.read_bytes())
    content[-1] ^= 1
    changed.write_bytes(content)
    with pytest.raises(ParityError, match="changed after its export"):
        gguf_file.read_seal(changed)


@pytest.mark.parametrize("content", [b"", b"GGUF", b"GGUF\x03\0\0\0" + b"\xff" * 40, b"PK\x03\x04" + b"\0" * 60])
def test_files_that_are_no_gguf(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.gguf").write_bytes(content)
    with pytest.raises(BadInput, match="not a readable GGUF"):
        gguf_file.read_metadata(tmp_path / "x.gguf")


def test_unknown_quantization(tiny: Tiny, settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="q5_banana") as caught:
        export.to_gguf(tiny.hf_dir, tmp_path / "m.gguf", "q5_banana", settings=settings)
    assert "q4_k_m" in str(caught.value.hint)


def test_unknown_architecture_has_a_clear_error(
    tiny_base: tuple[Path, Path], tmp_path: Path, settings: Settings
) -> None:
    import shutil

    shutil.copytree(tiny_base[0], tmp_path / "base")
    config = json.loads((tmp_path / "base" / "config.json").read_text())
    config["architectures"] = ["TeapotForCausalLM"]
    (tmp_path / "base" / "config.json").write_text(json.dumps(config))
    with pytest.raises(BadInput) as caught:
        export.to_gguf(tmp_path / "base", tmp_path / "m.gguf", "f16", settings=settings)
    assert caught.value.error_code == "unsupported_architecture"
    assert not (tmp_path / "m.gguf").exists()


def test_own_checkout_comes_first_and_must_be_one(tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"convert_hf_to_gguf\.py"):
        export.to_gguf(tiny.hf_dir, tmp_path / "m.gguf", "f16", settings=Settings(home=tmp_path, llama_cpp=tmp_path))


def test_template_renders_as_transformers_renders(tiny: Tiny) -> None:
    from transformers import AutoTokenizer

    from tunesmith.serving.parity import CONVERSATIONS

    tokenizer = AutoTokenizer.from_pretrained(tiny.hf_dir)
    for messages in CONVERSATIONS.values():
        expected = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=False)
        assert HfFolder(tiny.hf_dir).token_ids(messages) == list(expected)
