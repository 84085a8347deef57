"""Training speed and accuracy of Tunesmith beside plain TRL with its own defaults, on the same rows, in one call.

Prints tokens/s, CPU seconds per 1,000 tokens and peak memory of both, medians of the steps of each; with `--until 95`
also the time each needs until that share of the answers' fields is predicted exactly on rows kept apart (teacher
forced: each field of the answer, given the right text before it; what was trained by then is kept every minute and
measured at the end). Each side runs in a process of its own and is cut off after `--seconds`.

    python scripts/bench_training.py BASE_MODEL ROWS.jsonl --seconds 120
    python scripts/bench_training.py BASE_MODEL ROWS.jsonl --seconds 600 --until 95
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import machine

HELD_OUT = 40
LOOK_EVERY = 60.0


class TimeIsUp(Exception):
    """Ends a side when its seconds are spent."""


def split(rows_file: Path) -> tuple[list[Any], list[Any]]:
    from tunesmith.tasks.conversation import read_rows

    rows = list(read_rows(rows_file))
    held = min(HELD_OUT, len(rows) // 5)
    return rows[held:], rows[:held]


def field_spans(tokenizer: Any, answer: str) -> list[tuple[int, int]]:
    """Character spans of the values of a flat JSON answer; the whole answer when it is none."""
    try:
        values = json.loads(answer).values()
    except (ValueError, AttributeError):
        return [(0, len(answer))]
    spans, place = [], 0
    for value in values:
        text = json.dumps(value, ensure_ascii=answer.isascii())
        place = answer.find(text, place)
        if place < 0:
            return [(0, len(answer))]
        spans.append((place, place + len(text)))
        place += len(text)
    return spans


def accuracy(model: Any, tokenizer: Any, rows: list[Any]) -> float:
    """Share of fields whose every token is the model's first choice, per cent."""
    import torch

    right = total = 0
    for row in rows:
        prompt = tokenizer.apply_chat_template(row.prompt, tokenize=False, add_generation_prompt=True)
        head = tokenizer(prompt, add_special_tokens=False).input_ids
        tail = tokenizer(row.answer, add_special_tokens=False, return_offsets_mapping=True)
        ids = torch.tensor([head + tail.input_ids])
        with torch.no_grad():
            body = model.get_base_model()
            hidden = body.model(input_ids=ids).last_hidden_state[0, len(head) - 1 : -1]
            hit = (body.lm_head(hidden).argmax(-1) == ids[0, len(head) :]).tolist()
        for begin, end in field_spans(tokenizer, row.answer):
            inside = [ok for ok, (a, b) in zip(hit, tail.offset_mapping, strict=True) if b > begin and a < end]
            right, total = right + all(inside), total + 1
    return 100 * right / total


class Meter:
    """Times steps, and keeps what is trained every so often; its accuracy is measured when the time is up."""

    def __init__(self, seconds: float, until: float | None, held: list[Any], tokenizer: Any):
        self.seconds, self.until, self.held, self.tokenizer = seconds, until, held, tokenizer
        self.begin = self.last = time.monotonic()
        self.cpu_begin = time.process_time()
        self.next_look = LOOK_EVERY
        self.tokens, self.steps = 0, []
        self.looks: list[tuple[float, dict[str, Any]]] = []
        self.model: Any = None

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.begin

    def step(self, tokens: int, model: Any) -> None:
        now = time.monotonic()
        self.steps.append(tokens / (now - self.last))
        self.tokens += tokens
        self.model, self.last = model, now
        if self.elapsed > self.seconds:
            raise TimeIsUp
        if self.until is not None and self.elapsed >= self.next_look:
            self.look()
            self.next_look += LOOK_EVERY

    def look(self) -> None:
        trained = {name: p.detach().clone() for name, p in self.model.named_parameters() if p.requires_grad}
        self.looks.append((self.elapsed, trained))

    def curve(self) -> list[tuple[float, float]]:
        """(seconds, per cent of the fields) of every look."""
        import torch

        torch.set_num_threads(os.cpu_count() or 1)
        places, found = dict(self.model.named_parameters()), []
        for at, trained in self.looks:
            for name, values in trained.items():
                places[name].data.copy_(values)
            found.append((at, accuracy(self.model, self.tokenizer, self.held)))
        return found

    def result(self) -> dict[str, Any]:
        """Once the training has ended, by itself or because the time was up."""
        from tunesmith.training.backends.trl_trainer import peak_memory

        seconds, cpu = self.elapsed, time.process_time() - self.cpu_begin
        peak, curve = peak_memory(), list[tuple[float, float]]()
        if self.until is not None:
            self.look()
            curve = self.curve()
        return {
            "tokens_per_second": statistics.median(self.steps) if self.steps else 0.0,
            "cpu_seconds_per_1000_tokens": 1000 * cpu / max(1, self.tokens),
            "tokens": self.tokens,
            "seconds": seconds,
            "peak_mb": peak / 2**20,
            "curve": curve,
            "reached_after_s": next((at for at, value in curve if value >= (self.until or 101)), None),
        }


