"""One data folder: its settings, its database and its artefacts."""

from dataclasses import dataclass

from tunesmith.settings import Settings, get_settings
from tunesmith.store.artifacts import Artifacts
from tunesmith.store.database import Database, open_database


@dataclass
class Workspace:
    settings: Settings
    database: Database
    artifacts: Artifacts

    @classmethod
    def open(cls, settings: Settings | None = None) -> "Workspace":
        settings = settings or get_settings()
        return cls(settings, open_database(settings), Artifacts(settings))

    def close(self) -> None:
        self.database.close()
