"""Child process: the packaged GGUF → a Hugging Face folder in fp32. `python -m … <gguf> <folder>`."""

import shutil
import sys
from pathlib import Path

from tunesmith.jobs.process import exit_when_parent_dies
from tunesmith.store.files import put_in_place


def main(gguf: Path, out: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent,
        gguf_file=gguf.name,
        dtype=torch.float32,
        quantization_config=GgufConfig(dequantize=True),  # without it the model cannot be saved
    )
    model.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    shutil.rmtree(out, ignore_errors=True)
    put_in_place(partial, out)


if __name__ == "__main__":
    exit_when_parent_dies()
    main(Path(sys.argv[1]), Path(sys.argv[2]))
