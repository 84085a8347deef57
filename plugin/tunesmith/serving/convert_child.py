"""Child process: runs llama.cpp's own converter.

`python -m … <llama.cpp folder> <base model> <hf folder> <gguf> <outtype>`. It loads everything slow first (3 s), and
only then waits for the merged folder, which appears whole by a rename: so it can be started before the merge.
"""

import contextlib
import importlib.util
import os
import runpy
import sys
import time
import types
from pathlib import Path

from tunesmith.jobs.process import exit_when_parent_dies
from tunesmith.serving import own_template
from tunesmith.serving.hf_folder import HfFolder


def load_ahead(root: Path, base: Path) -> None:
    """Import what the converter will import. Nothing here is needed for a right result, only for an early one."""
    sys.path.insert(0, str(root))
    if "NO_LOCAL_GGUF" not in os.environ:
        sys.path.insert(1, str(root / "gguf-py"))  # as the converter does: its own gguf, not an installed one
    with contextlib.suppress(Exception):
        from transformers import AutoConfig, AutoTokenizer

        AutoConfig.from_pretrained(base, local_files_only=True)
        assert AutoTokenizer is not None


def stand_in_for_sentencepiece() -> None:
    """The converter imports sentencepiece before it looks whether there is a tokenizer.model to read with it.

    Where it is missing, a stand-in lets tokenizer.json models pass; one that really needs it fails with its name.
    """
    if importlib.util.find_spec("sentencepiece") is None:

        class SentencePieceProcessor:
            def __init__(self) -> None:
                raise SystemExit("This tokenizer is not supported without sentencepiece: pip install sentencepiece")

        module = types.ModuleType("sentencepiece")
        module.SentencePieceProcessor = SentencePieceProcessor  # type: ignore[attr-defined]
        module.__spec__ = importlib.util.spec_from_loader("sentencepiece", loader=None)
        sys.modules["sentencepiece"] = module


def mark_template(hf_dir: Path) -> None:
    """Have the converter write the model's template as a GGUF carries it."""
    import gguf

    plain, written = HfFolder(hf_dir), gguf.GGUFWriter.add_string

    def add_string(writer: gguf.GGUFWriter, key: str, value: str) -> None:
        ours = key == "tokenizer.chat_template" and value == plain.template
        written(writer, key, own_template.carried(plain) if ours else value)

    gguf.GGUFWriter.add_string = add_string


def main(root: Path, base: Path, hf_dir: Path, out: Path, outtype: str) -> None:
    load_ahead(root, base)
    stand_in_for_sentencepiece()
    while not hf_dir.is_dir():
        time.sleep(0.01)  # the parent ends this process when its merge fails
    mark_template(hf_dir)
    sys.argv = ["convert_hf_to_gguf.py", str(hf_dir), "--outtype", outtype, "--outfile", str(out)]
    runpy.run_path(str(root / "convert_hf_to_gguf.py"), run_name="__main__")


if __name__ == "__main__":
    exit_when_parent_dies()
    root, base, hf_dir, out = (Path(argument) for argument in sys.argv[1:5])
    main(root, base, hf_dir, out, sys.argv[5])
