"""`/v1/schedules`: when recipes run by themselves."""

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, IPvAnyAddress, StringConstraints, field_serializer

from tunesmith.api.dependencies import CallerDep, CanRead, CanTrain, WorkspaceDep
from tunesmith.api.recipes import RunObject
from tunesmith.recipes import schedules, views
from tunesmith.recipes.schema import Name

router = APIRouter(prefix="/v1/schedules", tags=["schedules"])

Clock = Annotated[str, StringConstraints(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]

_EXAMPLE: dict[str, Any] = {
    "name": "nightly",
    "recipe": "household-documents",
    "cron": "0 2 * * *",
    "timezone": "Europe/Berlin",
    "minimum_new_documents": 20,
    "quiet_hours": {"from": "07:00", "to": "22:00"},
    "wake": {"mac": "3c:52:82:aa:bb:cc"},
}
_OBJECT: dict[str, Any] = {
    **_EXAMPLE,
    "every": None,
    "enabled": True,
    "next_times": ["2026-11-25T02:00:00+01:00", "2026-11-26T02:00:00+01:00", "2026-11-27T02:00:00+01:00"],
    "last_run_id": "run-0123456789ab",
    "last_result": {"at": 1795000000.0, "status": "started", "reason": None, "run_id": "run-0123456789ab"},
    "created_at": 1794900000,
}


class QuietHours(BaseModel):
    """Local time, `to` excluded; over midnight when `from` is later. A turn in it comes at its end."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    from_: Clock = Field(alias="from")
    to: Clock


class Wake(BaseModel):
    """Wake-on-LAN: the packet is sent when a run is queued."""

    model_config = ConfigDict(extra="forbid")

    mac: str = Field(max_length=17)
    broadcast: IPvAnyAddress | None = Field(None, description="Default 255.255.255.255, the own network.")
    port: int | None = Field(None, ge=1, le=65535, description="Default 9.")

    @field_serializer("broadcast")
    def _as_text(self, value: Any) -> str | None:
        return str(value) if value else None


class ScheduleChanges(BaseModel):
    """What is left out stays as it is. A new cron replaces every, and the other way round."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"enabled": False}]})

    recipe: Name | None = None
    cron: str | None = Field(None, max_length=120, description="Minute, hour, day, month, day of the week.")
    every: str | None = Field(None, max_length=10, description="30m, 6h or 1d.")
    timezone: str | None = Field(None, max_length=60, description="For example Europe/Berlin. Default: UTC.")
    minimum_new_documents: int | None = Field(
        None, ge=0, le=1_000_000, description="Run only when this many are new or corrected in Paperless."
    )
    quiet_hours: QuietHours | None = None
    wake: Wake | None = None
    enabled: bool | None = None

    def given(self) -> dict[str, Any]:
        """What the caller named, as `recipes.schedules` takes it."""
        named = self.model_dump(mode="json", by_alias=True, exclude_unset=True)
        if named.get("wake"):
            named["wake"] = {key: value for key, value in named["wake"].items() if value is not None}
        removable = ("quiet_hours", "wake")
        return {key: value for key, value in named.items() if value is not None or key in removable}


class NewSchedule(ScheduleChanges):
    """When to run which recipe: exactly one of `cron` and `every`."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_EXAMPLE]})

    name: Name
    recipe: Name


class LastResult(BaseModel):
    at: float
    status: str
    reason: str | None
    run_id: str | None


class ScheduleObject(BaseModel):
    """A schedule with its next turns (ISO 8601, its own time zone) and what came of the last one."""

    model_config = ConfigDict(json_schema_extra={"examples": [_OBJECT]})

    name: str
    recipe: str
    cron: str | None
    every: str | None
    timezone: str
    minimum_new_documents: int
    quiet_hours: dict[str, str] | None
    wake: dict[str, Any] | None
    enabled: bool
    next_times: list[str]
    last_run_id: str | None
    last_result: LastResult | None
    created_at: int


class ScheduleList(BaseModel):
    data: list[ScheduleObject]


@router.post(
    "", operation_id="create_schedule", dependencies=[CanTrain], status_code=201, response_model=ScheduleObject
)
def create_schedule(workspace: WorkspaceDep, caller: CallerDep, body: NewSchedule) -> Any:
    """Run a saved recipe by itself, with the rights of the key that makes the schedule. One run at a time; missed turns
    are made up for once."""
    return schedules.view(schedules.create(workspace, body.given(), caller))


@router.get("", operation_id="list_schedules", dependencies=[CanRead], response_model=ScheduleList)
def list_schedules(workspace: WorkspaceDep) -> Any:
    """All schedules by name, each with its next three turns."""
    return {"data": [schedules.view(row) for row in schedules.list_all(workspace)]}


@router.get("/{name}", operation_id="get_schedule", dependencies=[CanRead], response_model=ScheduleObject)
def get_schedule(workspace: WorkspaceDep, name: str) -> Any:
    """One schedule; `last_result` says why a turn was skipped."""
    return schedules.view(schedules.get(workspace, name))


@router.patch("/{name}", operation_id="update_schedule", dependencies=[CanTrain], response_model=ScheduleObject)
def update_schedule(workspace: WorkspaceDep, caller: CallerDep, name: str, body: ScheduleChanges) -> Any:
    """Change it, or switch it off or on. Null takes quiet_hours or wake away."""
    return schedules.view(schedules.update(workspace, name, body.given(), caller))


@router.delete("/{name}", operation_id="delete_schedule", dependencies=[CanTrain], status_code=204)
def delete_schedule(workspace: WorkspaceDep, name: str) -> None:
    """Delete it; its runs stay."""
    schedules.remove(workspace, name)


@router.post("/{name}/run", operation_id="run_schedule", dependencies=[CanTrain], response_model=RunObject)
def run_schedule(workspace: WorkspaceDep, caller: CallerDep, name: str) -> Any:
    """Run its recipe now, whatever the hour and however few documents are new. 409 while its last run goes on."""
    return views.run(workspace, schedules.run_now(workspace, name, caller))
