"""One training from beginning to end with TRL: rows, model, plan, trainer, adapter. Runs in a child process only."""

import contextlib
import json
import math
import shutil
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback, set_seed
from trl import SFTConfig

from tunesmith.errors import BadInput
from tunesmith.store.files import put_in_place, write_json
from tunesmith.tasks.conversation import read_rows
from tunesmith.training import checkpoints
from tunesmith.training.backends.base import Interrupted, Report, ShouldStop, TrainResult, TrainSpec
from tunesmith.training.backends.trl_trainer import Trainer, Watch, collate, quiet
from tunesmith.training.calibrate import measure
from tunesmith.training.checks import check_labels
from tunesmith.training.directions import align
from tunesmith.training.loss import FastLoss, RowLoss, choose_loss
from tunesmith.training.order import order_of
from tunesmith.training.plan import DataShape, Hyperparameters, ModelShape, Plan, make_plan
from tunesmith.training.rows import Encoded, EncodedRows, encode_rows, end_tokens
from tunesmith.training.workers import Workers

TARGETS = r".*\.({layers})\.(self_attn\.(q|k|v|o)_proj|mlp\.(gate|up|down)_proj)"
VALIDATION_ROWS = 50
METRICS = "metrics.json"


def run(spec: TrainSpec, report: Report, should_stop: ShouldStop) -> TrainResult:
    """See `trainer.train`."""
    begin = time.monotonic()
    done = _finished(spec)
    if done is not None:
        return done
    quiet()
    set_seed(spec.seed)
    asked = Hyperparameters.parse(spec.hyperparameters)
    tokenizer = AutoTokenizer.from_pretrained(spec.base_model, trust_remote_code=False)
    if spec.tool_template is not None:
        tokenizer.chat_template = spec.tool_template.read_text(encoding="utf-8")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    base = AutoModelForCausalLM.from_pretrained(
        spec.base_model,
        dtype=torch.bfloat16 if device == "cuda" else torch.float32,
        trust_remote_code=False,
        use_safetensors=True,
    ).to(device)
    ends = end_tokens(tokenizer, base.generation_config)
    shape = ModelShape.read(spec.base_model)
    longest = min(shape.positions, spec.context_tokens or shape.positions)
    longest = longest if asked.max_length == "auto" else min(asked.max_length, longest)
    native = spec.tool_template is not None
    encoded = encode_rows(read_rows(spec.train_file), tokenizer, ends, longest, native=native)
    warnings = check_labels(encoded, ends, base.config.vocab_size, longest)

    plan_file, root = spec.output_dir / "plan.json", spec.output_dir / "checkpoints"
    plan = Plan.load(plan_file)
    if plan is None:
        plan, model, loss = _plan(spec, asked, base, shape, encoded, begin)
        plan.reasons += warnings
        plan.save(plan_file)
    else:
        model = _adapted(base, shape, plan.adapted_layers, plan.lora_rank, plan.lora_alpha, spec.seed)
        loss = choose_loss(model, shape.layers - plan.adapted_layers, encoded.rows[0], plan.precision)
    resume = checkpoints.newest_valid(root)
    before = checkpoints.manifest(resume) if resume else {}
    if resume is None:
        align(model, encoded.rows, spec.seed)

    watch = Watch(plan, plan_file, len(encoded.rows), spec.time_budget_s, before, report, should_stop, begin)
    workers = Workers(loss, model)
    trainer = _trainer(spec, plan, model, workers, tokenizer, encoded, ends, root, watch)
    trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    if watch.stopped:
        raise Interrupted(
            f"Stopped after step {trainer.state.global_step} of {plan.final_steps}; a checkpoint is saved.",
            hint="Resume the job to go on from there.",
        )
    return _finish(spec, plan, trainer, tokenizer, ends, root, longest)


def _adapted(base: Any, shape: ModelShape, layers: int, rank: int, alpha: int, seed: int) -> Any:
    """The base with fresh adapters on its top layers; the same seed gives the same adapters."""
    torch.manual_seed(seed)
    top = range(shape.layers - layers, shape.layers)
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=0.0,
        target_modules=TARGETS.format(layers="|".join(map(str, top))),
        task_type="CAUSAL_LM",
    )
    try:
        return get_peft_model(base, config)
    except ValueError as error:
        raise BadInput(
            f"This base model has no layers that adapters fit on: {error}",
            code="base_model_not_supported",
            hint="Use a Llama-, Qwen-, Mistral- or Gemma-like model.",
            param="model",
        ) from error


