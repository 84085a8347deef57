"""The operations that agents are given, from "what can be tuned" to "is it live"; each calls what its route calls."""

import inspect
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ValidationError

from tunesmith.agents.arguments import (
    Arguments,
    CreateJob,
    Nothing,
    OneDataset,
    OneModel,
    OneRun,
    RollBackModel,
    RunEvents,
    RunRecipe,
    SaveRecipe,
    TryModel,
    UploadRows,
    WaitForRun,
)
from tunesmith.agents.operation import Context, Operation
from tunesmith.api import chat, datasets, fine_tuning, models, recipes
from tunesmith.api import files as files_api
from tunesmith.api.streams import wait_for_end
from tunesmith.errors import InvalidParameters
from tunesmith.recipes import files, runs
from tunesmith.recipes.schema import Recipe
from tunesmith.store.workspace import Workspace

LONGEST_WAIT_S = 50.0  # gateways, LiteLLM's among them, give a call up after 60
OPERATIONS: dict[str, Operation] = {}


def operation(
    scope: str, answer: type[BaseModel], *, destroys: bool = False, repeatable: bool = False
) -> Callable[[Callable[[Context, Any], Any]], Callable[[Context, Any], Any]]:
    """Register a function: its name is the operation's, its docstring the description, its argument the schema."""

    def register(function: Callable[[Context, Any], Any]) -> Callable[[Context, Any], Any]:
        arguments = inspect.get_annotations(function, eval_str=True)["arguments"]
        assert issubclass(arguments, Arguments)
        OPERATIONS[function.__name__] = Operation(
            name=function.__name__,
            title=function.__name__.replace("_", " ").capitalize(),
            description=inspect.cleandoc(function.__doc__ or ""),
            scope=scope,
            arguments=arguments,
            answer=answer,
            function=function,
            destroys=destroys,
            repeatable=repeatable,
        )
        return function

    return register


@operation("read", models.BaseModelList)
def list_base_models(context: Context, arguments: Nothing) -> Any:
    """List the small open models that can be tuned here. Start with this one."""
    return models.list_base_models(context.workspace)


@operation("train", files_api.FileObject)
def upload_training_rows(context: Context, arguments: UploadRows) -> Any:
    """Store training examples that you send as JSONL text; gives the file's id. A wrong line is named and nothing is
    stored. For more than 2,000,000 characters, upload a file to POST /v1/files."""
    content = arguments.rows.encode()
    key = context.caller.once("create_file", arguments.idempotency_key)
    return files_api.view(files.add_file(context.workspace, arguments.filename, "fine-tune", [content], key))


@operation("train", fine_tuning.JobObject)
def create_fine_tuning_job(context: Context, arguments: CreateJob) -> Any:
    """Tune a model on one uploaded file and publish it under a new name, if it passes its gate. Answers at once: give
    the answer's `run_id` to wait_for_run. Use save_recipe and run_recipe instead to retrain the same model later."""
    given = arguments.model_dump(exclude_none=True, exclude={"n_epochs", "idempotency_key"})
    if arguments.n_epochs:
        given["hyperparameters"] = {"n_epochs": arguments.n_epochs}
    body = fine_tuning.CreateJob.model_validate(given)
    return fine_tuning.create_job(context.workspace, context.caller, body, arguments.idempotency_key)


@operation("train", recipes.RecipeObject, destroys=True, repeatable=True)
def save_recipe(context: Context, arguments: SaveRecipe) -> Any:
    """Write down how a model is made: what it learns from, its task, the gate it must pass, the name it goes live
    under. Replaces the recipe of that name. Nothing runs yet: call run_recipe."""
    return recipes.save_recipe(context.workspace, context.caller, _recipe(context.workspace, arguments))


@operation("train", recipes.RunObject)
def run_recipe(context: Context, arguments: RunRecipe) -> Any:
    """Build the dataset, train, measure and, if the gate is passed, put the model live. Answers at once with the run:
    give its id to wait_for_run."""
    key = arguments.idempotency_key
    return recipes.run_recipe(context.workspace, context.caller, arguments.name, key, arguments.until)


@operation("read", recipes.RunObject)
def get_run(context: Context, arguments: OneRun) -> Any:
    """Show a run: its status (queued, running, paused, succeeded, failed, cancelled), its stages, the error with what
    to do about it, and at the end the report of what was measured."""
    return recipes.get_run(context.workspace, arguments.run_id)


