"""What several stages need to know about the stages before them."""

import random
from collections.abc import Iterable
from pathlib import Path

from tunesmith.recipes.context import Context
from tunesmith.serving.hf_folder import HfFolder, control_tokens_of
from tunesmith.serving.targets.base import Candidate
from tunesmith.tasks.control import neutral_rows
from tunesmith.tasks.conversation import Row, read_rows

# An answer may be twice as long as the longest that was learnt, and has this many tokens more: a document that is
# longer than those before, and the marks that a template writes around an answer.
_ROOM = 64


def job_folder(context: Context, kind: str) -> Path:
    """The folder of another stage of this run."""
    return context.workspace.artifacts.job(next(job.id for job in context.jobs() if job.kind == kind))


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
    """Rows to ask the exported model, with its control tokens put apart as in training and in serving."""
    dataset = context.workspace.artifacts.dataset(context.outcome("build")["version"])
    path = dataset / f"{split}.jsonl"
    exported = job_folder(context, "export") / context.outcome("export")["hf_dir"]
    return neutral_rows(read_rows(path), control_tokens_of(exported)) if path.exists() else []


def choice(context: Context, rows: list[Row]) -> list[Row]:
    """As many as the recipe measures on: the same ones for every version."""
    limit = context.recipe.evaluation.rows
    return random.Random(0).sample(rows, limit) if len(rows) > limit else rows  # noqa: S311  chosen, not secret
