"""export: adapter → merged weights → GGUF."""

from typing import Any

from tunesmith.recipes.context import Context
from tunesmith.recipes.stages.shared import job_folder
from tunesmith.serving import base_models, export


def run(context: Context) -> dict[str, Any]:
    recipe = context.recipe
    trained = context.outcome("train")
    base = base_models.resolve(recipe.base_model, context.settings, revision=trained.get("base_revision"))
    adapter = job_folder(context, "train") / trained["adapter"]
    quantization = quantization_of(context)
    context.say(f"Merging the adapter and writing {quantization} GGUF.")
    exported = export.export(base, adapter, context.folder, quantization=quantization, settings=context.settings)
    return {
        "gguf": str(exported.gguf.relative_to(context.folder)),
        "hf_dir": str(exported.hf_dir.relative_to(context.folder)),
        "quantization": exported.quantization,
        "seconds": exported.seconds,
    }


def quantization_of(context: Context) -> str:
    wanted = context.recipe.publish.quantization
    return context.settings.quantization if wanted == "auto" else wanted
