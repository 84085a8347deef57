"""What several stages need to know about the stages before them."""

from pathlib import Path

from tunesmith.jobs import queue
from tunesmith.recipes.context import Context
from tunesmith.serving.hf_folder import control_tokens_of
from tunesmith.serving.targets.base import Candidate
from tunesmith.tasks.control import neutral_rows
from tunesmith.tasks.conversation import Row, read_rows


def job_folder(context: Context, kind: str) -> Path:
    """The folder of another stage of this run."""
    jobs = queue.jobs_of(context.workspace.database, context.run.id)
    return context.workspace.artifacts.job(next(job.id for job in jobs if job.kind == kind))


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
    """Rows to ask the exported model, with its control tokens put apart as in training and in serving."""
    dataset = context.workspace.artifacts.dataset(context.outcome("build")["version"])
    path = dataset / f"{split}.jsonl"
    exported = job_folder(context, "export") / context.outcome("export")["hf_dir"]
    return neutral_rows(read_rows(path), control_tokens_of(exported)) if path.exists() else []
