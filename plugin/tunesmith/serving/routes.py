"""Routes of a LiteLLM proxy: registered where it has a database, covered by a wildcard where it has none."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tunesmith.errors import BadInput, Conflict, Unavailable
from tunesmith.serving.targets.base import Deployment
from tunesmith.settings import Settings
from tunesmith_connectors.litellm import LiteLLM, LiteLLMError


def check(settings: Settings) -> str:
    """One sentence on the proxy. Raises Unavailable, BadInput (wrong key)."""
    with _proxy(settings) as proxy:
        names = proxy.models()
        kept = "keeps routes in its database" if proxy.has_database() else "has no database: a wildcard route is used"
        return f"{proxy.url} answers, {len(names)} models; it {kept}"


def ensure(deployment: Deployment, settings: Settings) -> dict[str, Any]:
    """Route the model's name. Returns {"model", "mode": "database"|"wildcard", "provider_model", "verified", "note"}.

    Raises BadInput when the proxy has neither a database nor a fitting wildcard, and Unavailable when it is away or
    forgets the route.
    """
    name, parameters = deployment.name, provider_parameters(deployment, settings)
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


def provider_parameters(deployment: Deployment, settings: Settings) -> dict[str, str]:
    """`litellm_params`. Ollama by ollama_chat/, which leaves the chat template alone; the embedded one by our own /v1.

    The key for our /v1 is read by the proxy from its environment: no secret passes through here.
    """
    destination = _destination(deployment.name, deployment.target, settings)
    if deployment.target == "ollama":
        return destination
    return {**destination, "api_key": "os.environ/TUNESMITH_API_KEY"}


def _destination(name: str, target: str, settings: Settings) -> dict[str, str]:
    if target == "ollama":
        return {"model": f"ollama_chat/{name}", "api_base": str(settings.ollama_url).rstrip("/")}
    return {"model": f"openai/{name}", "api_base": f"{own_url(settings)}/v1"}


def own_url(settings: Settings) -> str:
    """Where the proxy reaches Tunesmith."""
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host  # noqa: S104  a comparison
    return (settings.public_url or f"http://{host}:{settings.port}").rstrip("/")


def wildcard_example(parameters: dict[str, str], name: str) -> str:
    """The lines that a proxy without a database needs, for this model's kind of name."""
    pattern = "ft-*" if name.startswith("ft-") else "*"
    provider = parameters["model"].partition("/")[0]
    return (
        f'model_list: [{{model_name: "{pattern}", litellm_params: {{model: "{provider}/{pattern}", '
        f"api_base: {parameters['api_base']}}}}}]"
    )


def _register(proxy: LiteLLM, name: str, parameters: dict[str, str]) -> None:
    if said := _foreign(proxy, name, parameters):
        raise Conflict(said, code="foreign_model", hint="Take that route away, or publish under another name.")
    route = {"model_name": name, "litellm_params": parameters, "model_info": {"id": route_id(name), "mode": "chat"}}
    found = _find(proxy, route_id(name))
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


def _same(found: dict[str, Any], name: str, parameters: dict[str, str]) -> bool:
    said = found.get("litellm_params") or {}
    return found.get("model_name") == name and all(said.get(key) == parameters[key] for key in ("model", "api_base"))


def _try(proxy: LiteLLM, deployment: Deployment, parameters: dict[str, str]) -> tuple[bool, str]:
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
