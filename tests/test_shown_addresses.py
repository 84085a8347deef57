"""What is shown of other systems' addresses: never a user name or a password, and to strangers nothing at all."""

import logging
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr
from sqlalchemy.exc import OperationalError

from tunesmith.api import keys
from tunesmith.app import create_app
from tunesmith.cli import doctor
from tunesmith.errors import TunesmithError, Unavailable
from tunesmith.jobs import events
from tunesmith.recipes import stage
from tunesmith.serving import routes
from tunesmith.serving.targets.base import Check
from tunesmith.serving.targets.ollama import OllamaTarget
from tunesmith.settings import Settings
from tunesmith.store.logs import Formatter, print_trace
from tunesmith.store.tables import Run
from tunesmith.store.workspace import Workspace
from tunesmith_connectors.addresses import shown, without_userinfo
from tunesmith_connectors.litellm import LiteLLM, LiteLLMError
from tunesmith_connectors.ollama import OllamaError

SECRET = "http://ana:s3cret@127.0.0.1:9"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("at http://ana:s3cret@nas:11434/x does", "at http://nas:11434/x does"),
        ("postgresql+psycopg://u:p%40@db/x", "postgresql+psycopg://db/x"),
        ("https://token@h, https://a:b@c@h?x=@y", "https://h, https://h?x=@y"),
        ("see https://example.org/@ana and ana@example.org", "see https://example.org/@ana and ana@example.org"),
    ],
)
def test_user_info_is_taken_out_of_urls(text: str, kept: str) -> None:
    assert without_userinfo(text) == kept
    assert shown({"a": [text, 1, None]}) == {"a": [kept, 1, None]}


def test_errors_show_none(settings: Settings) -> None:
    error = TunesmithError(f"{SECRET} is away.", hint=f"Look at {SECRET}.")
    for said in (str(error), str(error.as_dict()), str(OllamaError(SECRET)), str(LiteLLMError(SECRET))):
        assert "s3cret" not in said
        assert "127.0.0.1:9" in said
    with pytest.raises(LiteLLMError) as caught:
        LiteLLM(SECRET, None, attempts=1).model_info()
    assert "s3cret" not in str(caught.value)
    settings.ollama_url = SECRET
    assert "s3cret" not in str(OllamaTarget(settings).check())
    assert Check(True, f"at {SECRET}").detail == "at http://127.0.0.1:9"


def test_a_failed_stage_shows_none() -> None:
    assert "s3cret" not in str(stage._as_dict(ValueError(SECRET)))
    assert "s3cret" not in str(stage._as_dict(Unavailable(SECRET)))


def test_logs_and_traces_show_none(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        raise ValueError(SECRET)
    except ValueError as error:
        record = logging.LogRecord("x", logging.ERROR, "x", 1, "at %s", (SECRET,), (ValueError, error, None))
        print_trace(error)
    said = Formatter("%(message)s").format(record) + capsys.readouterr().err
    assert "s3cret" not in said
    assert said.count("127.0.0.1:9") == 3


def test_events_show_none(workspace: Workspace) -> None:
    with workspace.database.write() as session:
        session.add(Run(id="run-0123456789ab", recipe_name="r", recipe={}, model_name="r"))
    events.append(workspace.database, "run-0123456789ab", f"at {SECRET}", data={"where": [SECRET]})
    (event,) = events.read(workspace.database, "run-0123456789ab")
    assert (event.message, event.data) == ("at http://127.0.0.1:9", {"where": ["http://127.0.0.1:9"]})


def test_doctor_shows_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    settings = Settings(
        home=tmp_path,
        ollama_url=SECRET,
        litellm_url=SECRET,
        teacher_url=SECRET,
        paperless_url=SECRET,
        paperless_token=SecretStr("t"),
    )
    monkeypatch.setattr(doctor, "get_settings", lambda: settings)
    monkeypatch.setattr(routes, "LiteLLM", lambda url, key, **_: LiteLLM(url, key, attempts=1))
    doctor.examine_everything()
    said = capsys.readouterr().out
    assert "127.0.0.1" in said
    assert "s3cret" not in said


@pytest.mark.parametrize("cause", ["disk", "database"])
def test_readiness_tells_strangers_no_more_than_its_status(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, cause: str
) -> None:
    """It showed folders and addresses to callers without a key."""
    workspace.settings.admin_key = SecretStr("k")
    keys.ensure_first_key(workspace)
    home = str(workspace.settings.home)

    def away() -> None:
        raise OperationalError("SELECT 1", None, Exception(f"cannot open {home} at {SECRET}"))

    if cause == "disk":
        workspace.artifacts.min_free_bytes = 2**60
    else:
        monkeypatch.setattr(workspace.artifacts, "require_space", away)
    with TestClient(create_app(workspace=workspace)) as client:
        for given in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic k"}):
            answer = client.get("/readyz", headers=given)
            assert answer.status_code == 503
            assert answer.json()["status"] == "not ready"
            assert cause in answer.json()["reason"]
            assert not any(word in answer.text for word in (home, "s3cret", "127.0.0.1", "GiB"))
        answer = client.get("/readyz", headers={"Authorization": "Bearer k"})
        assert answer.status_code == 503
        assert home in answer.json()["reason"]
        assert "s3cret" not in answer.text
