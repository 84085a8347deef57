"""Routes of a LiteLLM proxy: registered where it has a database, covered by a wildcard where it has none."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

from tunesmith.errors import BadInput, Conflict, Unavailable
from tunesmith.serving.targets.base import Deployment, Route, shown_url
from tunesmith.settings import Settings
from tunesmith.tasks.base import Task
from tunesmith_connectors.addresses import without_userinfo
from tunesmith_connectors.litellm import LiteLLM, LiteLLMError

OWN = "tunesmith"  # the name of the route through this service
Mode = Literal["database", "wildcard"]
# What a registered route sets for callers that say nothing of it; what they send wins.
_SET = ("temperature", "max_tokens", "response_format")


def check(settings: Settings) -> str:
    """One sentence on the proxy. Raises Unavailable, BadInput (wrong key)."""
    with _proxy(settings) as proxy:
        names = proxy.models()
        kept = "keeps routes in its database" if proxy.has_database() else "has no database: a wildcard route is used"
        return f"{without_userinfo(proxy.url)} answers, {len(names)} models; it {kept}"


def mode(settings: Settings) -> Mode | None:
    """How the proxy would route a model; None when none is configured. Raises Unavailable."""
    if not settings.litellm_url:
        return None
    with _proxy(settings) as proxy:
        return "database" if proxy.has_database() else "wildcard"


def through_proxy(deployment: Deployment, task: Task, settings: Settings, mode: Mode) -> Route:
    """The proxy's route of a model, and what its server is asked there, as LiteLLM translates it for Ollama.

    A wildcard adds nothing, nor does a registered route without a schema: what it sets is set in the model, too.
    """
    url, schema = f"{shown_url(str(settings.litellm_url))}/v1", schema_of(task)
    note = "Send model, messages and a key of the proxy; what else you send wins over what the route sets."
    if deployment.target != "ollama":
        return Route("litellm", "LiteLLM", url, same_as=OWN, note=note)
    if mode == "wildcard" or schema is None:
        return Route("litellm", "LiteLLM", url, api="ollama", same_as="ollama", note=note)
    options = {"temperature": 0, **({"num_predict": deployment.num_predict} if deployment.num_predict else {})}
    return Route("litellm", "LiteLLM", url, api="ollama", parameters={"format": schema, "options": options}, note=note)


def schema_of(task: Task) -> dict[str, Any] | None:
    """The JSON Schema that every answer fits, whatever is asked; None where the task has none."""
    constraint = task.constraint([])
    return constraint.json_schema if constraint else None


def ensure(deployment: Deployment, settings: Settings, task: Task | None = None) -> dict[str, Any]:
    """Route the model's name. Returns {"model", "mode": "database"|"wildcard", "provider_model", "verified", "note"}.

    Raises BadInput when the proxy has neither a database nor a fitting wildcard, and Unavailable when it is away or
    forgets the route.
    """
    name, parameters = deployment.name, provider_parameters(deployment, settings, task)
    with _proxy(settings) as proxy:
        mode = "database" if proxy.has_database() else "wildcard"
        if mode == "database":
            _register(proxy, name, parameters)
        verified, note = _try(proxy, deployment, parameters)
    return {"model": name, "mode": mode, "provider_model": parameters["model"], "verified": verified, "note": note}


def foreign(name: str, target: str, settings: Settings) -> str | None:
    """A sentence on a route of that name that leads elsewhere and was not made by us; None when there is none.

    A wildcard is no such route, and neither is one that somebody wrote into the configuration for our model. Raises
    as `check` does; a proxy that is away is not waited for.
    """
    with _proxy(settings, attempts=1) as proxy:
        return _foreign(proxy, name, _destination(name, target, settings))


def remove(name: str, settings: Settings) -> bool:
    """Take a registered route away; False when there is none (a wildcard needs no removal)."""
    with _proxy(settings) as proxy:
        found = proxy.has_database() and _find(proxy, route_id(name)) is not None
        if found:
            proxy.delete(route_id(name))
        return found


def route_id(name: str) -> str:
    """The same for every version of a name, so that registering twice cannot make two routes."""
    return f"tunesmith-{name}"


def provider_parameters(deployment: Deployment, settings: Settings, task: Task | None = None) -> dict[str, Any]:
    """`litellm_params`. Ollama by ollama_chat/, which leaves the chat template alone; the embedded one by our own /v1.

    Both answer with what was measured to callers that say nothing of it: the most likely tokens, no more of them than
    an answer needs, and from Ollama in the task's format, to which our own /v1 holds answers better by itself.
    The key for our /v1 is read by the proxy from its environment: no secret passes through here.
    """
    set_here: dict[str, Any] = {"temperature": 0}
    if deployment.num_predict:
        set_here["max_tokens"] = deployment.num_predict
    destination = _destination(deployment.name, deployment.target, settings)
    if deployment.target != "ollama":
        return {**destination, "api_key": "os.environ/TUNESMITH_API_KEY", **set_here}
    if task is not None and (schema := schema_of(task)):
        set_here["response_format"] = _response_format(schema)
    return {**destination, **set_here}


def _destination(name: str, target: str, settings: Settings) -> dict[str, str]:
    if target == "ollama":
        return {"model": f"ollama_chat/{name}", "api_base": str(settings.ollama_url).rstrip("/")}
    return {"model": f"openai/{name}", "api_base": f"{own_url(settings)}/v1"}


def _response_format(schema: dict[str, Any]) -> dict[str, Any]:
    """Its name tells schemas apart: the proxy shows a schema with some values as text."""
    digest = hashlib.sha256(json.dumps(schema).encode()).hexdigest()[:16]
    return {"type": "json_schema", "json_schema": {"name": f"answer-{digest}", "schema": schema}}


def own_url(settings: Settings) -> str:
    """Where the proxy reaches Tunesmith."""
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host  # noqa: S104  a comparison
    return (settings.public_url or f"http://{host}:{settings.port}").rstrip("/")


def wildcard_example(parameters: dict[str, Any], name: str) -> str:
    """The lines that a proxy without a database needs, for this model's kind of name."""
    pattern = "ft-*" if name.startswith("ft-") else "*"
    provider = parameters["model"].partition("/")[0]
    return (
        f'model_list: [{{model_name: "{pattern}", litellm_params: {{model: "{provider}/{pattern}", '
        f"api_base: {parameters['api_base']}}}}}]"
    )


