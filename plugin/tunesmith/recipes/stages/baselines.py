"""The base model on the same rows, zero-shot and few-shot: what tuning must be better than.

Measured once per base model, quantisation, task and rows, and kept in the cache.
"""

import hashlib
import json
from typing import Any

from tunesmith.evaluation.answers import Examination, examine
from tunesmith.recipes.context import Context, target_for
from tunesmith.recipes.stages.export import quantization_of
from tunesmith.recipes.stages.shared import rows_of
from tunesmith.serving import base_models, export
from tunesmith.serving.targets.base import Candidate
from tunesmith.store.artifacts import read_json, write_json
from tunesmith.tasks.base import Task
from tunesmith.tasks.conversation import Row, row_to_json


def measure(context: Context, task: Task, rows: list[Row]) -> dict[str, Any]:
    """`base_zero_shot` and `base_few_shot`, each as `Metrics.as_dict()`."""
    shots = rows_of(context, "train")[: context.recipe.evaluation.shots]
    place = context.workspace.artifacts.cache("baselines", f"{_key(context, task, rows, shots)}.json")
    if place.exists():
        context.say("The base model was measured on these rows before.")
        measured: dict[str, Any] = read_json(place)
        return measured
    target = target_for(context.settings, "llamacpp")
    deployment = target.deploy(base_candidate(context))
    with target.serve(deployment) as endpoint:
        measured = {}
        for name, examples in (("base_zero_shot", []), ("base_few_shot", shots)):
            examination = Examination(target, endpoint, task, constrained=False, shots=examples)
            measured[name] = examine(examination, rows, context.folder / f"{name}.jsonl", context.say).as_dict()
    write_json(place, measured)
    return measured


def base_candidate(context: Context) -> Candidate:
    """The untuned base, exported like the tuned model."""
    quantization = quantization_of(context)
    hf_dir = base_models.resolve(context.recipe.base_model, context.settings)
    slug = context.recipe.base_model.replace("/", "--")
    gguf = context.workspace.artifacts.cache("base", f"{slug}-{quantization}.gguf")
    if not gguf.exists():
        export.to_gguf(hf_dir, gguf, quantization, settings=context.settings)
    return Candidate.of_export(name="base", version=slug, gguf=gguf, hf_dir=hf_dir, quantization=quantization)


def _key(context: Context, task: Task, rows: list[Row], shots: list[Row]) -> str:
    content = [row_to_json(row) for row in (*rows, *shots)]
    parts = [context.recipe.base_model, quantization_of(context), task.name, task.spec, content]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]