def ours(base: Path, rows_file: Path, seconds: float, until: float | None, pipe: Any) -> None:
    from transformers import AutoTokenizer

    from tunesmith.tasks.conversation import write_rows
    from tunesmith.training.backends import trl_run, trl_trainer
    from tunesmith.training.trainer import TrainSpec, train

    rows, held = split(rows_file)
    meter = Meter(seconds, until, held, AutoTokenizer.from_pretrained(base))
    plain = trl_trainer.Trainer.training_step

    def timed(self: Any, model: Any, inputs: Any, *rest: Any) -> Any:
        if not meter.tokens:
            meter.last = time.monotonic()
        before = self.trained_tokens
        loss = plain(self, model, inputs, *rest)
        meter.step(self.trained_tokens - before, model)
        return loss

    trl_run.Trainer.training_step = timed  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as folder:
        write_rows(Path(folder) / "train.jsonl", rows)
        spec = TrainSpec(base, Path(folder) / "train.jsonl", Path(folder) / "out", time_budget_s=seconds)
        with contextlib.suppress(TimeIsUp):
            train(spec, lambda _: None, lambda: False)
    pipe.send(meter.result())


def plain_trl(base: Path, rows_file: Path, seconds: float, until: float | None, pipe: Any) -> None:
    """What TRL does when only model, data and LoRA are named."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    rows, held = split(rows_file)
    tokenizer = AutoTokenizer.from_pretrained(base)
    meter = Meter(seconds, until, held, tokenizer)

    class Step(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            meter.last = time.monotonic()

        def on_step_end(self, *_: Any, **more: Any) -> None:
            meter.step(seen.pop(), more["model"])

    seen: list[int] = []

    class Counting(SFTTrainer):  # type: ignore[misc]
        def training_step(self, model: Any, inputs: Any, *rest: Any) -> Any:
            seen.append(int(inputs["attention_mask"].sum()))
            return super().training_step(model, inputs, *rest)

    cpu = not torch.cuda.is_available()  # its bf16 default refuses to start on a CPU unless told that it is one
    with tempfile.TemporaryDirectory() as folder:
        trainer = Counting(
            model=str(base),
            args=SFTConfig(output_dir=folder, report_to=[], disable_tqdm=True, save_strategy="no", use_cpu=cpu),
            train_dataset=Dataset.from_list([{"prompt": r.prompt, "completion": [r.messages[-1]]} for r in rows]),
            peft_config=LoraConfig(task_type="CAUSAL_LM"),
            callbacks=[Step()],
        )
        with contextlib.suppress(TimeIsUp):
            trainer.train()
    pipe.send(meter.result())


def side(work: Any, *args: Any) -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=work, args=(*args, there))
    process.start()
    there.close()
    try:
        result: dict[str, Any] = here.recv()
    except EOFError:
        raise SystemExit(f"{work.__name__} ended without a result (see above).") from None
    process.join()
    return result


def main(argv: list[str] | None = None) -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("base_model", type=Path)
    arguments.add_argument("rows", type=Path, help="ShareGPT JSONL")
    arguments.add_argument("--seconds", type=float, default=120.0, help="most time of each side")
    arguments.add_argument("--until", type=float, help="per cent of fields right on rows kept apart")
    args = arguments.parse_args(argv)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # the same for both sides
    results = {
        "tunesmith": side(ours, args.base_model, args.rows, args.seconds, args.until),
        "plain trl": side(plain_trl, args.base_model, args.rows, args.seconds, args.until),
    }
    for name, result in results.items():
        print(
            f"{name:10s} {result['tokens_per_second']:8.0f} tokens/s (median step)  "
            f"{result['cpu_seconds_per_1000_tokens']:6.2f} CPU-s/1000 tokens  {result['peak_mb']:7.0f} MB peak  "
            f"{result['tokens']} tokens in {result['seconds']:.0f} s"
        )
        for at, value in result["curve"]:
            print(f"    after {at:5.0f} s: {value:5.1f} % of the fields")
    mine, theirs = results["tunesmith"], results["plain trl"]
    print(
        f"ratio: {mine['tokens_per_second'] / theirs['tokens_per_second']:.1f} x tokens/s, "
        f"{theirs['cpu_seconds_per_1000_tokens'] / mine['cpu_seconds_per_1000_tokens']:.1f} x less CPU per token"
    )
    if args.until is not None:
        for name, result in results.items():
            reached = result["reached_after_s"]
            print(f"{name}: {args.until:g} % " + ("not reached" if reached is None else f"after {reached:.0f} s"))
        if theirs["curve"]:
            at, best = max(theirs["curve"], key=lambda point: point[1])
            first = next((t for t, value in mine["curve"] if value >= best), None)
            print(
                f"the {best:.1f} % that plain trl had after {at:.0f} s: tunesmith "
                + ("not reached" if first is None else f"after {first:.0f} s at the latest, {at / first:.1f} x sooner")
            )


if __name__ == "__main__":
    print(machine.describe())
    main()
