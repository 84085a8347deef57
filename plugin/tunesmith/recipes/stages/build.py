"""build: sources → documents or rows → a checked dataset version; or a version that is there already."""

import shutil
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from tunesmith.datasets import sources, suggestions
from tunesmith.datasets.build import LEARN_FROM, build
from tunesmith.datasets.lengths import ModelContext, model_context
from tunesmith.datasets.library import Library
from tunesmith.datasets.report import DatasetReport
from tunesmith.datasets.splits import SplitSpec
from tunesmith.errors import BadInput
from tunesmith.recipes import datasets, runs
from tunesmith.recipes.context import Context
from tunesmith.recipes.schema import DatasetSource
from tunesmith.recipes.stages import additions, synthesis
from tunesmith.recipes.synthesis import offered_tools
from tunesmith.serving import base_models
from tunesmith.tasks import presets
from tunesmith.tasks.base import TASKS, Task
from tunesmith.tasks.conversation import Row, read_rows
from tunesmith.tasks.document import Document


def run(context: Context) -> dict[str, Any]:
    recipe, folder = context.recipe, context.folder / "dataset"
    shutil.rmtree(folder, ignore_errors=True)  # what a build that was killed left there
    real = [source for source in recipe.sources if not source.synthetic]
    if real == recipe.sources and real[0].dataset:
        return _take(context, real[0].dataset)
    conversations = [source for source in real if (source.file or source.dataset) and not source.validation]
    if conversations and any(not source.file and not source.dataset for source in real):
        raise BadInput(
            "A recipe reads either documents or finished conversations, not both.",
            hint="Make two recipes, or write the documents' examples into the file.",
        )
    spec = recipe.split
    library, synced = _library(context)
    known = _definitions(library)
    task = _task(context, known, bare=bool(conversations))
    synthetic = synthesis.Sources(context)
    report = build(
        task,
        documents=(presets.document_for(recipe.task.preset, d, known) for d in _documents(context, library)),
        rows=_rows(context, validation=False),
        validation_rows=_rows(context, validation=True) if any(s.validation or s.dataset for s in real) else None,
        split=SplitSpec(tuple(spec.held_out), spec.validation, spec.test, recipe.seed),
        out=folder,
        options=recipe.dataset,
        earlier=[*datasets.folders(context.workspace, recipe.name, but_run=context.run.id), *_versions(context)],
        context=_model_context(context),
        synthesise=synthetic.makers(),
    )
    synthesis.describe(context, report.synthetic)
    report = additions.add(context, folder, report, task, synthetic.pairs)
    return {**_keep(context, report), "library": synced, "preferences": report.preference_pairs}


def _take(context: Context, source: DatasetSource) -> dict[str, Any]:
    """A version that is there already, with its own splits; only the task may be another one. With hard negatives or
    general rows it becomes a version of the recipe's own."""
    row = datasets.get_version(context.workspace, source.name, source.version)
    report = DatasetReport.model_validate(row.report)
    if task := _task(context, (), bare=True):
        train = read_rows(context.workspace.artifacts.dataset(row.version) / "train.jsonl")
        fitted = task.fit(list(islice(train, LEARN_FROM)))
        report = report.model_copy(update={"task": fitted.name, "spec": fitted.spec})
    if not (context.recipe.dataset.hard_negatives or context.recipe.dataset.mix):
        return _outcome(context, report)
    if report.hard_negatives or report.general:
        raise BadInput(
            f"{source.name}@{row.version} has its hard negatives or general rows already.",
            param="dataset",
            hint="Leave out hard_negatives and mix, or name the dataset that it was made of.",
        )
    folder = shutil.copytree(context.workspace.artifacts.dataset(row.version), context.folder / "dataset")
    return _keep(context, additions.add(context, folder, report, None))


def _definitions(library: Library | None) -> list[presets.Definition]:
    fields = library.lookups().custom_fields.values() if library else ()
    return [presets.Definition(f.name, f.data_type, f.options) for f in fields]


