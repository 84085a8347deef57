"""`/v1/webhooks`: who is told what happens, and how each telling went.

Lasting ones are the admin's. One for the end of a single run gives no more power than the scope that may cancel that
run has: it goes to the same allowed hosts, and is gone after that end.
"""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from tunesmith.api.dependencies import CallerDep, CanAdmin, WorkspaceDep, needs
from tunesmith.api.keys import Caller
from tunesmith.api.routing import SafeRoute
from tunesmith.api.schemas import Page, page
from tunesmith.recipes import webhooks
from tunesmith.recipes.notices import Event
from tunesmith.typed import Typed

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"], route_class=SafeRoute)

_URL = "https://n8n.example.org/webhook/tuned"
_OBJECT: dict[str, Any] = {
    "id": "wh_0123456789abcdef",
    "url": _URL,
    "events": ["run.succeeded", "gate.failed"],
    "description": "tell the chat",
    "enabled": True,
    "disabled_reason": None,
    "run_id": None,
    "created_at": 1795000000,
}


class NewWebhook(Typed):
    """Where to, and what for. The host must be on the allow-list (`TUNESMITH_WEBHOOK_HOSTS`)."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"url": _URL, "events": ["run.succeeded", "gate.failed"]}]},
    )

    url: str = Field(max_length=2000, description="http or https, without user name and password.")
    events: list[Event] = Field(min_length=1)
    description: str = Field("", max_length=200)
    enabled: bool = True
    run_id: str | None = Field(
        None, description="Only events of this run (or ftjob-…); deleted once its end was delivered."
    )


class WebhookChanges(Typed):
    """What is left out stays as it is."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"enabled": False}]})

    url: str | None = Field(None, max_length=2000)
    events: list[Event] | None = Field(None, min_length=1)
    description: str | None = Field(None, max_length=200)
    enabled: bool | None = None
    rotate_secret: bool = Field(False, description="Make a new secret; the answer shows it, once.")


class WebhookObject(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [_OBJECT]})

    id: str
    url: str
    events: list[str]
    description: str
    enabled: bool
    disabled_reason: str | None = None
    run_id: str | None = None
    created_at: int


class WebhookWithSecret(WebhookObject):
    """`secret` signs by Standard Webhooks. It is shown when it is made, and never again."""

    model_config = ConfigDict(json_schema_extra={"examples": [{**_OBJECT, "secret": "whsec_…"}]})

    secret: str | None = None


class WebhookList(BaseModel):
    data: list[WebhookObject]


class Attempt(BaseModel):
    at: float
    status_code: int | None
    error: str | None
    ms: int


class DeliveryObject(BaseModel):
    """One event on its way to one webhook. `event_id` is the `webhook-id` header, the same at every attempt."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": "dlv-0123456789ab",
                "event_id": "evt-0123456789ab",
                "type": "run.succeeded",
                "status": "delivered",
                "attempts": [{"at": 1795000000.5, "status_code": 204, "error": None, "ms": 18}],
                "next_attempt_at": None,
                "created_at": 1795000000.1,
            }
        }
    )

    id: str
    event_id: str
    type: str
    status: Literal["delivered", "pending", "failed"]
    attempts: list[Attempt]
    next_attempt_at: float | None
    created_at: float


def _held_to(caller: Caller, run_id: str | None) -> None:
    needs("train" if run_id else "admin")(caller)


@router.post("", operation_id="create_webhook", status_code=201, response_model=WebhookWithSecret)
def create_webhook(workspace: WorkspaceDep, caller: CallerDep, body: NewWebhook) -> Any:
    """Make a webhook. Needs the scope admin; with `run_id`, train. The answer carries its signing secret, which is not
    shown again."""
    _held_to(caller, body.run_id)
    made = webhooks.create(workspace, **body.model_dump())
    return webhooks.view(made, with_secret=True)


@router.get("", operation_id="list_webhooks", dependencies=[CanAdmin], response_model=WebhookList)
def list_webhooks(workspace: WorkspaceDep) -> Any:
    """All webhooks, oldest first, without their secrets."""
    return {"data": [webhooks.view(row) for row in webhooks.list_all(workspace)]}


@router.get("/{webhook_id}", operation_id="get_webhook", dependencies=[CanAdmin], response_model=WebhookObject)
def get_webhook(workspace: WorkspaceDep, webhook_id: str) -> Any:
    """One webhook; `disabled_reason` says when the endpoint was gone."""
    return webhooks.view(webhooks.get(workspace, webhook_id))


@router.patch(
    "/{webhook_id}",
    operation_id="update_webhook",
    dependencies=[CanAdmin],
    response_model=WebhookWithSecret,
    response_model_exclude_unset=True,
)
def update_webhook(workspace: WorkspaceDep, webhook_id: str, body: WebhookChanges) -> Any:
    """Change it, switch it off or on, or make a new secret."""
    changes = body.model_dump(exclude_none=True)
    row = webhooks.update(workspace, webhook_id, changes)
    return webhooks.view(row, with_secret=body.rotate_secret)


@router.delete("/{webhook_id}", operation_id="delete_webhook", status_code=204)
def delete_webhook(workspace: WorkspaceDep, caller: CallerDep, webhook_id: str) -> None:
    """Delete it, with its deliveries. Needs the scope admin; for one of a single run, train."""
    _held_to(caller, webhooks.get(workspace, webhook_id).run_id if caller.may("train") else None)
    webhooks.remove(workspace, webhook_id)


@router.get(
    "/{webhook_id}/deliveries",
    operation_id="list_webhook_deliveries",
    dependencies=[CanAdmin],
    response_model=Page[DeliveryObject],
)
def list_webhook_deliveries(
    workspace: WorkspaceDep,
    webhook_id: str,
    limit: Annotated[int, Query(ge=1, le=200)] = 20,
    after: str | None = None,
) -> Any:
    """What was sent and how it went, newest first. Kept for 30 days."""
    found = webhooks.list_deliveries(workspace, webhook_id, limit=limit + 1, after=after)
    return page([webhooks.view_delivery(row) for row in found], limit)


@router.post(
    "/{webhook_id}/deliveries/{delivery_id}/replay",
    operation_id="replay_webhook_delivery",
    dependencies=[CanAdmin],
    response_model=DeliveryObject,
)
def replay_webhook_delivery(workspace: WorkspaceDep, webhook_id: str, delivery_id: str) -> Any:
    """Send it again, with the same `webhook-id` and body."""
    return webhooks.view_delivery(webhooks.replay(workspace, webhook_id, delivery_id))


@router.post("/{webhook_id}/test", operation_id="test_webhook", dependencies=[CanAdmin], response_model=DeliveryObject)
def test_webhook(workspace: WorkspaceDep, webhook_id: str) -> Any:
    """Send a `webhook.test` event now; the answer says how it went."""
    return webhooks.view_delivery(webhooks.test(workspace, webhook_id))
