"""The prompt that a person picks in a client: tune a model for a need."""

from collections.abc import Mapping
from typing import Any

from tunesmith.errors import InvalidParameters, NotFound

NAME = "tune_a_model"
TITLE = "Tune a model for this need"
DESCRIPTION = "From a need in a sentence to a live, measured model."
ARGUMENTS: list[dict[str, Any]] = [
    {"name": "need", "description": "What the model must do, in a sentence.", "required": True},
    {
        "name": "data",
        "description": "Where examples are: ids of uploaded files, Paperless tags, or nothing yet.",
        "required": False,
    },
]

_TEXT = """Tune a small model with the tools of Tunesmith.

The need: {need}
The data: {data}

1. list_base_models; take the first unless the need calls for another.
2. Without data, write at least 50 varied examples as the need describes and send them with upload_training_rows. Hold
   to one form of answer. Show me three of them first.
3. save_recipe with a name that says what the model does; for extraction, name the fields with their types and ask for
   a minimum_field_accuracy that the need calls for.
4. run_recipe with an idempotency_key, then wait_for_run until the status is succeeded, failed, paused or cancelled.
   Tell me now and then how far it is. When it fails, do what the error's hint says, or ask me.
5. get_model: tell me what was measured, beside the base model or the version before, in a small table.
6. try_model with two inputs that were not among the examples, and show me the answers.

Report figures as the tools give them. If the gate was not met, nothing went live: say so and propose what to change."""


def written(name: str, arguments: Mapping[str, str]) -> str:
    """The prompt's text. Raises NotFound, InvalidParameters."""
    if name != NAME:
        raise NotFound(f"There is no prompt {name!r}.", hint=f"There is one: {NAME}.", param="name")
    need = arguments.get("need", "").strip()
    if not need:
        raise InvalidParameters(f"{NAME} needs the argument 'need'.", hint="Say what the model must do.", param="need")
    return _TEXT.format(need=need, data=arguments.get("data", "").strip() or "none yet")
