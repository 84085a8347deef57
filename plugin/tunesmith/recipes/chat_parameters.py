"""What of a chat request reaches a model's server: OpenAI's parameters, each within bounds.

A server takes more than OpenAI's, and not all of it is safe: a grammar that is nested deep enough ends llama.cpp for
everybody.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from tunesmith.errors import BadInput
from tunesmith.tasks.schema_bounds import Budget, bounded
from tunesmith.tasks.tools import MAX_TOOLS

MAX_MESSAGES = 2048
MAX_TOKENS = 2**20
_MESSAGE = ("role", "content", "name", "tool_calls", "tool_call_id", "reasoning_content")
# Taken, because OpenAI takes them, and not passed on: they say nothing of the text that is wanted.
_WITHOUT_EFFECT = {
    *("user", "store", "metadata", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"),
    *("verbosity", "modalities", "audio", "prediction", "web_search_options", "functions", "function_call"),
}
_Whole = Annotated[int, BeforeValidator(lambda v: int(v) if isinstance(v, float) and v.is_integer() else v)]
_Stop = Annotated[str, Field(min_length=1, max_length=256)]
_Bias = Annotated[float, Field(ge=-100, le=100)]
_Token = Annotated[str, Field(pattern=r"^[0-9]{1,9}$")]


class _Parameters(BaseModel):
    """Null is the same as nothing."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: str
    messages: list[dict[str, Any]] = Field(min_length=1, max_length=MAX_MESSAGES)
    stream: bool | None = None
    stream_options: dict[str, bool | None] | None = Field(None, max_length=8)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    n: _Whole | None = Field(None, ge=1, le=128)
    max_tokens: _Whole | None = Field(None, ge=1, le=MAX_TOKENS)
    max_completion_tokens: _Whole | None = Field(None, ge=1, le=MAX_TOKENS)
    stop: _Stop | Annotated[list[_Stop], Field(max_length=16)] | None = None
    seed: _Whole | None = Field(None, ge=-(2**63), lt=2**63)
    logit_bias: dict[_Token, _Bias] | None = Field(None, max_length=300)
    logprobs: bool | None = None
    top_logprobs: _Whole | None = Field(None, ge=0, le=20)
    reasoning_effort: str | None = Field(None, max_length=20)
    response_format: dict[str, Any] | None = None
    tools: list[Any] | None = Field(None, max_length=MAX_TOOLS)
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None


def checked(asked: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters to pass on. Raises BadInput: unknown_parameter, or invalid_parameter for one out of bounds."""
    given = {key: value for key, value in asked.items() if value is not None and key not in _WITHOUT_EFFECT}
    unknown = sorted(set(given) - set(_Parameters.model_fields))
    if unknown:
        raise BadInput(
            f"Unknown parameters: {', '.join(name[:40] for name in unknown[:5])}.",
            code="unknown_parameter",
            param=unknown[0][:40],
            hint="Use OpenAI's chat parameters. A format is asked for with response_format.",
        )
    try:
        _Parameters.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        raise BadInput(
            f"{'.'.join(map(str, first['loc']))[:80]}: {first['msg']}.",
            code="invalid_parameter",
            param=str(first["loc"][0]),
            hint="See the bounds of OpenAI's chat completions.",
        ) from error
    given["messages"] = [{key: value for key, value in m.items() if key in _MESSAGE} for m in given["messages"]]
    if "response_format" in given:
        given["response_format"] = _response_format(given["response_format"])
    if "tools" in given:
        budget = Budget("tools")
        given["tools"] = [_tool(tool, budget) for tool in given["tools"]]
    return given


def _response_format(given: dict[str, Any]) -> dict[str, Any]:
    kind = given.get("type")
    if kind not in ("text", "json_object", "json_schema"):
        raise BadInput(
            f"response_format has the type {str(kind)[:40]!r}.",
            code="invalid_parameter",
            param="response_format",
            hint="Use text, json_object or json_schema.",
        )
    budget = Budget("response_format")
    inner = given.get("json_schema")
    made: dict[str, Any] = {"type": kind}
    if isinstance(given.get("schema"), Mapping):  # as llama.cpp has it
        made["schema"] = bounded(given["schema"], budget)
    if isinstance(inner, Mapping):
        schema = inner.get("schema")
        held = {"schema": bounded(schema, budget)} if isinstance(schema, Mapping) else {}
        about = {key: str(inner[key])[:200] for key in ("name", "description") if inner.get(key)}
        made["json_schema"] = {**about, **held, **({"strict": True} if inner.get("strict") is True else {})}
    return made


def _tool(tool: Any, budget: Budget) -> Any:
    """The tool with its schema bounded; what else is wrong with it is said where tools are read."""
    function = tool.get("function") if isinstance(tool, Mapping) else None
    if not isinstance(function, Mapping):
        return tool
    schema = function.get("parameters")
    about = {key: function[key] for key in ("name", "description", "strict") if key in function}
    held = {"parameters": bounded(schema, budget) if isinstance(schema, Mapping) else schema} if schema else {}
    return {"type": tool.get("type", "function"), "function": {**about, **held}}