def _plan(
    spec: TrainSpec, asked: Hyperparameters, base: Any, shape: ModelShape, encoded: EncodedRows, begin: float
) -> tuple[Plan, Any, RowLoss]:
    """Measure with the middle number of layers, plan, and build the model that the plan asks for."""
    data = DataShape(
        rows=len(encoded.rows),
        tokens=encoded.tokens,
        labels=encoded.labels,
        longest=max(len(row.ids) for row in encoded.rows),
    )
    trial = asked.adapted_layers if asked.adapted_layers != "auto" else max(1, round(shape.layers / 4))
    trial = min(trial, shape.layers)
    model = _adapted(base, shape, trial, 16, 32, spec.seed)
    loss = choose_loss(model, shape.layers - trial, encoded.rows[0])
    speed = measure(Workers(loss, model), encoded.rows, shape, trial)
    precision = str(loss.decoder.compute).removeprefix("torch.") if isinstance(loss, FastLoss) else "float32"
    plan = make_plan(
        data,
        shape,
        asked,
        budget_s=spec.time_budget_s,
        speed=speed,
        precision=precision,
        seed=spec.seed,
        spent_s=time.monotonic() - begin,
    )
    plan.reasons.append(f"The loss is computed by the {loss.kind} forward.")
    plain = model.unload()
    model = _adapted(plain, shape, plan.adapted_layers, plan.lora_rank, plan.lora_alpha, spec.seed)
    return plan, model, choose_loss(model, shape.layers - plan.adapted_layers, encoded.rows[0], precision)


def _trainer(
    spec: TrainSpec,
    plan: Plan,
    model: Any,
    workers: Workers,
    tokenizer: Any,
    encoded: EncodedRows,
    ends: set[int],
    root: Path,
    watch: Watch,
) -> Trainer:
    samples = plan.most_steps * plan.batch_size
    if not plan.steps_are_open:
        samples = min(samples, math.ceil(round(len(encoded.rows) * plan.epochs, 6)))
    order = order_of(len(encoded.rows), samples, spec.seed)
    config = SFTConfig(
        output_dir=str(root),
        max_steps=plan.most_steps,
        per_device_train_batch_size=plan.batch_size,
        gradient_accumulation_steps=1,
        learning_rate=plan.learning_rate,
        weight_decay=0.0,
        max_grad_norm=1.0,
        optim="adamw_torch",
        gradient_checkpointing=False,
        bf16=False,
        fp16=False,
        logging_strategy="no",
        save_strategy="no",
        save_total_limit=None,
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        dataloader_num_workers=0,
        dataloader_pin_memory=False,
        seed=spec.seed,
        use_cpu=not torch.cuda.is_available(),
    )
    dataset = Dataset.from_dict({"row": order})
    trainer = Trainer(
        plan=plan,
        workers=workers,
        rows=encoded.rows,
        model=model,
        args=config,
        train_dataset=dataset,
        processing_class=tokenizer,
        data_collator=collate,
        callbacks=[watch],
    )
    trainer.remove_callback(PrinterCallback)
    watch.trainer = trainer
    return trainer


def _finish(
    spec: TrainSpec,
    plan: Plan,
    trainer: Trainer,
    tokenizer: Any,
    ends: set[int],
    root: Path,
    longest: int,
) -> TrainResult:
    validation = _validate(spec, trainer.workers, tokenizer, ends, longest)
    partial, final = spec.output_dir / "adapter.partial", spec.output_dir / "adapter"
    trainer.model.save_pretrained(partial, safe_serialization=True)
    (partial / "README.md").unlink(missing_ok=True)
    if final.exists():
        shutil.rmtree(final)
    put_in_place(partial, final)
    last = trainer.step_losses[-max(1, plan.final_steps // 10) :]
    result = TrainResult(
        adapter_dir=final,
        steps=plan.final_steps,
        train_loss=sum(last) / len(last),
        validation_loss=validation,
        trained_tokens=trainer.trained_tokens,
        checkpoints=checkpoints.valid_checkpoints(root),
    )
    metrics = {
        "steps": result.steps,
        "train_loss": result.train_loss,
        "validation_loss": validation,
        "trained_tokens": result.trained_tokens,
        "losses": trainer.step_losses,
    }
    write_json(spec.output_dir / METRICS, metrics, indent=1)
    return result


def _finished(spec: TrainSpec) -> TrainResult | None:
    """The result of a training that had ended: its metrics are written last."""
    path = spec.output_dir / METRICS
    if not path.exists():
        return None
    data = json.loads(path.read_text(encoding="utf-8"))
    return TrainResult(
        adapter_dir=spec.output_dir / "adapter",
        steps=data["steps"],
        train_loss=data["train_loss"],
        validation_loss=data["validation_loss"],
        trained_tokens=data["trained_tokens"],
        checkpoints=checkpoints.valid_checkpoints(spec.output_dir / "checkpoints"),
    )


def _validate(spec: TrainSpec, workers: Workers, tokenizer: Any, ends: set[int], longest: int) -> float | None:
    """Mean loss per learnt token on the first validation rows; None without any."""
    if spec.validation_file is None or not spec.validation_file.exists():
        return None
    rows: list[Encoded] = []
    with contextlib.suppress(BadInput):
        native = spec.tool_template is not None
        rows = encode_rows(read_rows(spec.validation_file), tokenizer, ends, longest, native=native).rows
    if not rows:
        return None
    return workers.mean_loss(rows[:VALIDATION_ROWS])
