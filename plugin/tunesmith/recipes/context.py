"""What a stage is given: its run, its folder, the outcomes of the stages before it, and a way to speak."""

import threading
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tunesmith.jobs import events, queue
from tunesmith.recipes.schema import Recipe
from tunesmith.serving.targets.base import TARGETS, Target
from tunesmith.settings import Settings
from tunesmith.store.retry import retried
from tunesmith.store.tables import Job, Run
from tunesmith.store.workspace import Workspace
from tunesmith.tasks.base import TASKS, Task


@dataclass
class Context:
    workspace: Workspace
    run: Run
    job: Job
    stop: threading.Event = field(default_factory=threading.Event)

    @cached_property
    def recipe(self) -> Recipe:
        return Recipe.model_validate(self.run.recipe)

    @property
    def settings(self) -> Settings:
        return self.workspace.settings

    @property
    def folder(self) -> Path:
        return self.workspace.artifacts.job(self.job.id)

    @property
    def version(self) -> str:
        """The version of the model that this run makes: valid as an Ollama tag."""
        return self.run.id

    @property
    def publishes(self) -> bool:
        """Whether the run is to put its model live."""
        return self.has_stage("publish")

    def has_stage(self, kind: str) -> bool:
        """Whether the run goes that far: see `until`."""
        return any(job.kind == kind for job in queue.jobs_of(self.workspace.database, self.run.id))

    def say(
        self, message: str, *, level: str = "info", type: str = "message", data: dict[str, Any] | None = None
    ) -> None:
        """Tell it in the run's events. Progress that cannot be stored at once is lost: the next will be."""
        events.append(
            self.workspace.database,
            self.run.id,
            message,
            job_id=self.job.id,
            level=level,
            type=type,
            data=data,
            patience_s=0.0 if type == "metrics" else events.PATIENCE_S,
        )

    def jobs(self) -> list[Job]:
        """All stages of this run, in order."""
        return retried(lambda: queue.jobs_of(self.workspace.database, self.run.id))

    def outcome(self, kind: str) -> dict[str, Any]:
        """What an earlier stage of this run left."""
        for job in self.jobs():
            if job.kind == kind and job.outcome is not None:
                return job.outcome
        raise KeyError(f"stage {kind} of {self.run.id} has no outcome")

    def task(self) -> Task:
        spec = self.outcome("build")["task"]
        return TASKS.get(spec["name"])(spec["spec"])

    def target(self) -> Target:
        return target_for(self.settings, self.recipe.publish.target)


def target_for(settings: Settings, wanted: str = "auto") -> Target:
    """The serving target that a recipe or the settings name. "auto": Ollama when its URL is set, else embedded."""
    name = settings.target if wanted == "auto" else wanted
    if name == "auto":
        name = "ollama" if settings.ollama_url else "llamacpp"
    return TARGETS.get(name)(settings)
