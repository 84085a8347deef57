"""The recipe: one document that says sources → task → base model → training → gate → publish.

Every key has a sound default; the shortest recipe is a name and a source.
"""

from datetime import date
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from tunesmith.datasets.options import DatasetOptions
from tunesmith.datasets.synthetic.options import SyntheticOptions
from tunesmith.typed import Typed

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]

DEFAULT_BASE = "smollm2-135m-instruct"


class _Strict(Typed, BaseModel):
    """A misspelt key is an error, never silently the default."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)


class TaskSpec(_Strict):
    """What the model must do. Without `schema`, extraction uses type, date, correspondent and amount."""

    type: str | None = Field(
        None,
        description="extraction, classification, text_to_sql, tool_use or chat. "
        "Default: extraction; for files, what they show.",
    )
    schema_: dict[str, Any] | None = Field(
        None,
        alias="schema",
        description="Field name → string, date, money, number, boolean or {enum: […]}; or a JSON Schema.",
    )
    system: str | None = Field(None, description="Replaces the system message that the task writes.")
    labels: list[str] | None = Field(None, description="classification: the closed list. Default: what training shows.")
    label: str | None = Field(
        None,
        description="classification: document_type (the default), correspondent, storage_path, tags or "
        "custom_field/Name.",
    )
    multi_label: bool | None = Field(None, description="classification: a list of labels. Default: only for tags.")
    dialect: str | None = Field(None, description="text_to_sql: sqlite (the default), postgres, mysql, duckdb, …")
    tools: list[dict[str, Any]] | None = Field(
        None, description="tool_use: OpenAI functions, offered where a prompt lists none."
    )
    ddl: str | None = Field(None, description="text_to_sql: CREATE TABLE statements for rows that show none.")
    preset: Literal["custom_fields", "paperless_ai", "paperless_gpt"] | None = Field(
        None, description="An extraction that answers another program's prompt in that program's form."
    )
    prompt: str | None = Field(
        None, description="That program's prompt with its places; `tunesmith run` reads it from `prompt_file`."
    )
    custom_fields: list[str] | None = Field(None, description="With a preset: only these custom fields. Default: all.")

    @model_validator(mode="after")
    def _preset_alone(self) -> "TaskSpec":
        if self.preset and (self.schema_ or self.type not in (None, "extraction")):
            raise ValueError("a preset is an extraction with a schema of its own")
        if self.prompt and not self.preset:
            raise ValueError("a prompt goes with a preset; use system")
        return self


class PaperlessSource(_Strict):
    """A query on Paperless-ngx. Names are resolved to ids; unknown names are errors."""

    tags: list[str] = []
    document_types: list[str] = []
    correspondents: list[str] = []
    storage_paths: list[str] = []
    since: date | None = Field(None, description="Created on or after this date, YYYY-MM-DD.")
    until: date | None = None
    custom_field_query: list[Any] | None = None
    fields: dict[str, str] = Field({}, description="Task field → created, correspondent, custom_field/Name, …")
    limit: int | None = Field(None, gt=0, description="At most this many documents.")


class DocumentsSource(_Strict):
    """Documents in the wire form of the Paperless API, uploaded as a file with the purpose `documents`."""

    file: str = Field(description="A file id; `tunesmith run` also takes a path and uploads it.")
    fields: dict[str, str] = {}


class DatasetSource(_Strict):
    """A version of a dataset, with its splits as they are. It is the only source of its recipe."""

    name: Name
    version: str | None = Field(None, description="Start of a version's id. Default: the newest when the run builds.")


class CorrectionsSource(_Strict):
    """Documents whose values people corrected, or confirmed, after a model of ours had suggested them."""

    model: str = Field(description="The published name whose suggestions are meant.")
    weight: float = Field(3.0, gt=0, le=100, description="How much a corrected row counts in training.")
    confirmed_after_days: float | None = Field(
        14.0, gt=0, description="A written value that stays unchanged for so long counts as confirmed; null: never."
    )


_KINDS = ("paperless", "documents", "corrections", "file", "dataset", "synthetic")


class Source(_Strict):
    """Exactly one key per source."""

    paperless: PaperlessSource | None = None
    documents: DocumentsSource | None = None
    corrections: CorrectionsSource | None = None
    synthetic: SyntheticOptions | None = None
    file: str | None = Field(None, description="Id of an uploaded ShareGPT or chat-messages JSONL.")
    dataset: DatasetSource | None = Field(None, description="A dataset that was imported or built: a name suffices.")
    validation: bool = Field(False, description="Rows of this file are only for validation.")

    @field_validator("documents", mode="before", json_schema_input_type=DocumentsSource | str | None)
    @classmethod
    def _documents_by_file(cls, value: Any) -> Any:
        return {"file": value} if isinstance(value, str) else value

    @field_validator("dataset", mode="before", json_schema_input_type=DatasetSource | Name | None)
    @classmethod
    def _dataset_by_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_kind(self) -> "Source":
        if len(self.model_fields_set & set(_KINDS)) != 1:
            raise ValueError(f"a source has exactly one of: {', '.join(_KINDS)}")
        return self


class Split(_Strict):
    """Which documents are kept from training. Groups (correspondents) never straddle the splits."""

    held_out: list[str] = Field([], description="Documents with one of these tags are the test set.")
    test: float = Field(0.1, ge=0, le=0.5, description="Share for the test set when no tag names it.")
    validation: float = Field(0.05, ge=0, le=0.5)


class Training(_Strict):
    backend: str = "auto"
    method: Literal["lora", "qlora", "dpo", "full"] = "lora"
    hyperparameters: Literal["auto"] | dict[str, Any] = "auto"
    minutes: float | None = Field(None, gt=0, description="Time an automatic plan may spend. Default: the setting.")


class Gate(_Strict):
    """What a candidate must reach on held-out rows, as it will be served."""

    format_adherence: float | None = Field(0.95, ge=0, le=1)
    field_accuracy: float | None = Field(None, ge=0, le=1)
    not_worse_than: Literal["live", "none"] = "live"


class Evaluation(_Strict):
    rows: int = Field(100, gt=0, description="At most this many held-out rows are answered.")
    baselines: bool = Field(False, description="Also measure the base model, zero-shot and few-shot.")
    shots: int = Field(3, ge=1, le=8)


class Publish(_Strict):
    name: Name | None = Field(None, description="Default: the recipe's name.")
    target: Literal["auto"] | str = "auto"
    quantization: Literal["auto", "q8_0", "q4_k_m", "f16"] = "auto"
    litellm: bool = Field(True, description="Make a LiteLLM route when a proxy is configured.")


class Recipe(_Strict):
    """One reproducible run, from documents to a live model."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "household-documents",
                    "task": {"type": "extraction", "schema": {"date": "date", "amount": "money"}},
                    "sources": [{"paperless": {"tags": ["finance"], "since": "2023-01-01"}}],
                    "gate": {"format_adherence": 0.95, "not_worse_than": "live"},
                    "publish": {"name": "household-extractor"},
                }
            ]
        }
    )

    name: Name
    task: TaskSpec = TaskSpec()
    sources: list[Source] = Field(min_length=1)
    split: Split = Split()
    dataset: DatasetOptions = DatasetOptions()
    base_model: str = DEFAULT_BASE
    training: Training = Training()
    gate: Gate = Gate()
    evaluation: Evaluation = Evaluation()
    publish: Publish = Publish()
    seed: int = 0

    @field_validator("task", mode="before", json_schema_input_type=TaskSpec | str)
    @classmethod
    def _task_by_name(cls, value: Any) -> Any:
        return {"type": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _dataset_alone(self) -> "Recipe":
        real = [source for source in self.sources if not source.synthetic]
        if len(real) > 1 and any(source.dataset for source in real):
            raise ValueError("a dataset is used as it is, so it is the only source of a recipe")
        return self

    @model_validator(mode="after")
    def _seeds_are_there(self) -> "Recipe":
        there = {kind for source in self.sources for kind in _KINDS if getattr(source, kind)}
        for options in (source.synthetic for source in self.sources):
            if options and options.like not in (*there, "schema", "tools"):
                raise ValueError(f"synthetic rows like {options.like} need a source {options.like} beside them")
        return self

    @property
    def model_name(self) -> str:
        return self.publish.name or self.name

    def document(self) -> dict[str, Any]:
        """What is stored and shown: only what differs from the defaults."""
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True)
