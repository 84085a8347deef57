"""Asking a published model: where it answers, and the request as its target understands it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tunesmith.errors import BadInput
from tunesmith.recipes import models
from tunesmith.recipes.context import target_for
from tunesmith.serving import tool_asking, tool_template
from tunesmith.serving.hf_folder import control_tokens_of
from tunesmith.serving.pool import ServerPool
from tunesmith.serving.targets.base import Endpoint
from tunesmith.serving.tool_asking import Choice
from tunesmith.store.tables import ModelVersion
from tunesmith.store.workspace import Workspace
from tunesmith.tasks.base import TASKS, Constraint, Task
from tunesmith.tasks.control import neutral_value
from tunesmith.tasks.conversation import Message
from tunesmith.tasks.extraction import Extraction
from tunesmith.tasks.native_tools import read_conversation
from tunesmith.tasks.tool_use import as_trained

# How callers name the length of an answer.
LENGTHS = ("max_tokens", "max_completion_tokens", "n_predict", "num_predict")
# Answered by us when a whole text is turned into tool calls; a serving target would take them as its own.
TURNED = ("tools", "tool_choice", "parallel_tool_calls", "stream", "stream_options")


def task_of(version: ModelVersion) -> Task:
    return TASKS.get(version.task["name"])(version.task["spec"])


def spoken_task(workspace: Workspace, version: ModelVersion) -> Task:
    """The task as this deployment answers."""
    deployment = models.deployment_of(workspace, version.deployment)
    return as_trained(task_of(version), tool_template.form_at(deployment.hf_dir))


def prepare(
    workspace: Workspace, pool: ServerPool, version: ModelVersion, asked: dict[str, Any]
) -> tuple[Endpoint, dict[str, Any]]:
    """`asked` is a chat completion's body; the answer will be held to the task's format."""
    control = _control_tokens(workspace, version)
    said = [_harmless(_as_text(message), control) for message in asked["messages"]]
    readable = all(isinstance(message.get("content"), str) for message in said)
    constraint = spoken_task(workspace, version).constraint([_plain(message) for message in said]) if readable else None
    return address(workspace, pool, version, {**asked, "messages": said}, constraint)


def address(
    workspace: Workspace,
    pool: ServerPool,
    version: ModelVersion,
    asked: dict[str, Any],
    constraint: Constraint | None,
    choice: Choice | None = None,
) -> tuple[Endpoint, dict[str, Any]]:
    """Where the model answers, and the body as its target understands it, held to `constraint`. With a `choice` of the
    tools that the messages list, a model that was trained so is given them as tools.

    A caller who names no temperature gets the answers that were measured: the most likely ones. One who names no
    length gets answers that end where those that were learnt would long have ended.
    """
    deployment = models.deployment_of(workspace, version.deployment)
    target = target_for(workspace.settings, deployment.target)
    endpoint = pool.endpoint(deployment)
    given = {key: value for key, value in asked.items() if value is not None}
    control = control_tokens_of(Path(deployment.hf_dir))
    given["messages"] = [_harmless(message, control) for message in asked["messages"]]
    if "tools" in given:
        given["tools"] = neutral_value(given["tools"], control)
    if deployment.num_predict is not None and not any(key in given for key in LENGTHS):
        given["max_tokens"] = deployment.num_predict
    request = {"temperature": 0, **given, "model": endpoint.model}
    told = read_conversation(given["messages"]) if choice and tool_template.form_at(deployment.hf_dir) else None
    if choice and told:
        return endpoint, tool_asking.body(target, request, told, constraint, choice)
    return endpoint, target.body(request, constraint)


def forced_tool(version: ModelVersion, asked: dict[str, Any]) -> str | None:
    """The one tool that the caller insists on, when the model's whole answer is what such a call would carry.

    Programs ask so for JSON. A model tuned to answer with that JSON needs no tool syntax: its answer is the arguments.
    """
    tools, choice = asked.get("tools") or [], asked.get("tool_choice")
    insists = choice == "required" or (isinstance(choice, dict) and choice.get("type") == "function")
    if version.task["name"] != "extraction" or not insists or len(tools) != 1:
        return None
    function = tools[0].get("function")
    name = function.get("name") if isinstance(function, Mapping) else None
    return str(name) if name else None


def without_tools(asked: Mapping[str, Any]) -> dict[str, Any]:
    """The request as one for a whole text: it is turned into a call, and streamed, afterwards."""
    return {key: value for key, value in asked.items() if key not in TURNED}


def answer_in(version: ModelVersion, asked: Mapping[str, Any]) -> str | None:
    """The answer that a request brings along: Paperless-ngx asks again for its suggestions, put as one line at the end
    of another prompt, in the language of the user. A tuned model has said them in the language of its rows."""
    task = task_of(version)
    if not isinstance(task, Extraction) or task.template is None:
        return None
    text = next((m.get("content") for m in reversed(asked["messages"]) if m.get("role") == "user"), None)
    if not isinstance(text, str) or task.template.content_of(text) != text:  # a document's end is data
        return None
    line = text.rstrip().rpartition("\n")[2].strip()
    answer = task.read(line)
    return line if answer is not None and set(answer) == {f.name for f in task.fields} else None


def as_tool_call(content: dict[str, Any], name: str, answer: str | None = None) -> dict[str, Any]:
    """A completion whose answers (or `answer`) are calls of the tool `name`."""
    for place, choice in enumerate(content.get("choices", [])):
        message = choice["message"]
        call = {"name": name, "arguments": answer or message.get("content") or ""}
        message["tool_calls"] = [{"id": f"call_{place}", "type": "function", "function": call}]
        message["content"] = None
        if answer or choice.get("finish_reason") == "stop":
            choice["finish_reason"] = "tool_calls"
    return content


def _control_tokens(workspace: Workspace, version: ModelVersion) -> tuple[str, ...]:
    return control_tokens_of(Path(models.deployment_of(workspace, version.deployment).hf_dir))


def _harmless(message: Mapping[str, Any], control: Sequence[str]) -> dict[str, Any]:
    """The message unable to end its turn or to begin another: a document in it is data, and never a template."""
    return {key: value if key == "role" else neutral_value(value, control) for key, value in message.items()}


def _as_text(message: Mapping[str, Any]) -> dict[str, Any]:
    """The message with text for its content; without any where an assistant only calls tools. Raises BadInput."""
    role, content = message.get("role"), message.get("content")
    if role not in ("system", "user", "assistant", "tool", "developer"):
        raise BadInput(f"Unknown role {role!r}.", hint="Use system, user or assistant.", param="messages")
    if isinstance(content, list):
        content = "".join(map(_part, content))
    if not isinstance(content, str) and not (content is None and role == "assistant"):
        raise _not_text(f"the content of a {role} message is {type(content).__name__}")
    return {**message, "role": "system" if role == "developer" else role, "content": content}


def _part(part: Any) -> str:
    if not isinstance(part, Mapping) or part.get("type") != "text" or not isinstance(part.get("text"), str):
        kind = part.get("type") if isinstance(part, Mapping) else part
        raise _not_text(f"a part of a message is {str(kind)[:40]!r}")
    return str(part["text"])


def _not_text(what: str) -> BadInput:
    return BadInput(f"Only text can be answered: {what}.", hint="Send text; read images first.", param="messages")


def _plain(message: Mapping[str, Any]) -> Message:
    return Message(role=message["role"], content=message["content"])
