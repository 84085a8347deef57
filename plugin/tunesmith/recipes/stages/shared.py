"""What several stages need to know about the stages before them."""

from pathlib import Path

from tunesmith.recipes.context import Context
from tunesmith.serving.targets.base import Candidate
from tunesmith.tasks.conversation import Row, read_rows


def job_folder(context: Context, kind: str) -> Path:
    """The folder of another stage of this run."""
    return context.workspace.artifacts.job(next(job.id for job in context.jobs() if job.kind == kind))


def candidate(context: Context) -> Candidate:
    """The exported model as it is handed to a serving target."""
    exported, folder = context.outcome("export"), job_folder(context, "export")
    return Candidate.of_export(
        name=context.recipe.model_name,
        version=context.version,
        gguf=folder / exported["gguf"],
        hf_dir=folder / exported["hf_dir"],
        quantization=exported["quantization"],
    )


def rows_of(context: Context, split: str) -> list[Row]:
    dataset = context.workspace.artifacts.dataset(context.outcome("build")["version"])
    path = dataset / f"{split}.jsonl"
    return list(read_rows(path)) if path.exists() else []
