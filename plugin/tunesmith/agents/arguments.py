"""What the tools take. Strict: a misspelt argument is an error, never silently the default.

Some agents strip ranges, defaults and examples from a schema, so each description says them in words as well.
"""

from datetime import date
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tunesmith.recipes.schema import DEFAULT_BASE, Name
from tunesmith.recipes.stages import Stage

MAX_ROWS_TEXT = 2_000_000  # characters that upload_training_rows takes
MAX_WAIT_S = 60

RunId = Annotated[str, Field(description="Id of a run, such as run-0123456789ab.", max_length=100)]
Key = Annotated[
    str | None,
    Field(
        description="Any text that you make up for this one request, such as receipts-2024-05-01. Sending the request "
        "again with the same text gives what it made before instead of making it twice.",
        max_length=200,
    ),
]


def _example(arguments: dict[str, Any]) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [arguments]})


class Arguments(BaseModel):
    """`null` means the default, as callers that must send every argument need it."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _null_is_default(cls, data: Any) -> Any:
        return {name: value for name, value in data.items() if value is not None} if isinstance(data, dict) else data


class Nothing(Arguments):
    """No arguments."""

    model_config = _example({})


class UploadRows(Arguments):
    model_config = _example(
        {
            "rows": '{"messages": [{"role": "user", "content": "Corner Books TOTAL 4.20"}, '
            '{"role": "assistant", "content": "4.20"}]}',
            "idempotency_key": "receipts-2024-05-01",
        }
    )

    rows: str = Field(
        min_length=2,
        max_length=MAX_ROWS_TEXT,
        description="JSONL: one example a line, at most 2,000,000 characters. Example of a line: "
        '{"messages": [{"role": "user", "content": "Corner Books TOTAL 4.20"}, '
        '{"role": "assistant", "content": "{\\"total\\": \\"4.20\\"}"}]}. At least 10 lines are needed to train; '
        "50 to 500 are good. The last turn of each line is the answer that is learnt.",
    )
    filename: str = Field("rows.jsonl", max_length=100, description="A name to know the file by. Default: rows.jsonl.")
    idempotency_key: Key = None


class CreateJob(Arguments):
    model_config = _example({"training_file": "file-0123456789ab", "suffix": "receipts"})

    training_file: str = Field(max_length=100, description="Id of an uploaded file, such as file-0123456789ab.")
    model: str = Field(
        DEFAULT_BASE, max_length=200, description=f"A name from list_base_models. Default: {DEFAULT_BASE}."
    )
    validation_file: str | None = Field(
        None, max_length=100, description="Id of a file whose rows are only measured on. Default: some rows are kept."
    )
    suffix: str | None = Field(
        None, max_length=64, description="Part of the new model's name; receipts gives ft-receipts-0123456789ab."
    )
    n_epochs: int | None = Field(
        None, ge=1, le=50, description="Passes over the rows, 1 to 50. Default: chosen from the data and the machine."
    )
    seed: int | None = Field(None, ge=0, le=2**31 - 1, description="A whole number from 0. Default: 0.")
    idempotency_key: Key = None


class SaveRecipe(Arguments):
    model_config = _example(
        {"name": "household-receipts", "file_ids": ["file-0123456789ab"], "fields": ["date: date", "amount: money"]}
    )

    name: Name = Field(
        description="Small letters, digits, dots, dashes, underscores; at most 63. Example: household-receipts. "
        "A recipe of this name is replaced."
    )
    file_ids: list[str] = Field(
        [], max_length=50, description="Ids of uploaded files to learn from. Give these, or paperless_tags, or both."
    )
    paperless_tags: list[str] = Field(
        [], max_length=50, description='Learn from the Paperless documents with all these tags. Example: ["finance"].'
    )
    paperless_since: date | None = Field(
        None, description="Only Paperless documents created on or after this date. Example: 2023-01-01."
    )
    synthetic_rows: int = Field(
        0,
        ge=0,
        le=20_000,
        description="At most 20000 training rows that the configured teacher model writes, like the others; from task "
        "and fields alone when there are none. Example: 200. Default: 0.",
    )
    task: str | None = Field(
        None, max_length=40, description="Such as extraction or chat. Default: what the rows show; else extraction."
    )
    fields: list[str] = Field(
        [],
        max_length=50,
        description='For extraction: "name: type", where type is string, date, money, number, boolean or choices '
        'parted by |. Example: ["type: invoice|receipt", "date: date", "amount: money"].',
    )
    base_model: str = Field(
        DEFAULT_BASE, max_length=200, description=f"A name from list_base_models. Default: {DEFAULT_BASE}."
    )
    publish_as: Name | None = Field(None, description="Name under which the model goes live. Default: the recipe's.")
    minutes: float | None = Field(
        None, gt=0, le=1440, description="Time that training may take, up to 1440 minutes. Default: the setting's."
    )
    minimum_field_accuracy: float | None = Field(
        None, ge=0, le=1, description="The model goes live only if it reaches this, 0 to 1. Example: 0.9."
    )
    compare_with_base: bool = Field(
        False, description="Also measure the untuned base model, to show the gain; takes longer. Default: false."
    )


class RunRecipe(Arguments):
    model_config = _example({"name": "household-receipts", "idempotency_key": "receipts-2024-05-01"})

    name: str = Field(max_length=80, description="Name of a saved recipe. Example: household-receipts.")
    until: Stage = Field(
        "publish",
        description="The last stage: build (only make and check the dataset), train, export, evaluate (measure and put "
        "nothing live) or publish. Default: publish.",
    )
    idempotency_key: Key = None


class OneRun(Arguments):
    model_config = _example({"run_id": "run-0123456789ab"})

    run_id: RunId


class WaitForRun(Arguments):
    model_config = _example({"run_id": "run-0123456789ab", "seconds": 60})

    run_id: RunId
    seconds: float = Field(
        30, ge=0, le=MAX_WAIT_S, description="How long to wait at most, 0 to 60 seconds. Default: 30. Call it again."
    )


class RunEvents(Arguments):
    model_config = _example({"run_id": "run-0123456789ab", "after": 0})

    run_id: RunId
    after: int = Field(0, ge=0, description="Only events with a higher id than this. Default: 0, from the start.")
    limit: int = Field(50, ge=1, le=200, description="At most this many events, 1 to 200. Default: 50.")


class OneModel(Arguments):
    model_config = _example({"name": "household-receipts"})

    name: str = Field(max_length=200, description="Name of a published model from list_models.")


class RollBackModel(Arguments):
    model_config = _example({"name": "household-receipts", "from_version": "run-0123456789ab"})

    name: str = Field(max_length=200, description="Name of a published model from list_models.")
    from_version: str | None = Field(
        None, max_length=60, description="The version that is bad, as get_model shows it. Default: the live one."
    )


class TryModel(Arguments):
    model_config = _example({"model": "household-receipts", "prompt": "Corner Books TOTAL 4.20"})

    model: str = Field(max_length=200, description="Name of a published model, or name:version.")
    prompt: str = Field(
        min_length=1, max_length=100_000, description="What a user would send, written as in the training rows."
    )
    system: str | None = Field(None, max_length=20_000, description="A system message. Default: none.")
    max_tokens: int = Field(512, ge=1, le=4096, description="Longest answer, 1 to 4096 tokens. Default: 512.")


class OneDataset(Arguments):
    model_config = _example({"name": "household-receipts"})

    name: str = Field(max_length=120, description="Name of a dataset from list_datasets: that of the recipe it is of.")