@operation("read", recipes.RunObject)
async def wait_for_run(context: Context, arguments: WaitForRun) -> Any:
    """Wait until a run has ended, at most 60 seconds, and show it as get_run does. A run takes minutes: call it again
    while the status is queued or running."""

    async def tell(waited: float, message: str) -> None:
        await context.progress(waited, arguments.seconds, message)

    await recipes.wait_for_run(context.workspace, arguments.run_id, 0)
    await wait_for_end(context.workspace, arguments.run_id, min(arguments.seconds, LONGEST_WAIT_S), tell)
    return await recipes.wait_for_run(context.workspace, arguments.run_id, 0)


@operation("read", recipes.RunEventList)
def list_run_events(context: Context, arguments: RunEvents) -> Any:
    """Show what a run has said so far, oldest first: which stage, training steps with their loss, warnings."""
    return recipes.event_page(context.workspace, arguments.run_id, arguments.after, arguments.limit)


@operation("train", recipes.RunObject, destroys=True)
def cancel_run(context: Context, arguments: OneRun) -> Any:
    """Stop a run for good. What is live stays live."""
    return recipes.cancel_run(context.workspace, arguments.run_id)


@operation("read", models.ModelList)
def list_models(context: Context, arguments: Nothing) -> Any:
    """List the live models: each id is what try_model and an OpenAI client's chat completions take."""
    return models.list_models(context.workspace)


@operation("read", models.ModelCard)
def get_model(context: Context, arguments: OneModel) -> Any:
    """Show a model's card: its base, its dataset, what was measured of it beside the base and the version before, and
    its versions."""
    return models.get_model(context.workspace, arguments.name)


@operation("read", chat.Completion)
async def try_model(context: Context, arguments: TryModel) -> Any:
    """Ask a published model one question and show its answer."""
    messages = [{"role": "system", "content": arguments.system}] if arguments.system else []
    messages.append({"role": "user", "content": arguments.prompt})
    asked = {"model": arguments.model, "messages": messages, "max_tokens": arguments.max_tokens, "temperature": 0}
    response, _ = await chat.ask(context.workspace, context.pool, context.http, asked)
    return await chat.whole(response, arguments.model)


@operation("publish", models.Changed, destroys=True)
def roll_back_model(context: Context, arguments: RollBackModel) -> Any:
    """Put the version before the live one live again, at once. With from_version the call can safely be made again."""
    body = models.RollBack(from_version=arguments.from_version)
    return models.roll_back(context.workspace, arguments.name, body)


@operation("read", datasets.DatasetList)
def list_datasets(context: Context, arguments: Nothing) -> Any:
    """List the dataset versions that runs have built, newest first, with their reports."""
    return datasets.list_datasets(context.workspace)


@operation("read", datasets.DatasetList)
def list_dataset_versions(context: Context, arguments: OneDataset) -> Any:
    """Show the versions of one dataset, newest first: counts, splits, rejected rows with reasons, quality gates."""
    return datasets.list_dataset_versions(context.workspace, arguments.name)


def _recipe(workspace: Workspace, arguments: SaveRecipe) -> Recipe:
    sources = [_source(workspace, file_id) for file_id in arguments.file_ids]
    if arguments.paperless_tags or arguments.paperless_since:
        sources.append({"paperless": {"tags": arguments.paperless_tags, "since": arguments.paperless_since}})
    if arguments.synthetic_rows:
        like = next(iter(sources[0])) if sources else "schema"
        sources.append({"synthetic": {"like": like, "rows": arguments.synthetic_rows}})
    if not sources:
        hint = "Give file_ids, paperless_tags or synthetic_rows."
        raise InvalidParameters("save_recipe: there is nothing to learn from.", hint=hint, param="file_ids")
    document = {
        "name": arguments.name,
        "task": {"type": arguments.task, "schema": _fields(arguments.fields) or None},
        "sources": sources,
        "base_model": arguments.base_model,
        "training": {"minutes": arguments.minutes},
        "gate": {"field_accuracy": arguments.minimum_field_accuracy},
        "evaluation": {"baselines": arguments.compare_with_base},
        "publish": {"name": arguments.publish_as},
    }
    try:
        return Recipe.model_validate(document)
    except ValidationError as error:
        raise InvalidParameters(f"save_recipe: {error.errors()[0]['msg']}", hint="See the argument's text.") from error


def _source(workspace: Workspace, file_id: str) -> dict[str, Any]:
    file = runs.require_file(workspace, file_id, "file_ids")
    return {"documents" if file.purpose == "documents" else "file": file.id}


def _fields(lines: list[str]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for line in lines:
        name, _, kind = (part.strip() for part in line.partition(":"))
        if not name or not kind:
            raise InvalidParameters(
                f"save_recipe: {line!r} is no field.",
                hint='Write "name: type", such as "amount: money".',
                param="fields",
            )
        fields[name] = {"enum": [choice.strip() for choice in kind.split("|")]} if "|" in kind else kind
    return fields
