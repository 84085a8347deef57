"""From the last training step to the first token of the live route, beside doing the same with the usual tools.

Both sides merge the same random adapter, convert to q8_0 with llama.cpp's converter and answer one question from the
same embedded server. Ours also checks the GGUF's metadata and proves parity. Held-out evaluation is not part of it.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

from tunesmith.evaluation.answers import complete
from tunesmith.serving import base_models, export
from tunesmith.serving.targets.base import Candidate
from tunesmith.serving.targets.llamacpp import LlamaCppTarget
from tunesmith.settings import Settings

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from tiny import build_adapter

PEFT_MERGE = """
import sys
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
base, adapter, out = sys.argv[1:]
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter).merge_and_unload()
model.save_pretrained(out)
AutoTokenizer.from_pretrained(base).save_pretrained(out)
"""


def ours(settings: Settings, base: Path, adapter: Path, out: Path) -> dict[str, float]:
    begun = time.monotonic()
    exported = export.export(base, adapter, out, quantization="q8_0", settings=settings)
    after_export = time.monotonic()
    target = LlamaCppTarget(settings)
    deployment = target.deploy(_candidate(exported.gguf, exported.hf_dir))
    target.parity(deployment).require()
    after_parity = time.monotonic()
    _first_token(target, deployment)
    ended = time.monotonic()
    return {
        "export": after_export - begun,
        "parity": after_parity - after_export,
        "first token": ended - after_parity,
        "total": ended - begun,
    }


def usual(settings: Settings, base: Path, adapter: Path, out: Path) -> dict[str, float]:
    begun = time.monotonic()
    merged, gguf = out / "merged", out / "model.gguf"
    quiet = {"check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([sys.executable, "-c", PEFT_MERGE, str(base), str(adapter), str(merged)], **quiet)
    after_merge = time.monotonic()
    converter = base_models.converter_root(settings) / "convert_hf_to_gguf.py"
    argv = [sys.executable, str(converter), str(merged), "--outtype", "q8_0", "--outfile", str(gguf)]
    subprocess.run(argv, **quiet)
    after_convert = time.monotonic()
    from tunesmith.serving.gguf_file import seal

    seal(gguf)  # what our target asks of a file; a few hundredths of a second
    target = LlamaCppTarget(settings)
    _first_token(target, target.deploy(_candidate(gguf, merged)))
    ended = time.monotonic()
    return {
        "merge": after_merge - begun,
        "convert": after_convert - after_merge,
        "first token": ended - after_convert,
        "total": ended - begun,
    }


def _candidate(gguf: Path, hf_dir: Path) -> Candidate:
    return Candidate.of_export(name="bench", version="run-1", gguf=gguf, hf_dir=hf_dir, quantization="q8_0")


def _first_token(target: LlamaCppTarget, deployment: object) -> None:
    with target.serve(deployment) as endpoint, httpx.Client(timeout=60) as client:  # type: ignore[arg-type]
        body = {"model": endpoint.model, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1}
        complete(client, endpoint, body)


def main(rounds: int = 3) -> None:
    settings = Settings()
    base = base_models.resolve("smollm2-135m-instruct", settings)
    print(f"\nLast training step to the first token of the live route, SmolLM2-135M q8_0 (medians of {rounds})")
    with tempfile.TemporaryDirectory() as place:
        adapter = build_adapter(base, Path(place) / "adapter", rank=16, spread=0.001)
        for name, side in (("tunesmith", ours), ("peft + converter", usual)):
            measured = []
            for number in range(rounds):
                with tempfile.TemporaryDirectory(dir=place, prefix=f"{number}-") as out:
                    measured.append(side(settings, base, adapter, Path(out)))
            medians = {step: statistics.median(m[step] for m in measured) for step in measured[0]}
            print(f"  {name:18}" + "".join(f"{step} {seconds:.1f} s   " for step, seconds in medians.items()))


if __name__ == "__main__":
    main()
