"""Settings: environment (`TUNESMITH_*`), then `.env`, then one file per secret in `TUNESMITH_SECRETS_DIR`."""

import os
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """What the service and its child processes need to know. URLs of other systems come from here only."""

    model_config = SettingsConfigDict(env_prefix="TUNESMITH_", env_file=".env", extra="ignore")

    home: Path = Field(Path("~/.tunesmith"), description="Data folder: database, datasets, jobs, models.")
    models: Path | None = Field(None, description="Folder with further base models in Hugging Face layout.")
    parts: Path = Field(
        Path(sys.prefix) / "share" / "tunesmith",
        description="llama.cpp's converter, the packaged base model and what is prepared from it once.",
    )
    llama_cpp: Path | None = Field(None, description="Your own llama.cpp checkout; used before the packaged one.")

    host: str = "127.0.0.1"
    port: int = 8765
    public_url: str | None = Field(None, description="How a LiteLLM proxy reaches this service, e.g. from a container.")
    allowed_hosts: str = Field("", description="Further names that /mcp is called by, e.g. nas.local, my-box:8080.")
    database_url: str | None = Field(None, description="Default: SQLite in the data folder.")
    admin_key: SecretStr | None = Field(
        None, description="A key of an admin, as long as it is set. Default: made and shown once."
    )
    log_level: str = "INFO"

    paperless_url: str | None = None
    paperless_token: SecretStr | None = None
    ollama_url: str | None = None
    litellm_url: str | None = None
    litellm_key: SecretStr | None = None

    teacher_url: str | None = Field(
        None, description="An OpenAI-shaped endpoint that writes synthetic rows. Default: LiteLLM, else Ollama."
    )
    teacher_key: SecretStr | None = None
    teacher_model: str | None = Field(None, description="The teacher where a recipe names none.")
    teacher_max_tokens: int = Field(
        2_000_000, ge=0, description="Of a recipe by a key without admin, for teachers and judges. 0: no limit."
    )
    teacher_concurrency: int = Field(4, gt=0, le=64, description="Questions that a teacher is asked at once.")

    webhook_hosts: str = Field("", description="Hosts that webhooks may go to: host, host:port or *.suffix, by comma.")

    target: str = Field("auto", description="Where models go live: auto (ollama if its URL is set), llamacpp, ollama.")
    quantization: str = Field("q8_0", description="Of the served model: q8_0, q4_k_m, f16.")
    train_lane: str = Field(
        "default", max_length=20, description="Lane of training, export and evaluation: worker --lane of that name."
    )
    train_minutes: float = Field(12.0, gt=0, description="Time that an automatic plan may spend training on a CPU.")
    max_upload_mb: int = Field(512, gt=0)
    max_base_model_gb: float = Field(40.0, gt=0, description="Of a base model that is fetched from a hub.")
    max_read_memory_mb: int = Field(4096, gt=0, description="Memory that reading one upload may take; less if small.")
    min_free_disk_mb: int = Field(1024, ge=0, description="A job pauses rather than fill the disk beyond this.")

    def model_post_init(self, _context: Any) -> None:
        for name in ("home", "models", "parts", "llama_cpp"):
            path = getattr(self, name)
            if path is not None:
                object.__setattr__(self, name, path.expanduser().resolve())

    @property
    def database(self) -> str:
        return self.database_url or f"sqlite:///{self.home / 'tunesmith.sqlite3'}"


@lru_cache
def get_settings() -> Settings:
    return Settings(_secrets_dir=os.environ.get("TUNESMITH_SECRETS_DIR"))