def _task(context: Context, known: Sequence[presets.Definition], *, bare: bool) -> Task | None:
    """The task that the recipe names; None lets uploaded conversations show what they are."""
    spec = context.recipe.task
    if bare and not spec.type:
        return None
    if spec.preset:
        given = presets.spec_of(spec.preset, known, spec.prompt, spec.custom_fields or ())
        return TASKS.get("extraction")({**given, "system": spec.system} if spec.system else given)
    tools, own = offered_tools(context.recipe), {"type", "preset", "prompt", "custom_fields"}
    settings = spec.model_dump(by_alias=True, exclude_none=True, exclude=own)
    kind = spec.type or ("extraction" if tools is None else "tool_use")
    return TASKS.get(kind)({**settings, **({"tools": tools} if tools is not None else {})})


def _rows(context: Context, *, validation: bool) -> Iterator[Row]:
    """Rows of files, and of a dataset that synthetic rows are added to: its validation rows are given ones."""
    for folder in _versions(context):
        for name in ("validation",) if validation else ("train", "test"):
            yield from read_rows(folder / f"{name}.jsonl")
    for source in context.recipe.sources:
        if source.file is not None and source.validation == validation:
            yield from sources.rows({"file": source.file}, lambda name: runs.source_path(context.workspace, name))


def _versions(context: Context) -> list[Path]:
    """Folders of the versions that are sources."""
    found = [source.dataset for source in context.recipe.sources if source.dataset]
    rows = [datasets.get_version(context.workspace, source.name, source.version) for source in found]
    return [context.workspace.artifacts.dataset(row.version) for row in rows]


def _library(context: Context) -> tuple[Library | None, dict[str, Any] | None]:
    """The library, synced, when a source reads from it, and what the sync did."""
    if not any(source.paperless or source.corrections for source in context.recipe.sources):
        return None, None
    library = Library(context.workspace.database, context.settings)
    report = library.sync()
    context.say(f"Paperless: {report.sentence()}", data=report.as_dict())
    return library, report.as_dict()


def _documents(context: Context, library: Library | None) -> Iterator[Document]:
    """Corrections first: a corrected document counts as such, not once more with its present labels."""
    corrected: set[str] = set()
    for source in context.recipe.sources:
        if source.corrections and library:
            wanted = source.corrections
            for document in suggestions.corrections(
                context.workspace.database,
                wanted.model,
                weight=wanted.weight,
                confirmed_after_days=wanted.confirmed_after_days,
                tags=library.tags,
            ):
                if document.id not in corrected:
                    corrected.add(document.id)
                    yield document
    for source in context.recipe.sources:
        if source.paperless:
            found = _read(context, {"paperless": source.paperless.model_dump(exclude_defaults=True)}, library)
            yield from (document for document in found if document.id not in corrected)
        elif source.documents:
            yield from _read(context, {"documents": source.documents.file, "fields": source.documents.fields}, None)


def _read(context: Context, source: dict[str, Any], library: Library | None) -> Iterator[Document]:
    return sources.documents(
        source, context.settings, lambda name: runs.source_path(context.workspace, name), library=library
    )


def _model_context(context: Context) -> ModelContext | None:
    """How much the base model reads at once; None while it is not here yet: a report does not wait for a download."""
    folder = base_models.at_hand(context.recipe.base_model, context.settings)
    return model_context(folder) if folder else None


def _keep(context: Context, report: DatasetReport) -> dict[str, Any]:
    """Put the version where versions live, list it under the recipe's name, and say what it is."""
    datasets.keep(context.workspace, context.folder / "dataset", report, context.recipe.name, context.run.id)
    return _outcome(context, report)


def _outcome(context: Context, report: DatasetReport) -> dict[str, Any]:
    splits = ", ".join(f"{count} {split}" for split, count in report.splits.items())
    context.say(f"Dataset {report.version}: {splits}.", data={"splits": report.splits})
    context.say(report.readiness.advice[0], data={"readiness": report.readiness.model_dump(mode="json")})
    for gate in report.gates:
        if not gate.passed:
            context.say(f"Dataset: {gate.name} is {gate.value:g}; {gate.threshold:g} is the limit.", level="warn")
    task = {"name": report.task, "spec": report.spec}
    return {"version": report.version, "task": task, "report": report.model_dump(mode="json")}
