"""The base model on the same rows, zero-shot and few-shot: what tuning must be better than.

Measured once per base model, quantisation, task and rows, and kept in the cache.
"""

import hashlib
import json
from collections.abc import Callable
from typing import Any, TypeVar

from tunesmith.evaluation import forgetting
from tunesmith.evaluation.answers import Examination, examine
from tunesmith.recipes.context import Context, target_for
from tunesmith.recipes.stages.export import quantization_of
from tunesmith.recipes.stages.shared import rows_of
from tunesmith.serving import base_models, export
from tunesmith.serving.targets.base import Candidate, Endpoint, Target
from tunesmith.store.files import read_json, write_json
from tunesmith.tasks.base import Task
from tunesmith.tasks.conversation import Row, row_to_json

Measured = TypeVar("Measured")


def measure(context: Context, task: Task, rows: list[Row]) -> dict[str, Any]:
    """`base_zero_shot` and `base_few_shot`, each as `Metrics.as_dict()`."""
    shots = rows_of(context, "train")[: context.recipe.evaluation.shots]

    def ask(target: Target, endpoint: Endpoint) -> dict[str, Any]:
        measured = {}
        for name, examples in (("base_zero_shot", []), ("base_few_shot", shots)):
            examination = Examination(target, endpoint, task, constrained=False, shots=examples)
            measured[name] = examine(examination, rows, context.folder / f"{name}.jsonl", context.say).as_dict()
        return measured

    return _once(context, [task.name, task.spec, *map(row_to_json, (*rows, *shots))], ask)


def general(context: Context, rows: list[Row]) -> list[dict[str, Any]]:
    """The base's answers to general rows, see `forgetting.answers`."""
    keep = context.folder / "base_general.jsonl"
    return _once(
        context, ["general", *map(row_to_json, rows)], lambda t, e: forgetting.answers(t, e, rows, keep, context.say)
    )


def _once(context: Context, asked: list[Any], ask: Callable[[Target, Endpoint], Measured]) -> Measured:
    """What `ask` measures on the base, from the cache when the same was asked of it before."""
    parts = json.dumps([_base(context), quantization_of(context), *asked], sort_keys=True)
    key = hashlib.sha256(parts.encode()).hexdigest()[:24]
    place = context.workspace.artifacts.cache("baselines", f"{key}.json")
    if place.exists():
        context.say("The base model was measured on these rows before.")
        known: Measured = read_json(place)
        return known
    target = target_for(context.settings, "llamacpp")
    with target.serve(target.deploy(base_candidate(context))) as endpoint:
        measured = ask(target, endpoint)
    write_json(place, measured)
    return measured


def base_candidate(context: Context) -> Candidate:
    """The untuned base, exported like the tuned model."""
    quantization = quantization_of(context)
    hf_dir = base_models.resolve(context.recipe.base_model, context.settings)
    slug = _base(context).replace("/", "--")
    gguf = context.workspace.artifacts.cache("base", f"{slug}-{quantization}.gguf")
    if not gguf.exists():
        export.to_gguf(hf_dir, gguf, quantization, settings=context.settings)
    return Candidate.of_export(name="base", version=slug, gguf=gguf, hf_dir=hf_dir, quantization=quantization)


def _base(context: Context) -> str:
    """The base's name, with its revision when it has one."""
    revision = base_models.revision_of(context.recipe.base_model, context.settings)
    return context.recipe.base_model + (f"@{revision[:12]}" if revision else "")
