"""k-quants: each tensor gets the type that llama.cpp's `llama-quantize` gives it."""

import shutil
import subprocess
from pathlib import Path

import pytest

from conftest import Tiny
from tunesmith.serving import export, gguf_file
from tunesmith.serving.quantize_types import Mixture
from tunesmith.settings import Settings

LAYERS = 11
NAMES = [
    "output.weight",
    "token_embd.weight",
    *(f"blk.{n}.{part}.weight" for n in range(LAYERS) for part in ("attn_k", "attn_v", "ffn_down", "ffn_up")),
]


def types(kind: str, names: list[str] = NAMES, *, width: int = 256, experts: int = 0) -> dict[str, str | None]:
    metadata = {"general.architecture": "llama", "llama.block_count": LAYERS, "llama.expert_count": experts}
    mixture = Mixture.of(kind, metadata, names)
    return {name: mixture.type_of(name, width, 2) for name in names}


def layers(found: dict[str, str | None], part: str, kind: str) -> list[int]:
    return [n for n in range(LAYERS) if found[f"blk.{n}.{part}.weight"] == kind]


@pytest.mark.parametrize(
    ("kind", "usual", "more", "values", "down"),
    [
        ("q4_k_m", "Q4_K", "Q6_K", [0, 3, 6, 9, 10], [0, 3, 6, 9, 10]),
        ("q4_k_s", "Q4_K", "Q5_K", [0, 1, 2, 3], [0]),
        ("q5_k_m", "Q5_K", "Q6_K", [0, 3, 6, 9, 10], [0, 3, 6, 9, 10]),
        ("q6_k", "Q6_K", "Q8_0", [], []),
    ],
)
def test_types_are_llama_quantizes(kind: str, usual: str, more: str, values: list[int], down: list[int]) -> None:
    """Expected values: read from files that `llama-quantize` wrote."""
    found = types(kind)
    assert (found["output.weight"], found["token_embd.weight"]) == ("Q6_K", usual)
    assert layers(found, "attn_v", more) == values
    assert layers(found, "ffn_down", more) == down
    assert layers(found, "attn_k", usual) == layers(found, "ffn_up", usual) == list(range(LAYERS))


def test_tied_embeddings_are_the_output() -> None:
    assert types("q4_k_m", NAMES[1:])["token_embd.weight"] == "Q6_K"


def test_rows_that_are_no_multiple_of_a_block_fall_back() -> None:
    assert types("q4_k_m", width=576)["blk.1.attn_k.weight"] == "Q5_0"
    assert types("q4_k_m", width=576)["output.weight"] == "Q8_0"
    assert types("q4_k_m", width=100)["blk.1.attn_k.weight"] == "F16"


def test_eight_experts_keep_their_attention() -> None:
    found = types("q4_k_m", experts=8)
    assert layers(found, "attn_v", "Q8_0") == layers(found, "attn_k", "Q8_0") == list(range(LAYERS))


def test_norms_routers_and_vectors_are_kept() -> None:
    mixture = Mixture.of("q4_k_m", {"general.architecture": "llama", "llama.block_count": 1}, NAMES)
    for name in ("blk.0.attn_norm.weight", "blk.0.ffn_gate_inp.weight", "blk.0.attn_q.bias"):
        assert mixture.type_of(name, 256, 2) is None
    assert mixture.type_of("blk.0.attn_q.weight", 256, 1) is None


def test_the_file_says_what_it_is(tiny: Tiny, tmp_path: Path) -> None:
    """Everything else of the header stays as the converter wrote it."""
    export.to_gguf(tiny.hf_dir, tmp_path / "m.gguf", "q4_k_m", settings=Settings(home=tmp_path))
    before, after = gguf_file.read_metadata(tiny.f16), gguf_file.read_metadata(tmp_path / "m.gguf")
    changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    assert changed <= {"general.file_type", "general.quantization_version"}
    assert after["general.file_type"] == 15


@pytest.mark.skipif(shutil.which("llama-quantize") is None, reason="llama-quantize is not on PATH")
@pytest.mark.parametrize("kind", ["q4_k_m", "q4_k_s", "q5_k_m", "q6_k"])
def test_byte_for_byte(tiny: Tiny, tmp_path: Path, kind: str) -> None:
    from tunesmith.serving import quantize_child

    quantize_child.main(str(tiny.f16), str(tmp_path / "ours.gguf"), kind)
    subprocess.run(["llama-quantize", str(tiny.f16), str(tmp_path / "theirs.gguf"), kind.upper()], check=True)
    assert (tmp_path / "ours.gguf").read_bytes() == (tmp_path / "theirs.gguf").read_bytes()