def _register(proxy: LiteLLM, name: str, parameters: dict[str, Any]) -> None:
    if said := _foreign(proxy, name, parameters):
        raise Conflict(said, code="foreign_model", hint="Take that route away, or publish under another name.")
    route = {"model_name": name, "litellm_params": parameters, "model_info": {"id": route_id(name), "mode": "chat"}}
    found = _find(proxy, route_id(name))
    if found is not None and _left_over(found, parameters):
        proxy.delete(route_id(name))  # an update merges, and would keep them
        found = None
    if found is None:
        try:
            proxy.add(route)
        except LiteLLMError as error:
            if error.status != 500 or _find(proxy, route_id(name)) is None:  # a duplicate id is a 500
                raise
            proxy.update(route)
    elif not _same(found, name, parameters):
        proxy.update(route)
    kept = _find(proxy, route_id(name))
    if kept is None or not kept["model_info"].get("db_model"):
        raise Unavailable(
            f"LiteLLM took the route {name} but does not keep it.",
            code="route_not_kept",
            hint="Set store_model_in_db: true in the proxy's general_settings.",
        )
    if not _same(kept, name, parameters):
        raise Unavailable(f"LiteLLM keeps another route under {name}.", code="route_not_kept", hint="Try again.")


def _foreign(proxy: LiteLLM, name: str, destination: dict[str, str]) -> str | None:
    for route in proxy.model_info():
        said = route.get("litellm_params") or {}
        ours = (route.get("model_info") or {}).get("id") == route_id(name)
        to_ours = all(said.get(key) == destination[key] for key in ("model", "api_base"))
        if route.get("model_name") == name and not ours and not to_ours:
            leads = said.get("model") or "something else"
            return f"The LiteLLM proxy has a model {name!r} that Tunesmith did not make; it leads to {leads}."
    return None


def _find(proxy: LiteLLM, wanted: str) -> dict[str, Any] | None:
    return next((route for route in proxy.model_info() if (route.get("model_info") or {}).get("id") == wanted), None)


def _left_over(found: dict[str, Any], parameters: Mapping[str, Any]) -> list[str]:
    """What the route sets and should not set any more."""
    said = found.get("litellm_params") or {}
    return [key for key in _SET if said.get(key) is not None and key not in parameters]


def _same(found: dict[str, Any], name: str, parameters: Mapping[str, Any]) -> bool:
    said = found.get("litellm_params") or {}
    compared = [key for key in ("model", "api_base", *_SET) if key in parameters]
    equal = all(_equal(said.get(key), parameters[key]) for key in compared)
    return equal and found.get("model_name") == name and not _left_over(found, parameters)


def _equal(said: Any, wanted: Any) -> bool:
    """Whether the proxy shows what it was given. Formats are told apart by their names, and older proxies hide
    numbers whose name sounds like a secret's (max_tokens)."""
    if isinstance(wanted, dict):
        return isinstance(said, dict) and (said.get("json_schema") or {}).get("name") == wanted["json_schema"]["name"]
    if isinstance(said, str) and isinstance(wanted, int | float):
        return set(said) == {"*"} or said == str(wanted)
    return bool(said == wanted)


def _try(proxy: LiteLLM, deployment: Deployment, parameters: dict[str, Any]) -> tuple[bool, str]:
    """A real chat through the proxy. An unknown name raises; a model server that is not up yet is only noted."""
    try:
        proxy.chat(deployment.name)
    except LiteLLMError as error:
        if _unknown_model(error):
            raise BadInput(
                f"The LiteLLM proxy has no route for {deployment.name}.",
                code="no_route",
                hint=f"Give it a database, or put this into its configuration: "
                f"{wildcard_example(parameters, deployment.name)}",
            ) from error
        if deployment.target == "ollama" or error.status in (0, 401, 403):
            raise
        return False, f"The route is there; its first chat failed, is `tunesmith serve` running? {error}"
    return True, ""


def _unknown_model(error: LiteLLMError) -> bool:
    text = str(error)
    return error.status in (400, 404) and ("Invalid model name" in text or "no healthy deployments" in text.lower())


@contextmanager
def _proxy(settings: Settings, attempts: int = 4) -> Iterator[LiteLLM]:
    if not settings.litellm_url:
        raise Unavailable("No LiteLLM proxy is configured.", hint="Set TUNESMITH_LITELLM_URL.", retryable=False)
    key = settings.litellm_key.get_secret_value() if settings.litellm_key else None
    proxy = LiteLLM(settings.litellm_url, key, attempts=attempts)
    try:
        yield proxy
    except LiteLLMError as error:
        if error.status in (401, 403):
            raise BadInput(str(error), code="litellm_key", hint=error.hint) from error
        raise Unavailable(str(error), code="litellm_failed", hint=error.hint, retryable=error.retryable) from error
    finally:
        proxy.close()
