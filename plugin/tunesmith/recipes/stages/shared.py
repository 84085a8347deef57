"""What several stages need to know about the stages before them."""

from collections.abc import Iterable
from pathlib import Path

from tunesmith.jobs import queue
from tunesmith.recipes.context import Context
from tunesmith.serving.hf_folder import HfFolder
from tunesmith.serving.targets.base import Candidate
from tunesmith.tasks.conversation import Row, read_rows

# An answer may be twice as long as the longest that was learnt, and has this many tokens more: a document that is
# longer than those before, and the marks that a template writes around an answer.
_ROOM = 64


def job_folder(context: Context, kind: str) -> Path:
    """The folder of another stage of this run."""
    jobs = queue.jobs_of(context.workspace.database, context.run.id)
    return context.workspace.artifacts.job(next(job.id for job in jobs if job.kind == kind))


def candidate(context: Context) -> Candidate:
    """The exported model as it is handed to a serving target."""
    exported, folder = context.outcome("export"), job_folder(context, "export")
    hf_dir = folder / exported["hf_dir"]
    return Candidate.of_export(
        name=context.recipe.model_name,
        version=context.version,
        gguf=folder / exported["gguf"],
        hf_dir=hf_dir,
        quantization=exported["quantization"],
        num_predict=answer_length(rows_of(context, "train"), HfFolder(hf_dir)),
    )


def answer_length(rows: Iterable[Row], folder: HfFolder) -> int | None:
    """Tokens after which an answer is ended; None where nothing was learnt. A model that never writes its end mark
    would go on until its context is full."""
    learnt = {answer.answer for row in rows for answer in row.answers()}
    if not learnt:
        return None
    encoded = folder.tokenizer.encode_batch(sorted(learnt), add_special_tokens=False)
    return min(2 * max(len(answer.ids) for answer in encoded) + _ROOM, folder.num_ctx)


def rows_of(context: Context, split: str) -> list[Row]:
    dataset = context.workspace.artifacts.dataset(context.outcome("build")["version"])
    path = dataset / f"{split}.jsonl"
    return list(read_rows(path)) if path.exists() else []
