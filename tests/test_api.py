"""The API over HTTP: keys and scopes, uploads, jobs, errors that say what to do next."""

import errno
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tunesmith.api import keys
from tunesmith.app import create_app
from tunesmith.jobs import events, queue
from tunesmith.recipes import files
from tunesmith.settings import Settings
from tunesmith.store.tables import File
from tunesmith.store.workspace import Workspace

ADMIN = {"Authorization": "Bearer admin-key"}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    settings = Settings(home=tmp_path / "home", admin_key="admin-key", min_free_disk_mb=0, max_upload_mb=1)
    opened = Workspace.open(settings)
    keys.ensure_first_key(opened)
    return opened


@pytest.fixture
def client(workspace: Workspace) -> Iterator[TestClient]:
    with TestClient(create_app(workspace=workspace), headers=ADMIN) as client:
        yield client


def jsonl(rows: int = 12) -> bytes:
    lines = [
        json.dumps(
            {
                "messages": [
                    {"role": "user", "content": f"Receipt {n}: total {n}.50"},
                    {"role": "assistant", "content": json.dumps({"total": f"{n}.50"})},
                ]
            }
        )
        for n in range(rows)
    ]
    return "\n".join(lines).encode()


def upload(client: TestClient, content: bytes | None = None, purpose: str = "fine-tune") -> Any:
    files = {"file": ("rows.jsonl", content if content is not None else jsonl())}
    return client.post("/v1/files", files=files, data={"purpose": purpose})


def create_job(client: TestClient, **more: Any) -> Any:
    file_id = more.pop("training_file", None) or upload(client).json()["id"]
    headers = more.pop("headers", {})
    body = {"model": "smollm2-135m-instruct", "training_file": file_id, **more}
    return client.post("/v1/fine_tuning/jobs", json=body, headers=headers)


def test_health_needs_no_key_and_all_else_does(client: TestClient) -> None:
    assert client.get("/healthz", headers={"Authorization": ""}).json()["status"] == "ok"
    assert client.get("/readyz", headers={"Authorization": ""}).json()["status"] == "ready"
    for path, methods in client.app.openapi()["paths"].items():  # type: ignore[attr-defined]
        if path in ("/healthz", "/readyz"):
            continue
        for method in methods:
            response = client.request(method, path, headers={"Authorization": "Bearer wrong"})
            assert response.status_code == 401, (method, path)


def test_readiness_names_a_full_disk(client: TestClient, workspace: Workspace) -> None:
    workspace.artifacts.min_free_bytes = 2**60
    response = client.get("/readyz")
    assert response.status_code == 503
    assert "GiB" in response.json()["reason"]


def test_an_upload_to_a_full_disk_says_so(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was an unexpected error with no reason."""

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "write_upload", full)
    response = upload(client)
    assert response.status_code == 507
    assert response.json()["error"]["code"] == "disk_full"


def test_scopes_are_held_to(client: TestClient, workspace: Workspace) -> None:
    reader = {"Authorization": f"Bearer {keys.create_key(workspace, 'reader', ['read'])}"}
    assert client.get("/v1/models", headers=reader).status_code == 200
    refused = client.post("/v1/fine_tuning/jobs", json={"model": "x", "training_file": "file-1"}, headers=reader)
    assert refused.status_code == 403
    assert "train" in refused.json()["error"]["message"]
    assert client.post("/v1/models/x/rollback", headers=reader).status_code == 403


def test_the_first_key_is_shown_once_and_only_its_digest_is_kept(tmp_path: Path) -> None:
    workspace = Workspace.open(Settings(home=tmp_path, database_url=f"sqlite:///{tmp_path / 'tunesmith.sqlite3'}"))
    secret = keys.ensure_first_key(workspace)
    assert secret is not None
    assert keys.ensure_first_key(workspace) is None
    assert keys.identify(workspace, secret) is not None
    assert keys.identify(workspace, secret + "x") is None
    workspace.close()
    assert secret.encode() not in (tmp_path / "tunesmith.sqlite3").read_bytes()


def test_the_database_is_its_owners_even_in_a_folder_that_others_can_read(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    Workspace.open(Settings(home=tmp_path, database_url=None))
    assert (tmp_path / "tunesmith.sqlite3").stat().st_mode & 0o077 == 0


def test_a_key_without_admin_does_not_lock_the_owner_out(tmp_path: Path) -> None:
    """`tunesmith keys create agent --scope read` before the first start: no admin key was ever shown."""
    workspace = Workspace.open(Settings(home=tmp_path))
    keys.create_key(workspace, "agent", ["read"])
    secret = keys.ensure_first_key(workspace)
    assert secret is not None
    caller = keys.identify(workspace, secret)
    assert caller is not None
    assert caller.may("admin")


def test_a_wrong_line_is_named_and_nothing_is_stored(client: TestClient, workspace: Workspace) -> None:
    bad = upload(client, jsonl(3) + b"\n{not json}\n")
    assert bad.status_code == 400
    assert "4" in bad.json()["error"]["message"]
    assert client.get("/v1/files").json()["data"] == []
    assert list((workspace.artifacts.home / "files").iterdir()) == []


def test_a_file_too_large_leaves_nothing(client: TestClient, workspace: Workspace) -> None:
    big = upload(client, b"x" * (2**20 + 1))
    assert big.status_code == 413
    assert list((workspace.artifacts.home / "files").iterdir()) == []


def test_a_stranger_cannot_fill_the_memory_with_a_form(client: TestClient, workspace: Workspace) -> None:
    """A body was read before the key was asked for, and a form could be as large as an upload, whatever the route."""
    workspace.settings.max_upload_mb = 64
    files = {"file": ("rows.jsonl", b"x" * (5 * 2**20))}
    reader = keys.create_key(workspace, "reader", ["read"])
    for key, status, other in (("wrong", 401, 401), (reader, 403, 413)):
        headers = {"Authorization": f"Bearer {key}"}
        assert client.post("/v1/files", files=files, headers=headers).status_code == status
        assert client.post("/v1/chat/completions", files=files, headers=headers).status_code == other
    assert client.post("/v1/chat/completions", files=files).status_code == 413
    assert client.post("/v1/files", files=files).status_code == 400, "it is read, and is no JSONL"


def test_files_round_trip(client: TestClient) -> None:
    file = upload(client).json()
    assert file["object"] == "file"
    assert file["bytes"] == len(jsonl())
    assert client.get(f"/v1/files/{file['id']}/content").content == jsonl()
    assert [item["id"] for item in client.get("/v1/files").json()["data"]] == [file["id"]]
    assert client.delete(f"/v1/files/{file['id']}").json()["deleted"] is True
    assert client.get(f"/v1/files/{file['id']}").status_code == 404


@pytest.mark.parametrize(
    "evil", ["../tunesmith.sqlite3", "..%2Ftunesmith.sqlite3", "file-../../etc/passwd", "file-%00"]
)
def test_ids_never_leave_the_data_folder(client: TestClient, evil: str) -> None:
    assert client.get(f"/v1/files/{evil}/content").status_code == 404


def test_a_job_looks_like_openais(client: TestClient) -> None:
    job = create_job(client, suffix="My Receipts!", metadata={"who": "me"}, seed=3).json()
    assert job["object"] == "fine_tuning.job"
    assert job["status"] == "queued"
    assert job["hyperparameters"] == {"n_epochs": "auto", "batch_size": "auto", "learning_rate_multiplier": "auto"}
    assert job["metadata"] == {"who": "me"}
    assert job["seed"] == 3
    assert job["fine_tuned_model"] is None
    assert client.get(f"/v1/fine_tuning/jobs/{job['id']}").json() == job
    run = client.get(f"/v1/runs/{job['run_id']}").json()
    assert run["model"].startswith("ft-my-receipts-")
    assert [stage["stage"] for stage in run["stages"]] == ["build", "train", "export", "evaluate", "publish"]


def test_explicit_hyperparameters_reach_the_recipe(client: TestClient) -> None:
    older = create_job(client, hyperparameters={"n_epochs": 2}).json()
    assert older["hyperparameters"]["n_epochs"] == 2
    method = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 4, "batch_size": "auto"}}}
    newer = create_job(client, method=method).json()
    assert newer["hyperparameters"]["n_epochs"] == 4


@pytest.mark.parametrize(
    ("change", "status", "word"),
    [
        ({"model": "gpt-17"}, 404, "smollm2-135m-instruct"),
        ({"training_file": "file-000000000000"}, 404, "/v1/files"),
        ({"hyperparameters": {"n_epoch": 1}}, 422, "n_epoch"),
        ({"hyperparameters": {"n_epochs": 0}}, 422, "n_epochs"),
        ({"method": {"type": "dpo"}}, 400, "supervised"),
        ({"seed": -1}, 422, "seed"),
    ],
)
def test_bad_jobs_say_what_is_right(client: TestClient, change: dict[str, Any], status: int, word: str) -> None:
    response = create_job(client, **change)
    assert response.status_code == status
    assert word in json.dumps(response.json()["error"])
    assert response.json()["error"]["param"].split(".")[-1] in (*change, "n_epoch", "n_epochs")
    assert client.get("/v1/fine_tuning/jobs").json()["data"] == []


def test_a_body_that_is_no_json_is_called_so(client: TestClient) -> None:
    headers = {"Content-Type": "application/json"}
    error = client.post("/v1/fine_tuning/jobs", content=b'{"model": ', headers=headers).json()["error"]
    assert error["message"].startswith("body: not JSON (")
    assert error["param"] is None


def test_jobs_are_found_by_their_metadata(client: TestClient) -> None:
    """A filter that is passed over would show every job as one that fits."""
    file_id = upload(client).json()["id"]
    mine = create_job(client, training_file=file_id, metadata={"by": "me", "a.b": "c"}).json()["id"]
    create_job(client, training_file=file_id, metadata={"by": "you"})
    create_job(client, training_file=file_id)

    def found(**metadata: str) -> list[str]:
        params = {f"metadata[{key}]": value for key, value in metadata.items()}
        return [job["id"] for job in client.get("/v1/fine_tuning/jobs", params=params).json()["data"]]

    assert found(by="me") == [mine]
    assert found(by="nobody") == []
    assert found(**{"a.b": "c"}) == [mine]
    assert len(found()) == 3


def test_events_page_by_cursor(client: TestClient) -> None:
    job = create_job(client).json()["id"]
    client.post(f"/v1/fine_tuning/jobs/{job}/pause")
    newest = client.get(f"/v1/fine_tuning/jobs/{job}/events", params={"limit": 1}).json()
    assert newest["has_more"]
    older = client.get(f"/v1/fine_tuning/jobs/{job}/events", params={"after": newest["last_id"]}).json()
    assert newest["data"][0]["id"] not in [event["id"] for event in older["data"]]
    assert older["data"]
    assert client.get(f"/v1/fine_tuning/jobs/{job}/events", params={"after": "ftevent-x"}).status_code == 404


def test_files_of_one_moment_page_without_loss(client: TestClient, workspace: Workspace) -> None:
    """A clock that is set back, or is coarse, gives two files the same time."""
    made = {upload(client).json()["id"] for _ in range(4)}
    with workspace.database.write() as session:
        for file in session.query(File):
            file.created_at = 1.0
    for order in ("asc", "desc"):
        seen, after = list[str](), None
        while page := client.get("/v1/files", params={"limit": 1, "order": order, "after": after}).json()["data"]:
            after = page[0]["id"]
            seen.append(after)
        assert set(seen) == made
        assert len(seen) == 4


def test_the_same_create_sent_twice_makes_one_job(client: TestClient) -> None:
    file_id = upload(client).json()["id"]
    headers = {"Idempotency-Key": "abc"}
    first = create_job(client, training_file=file_id, headers=headers).json()
    assert create_job(client, training_file=file_id, headers=headers).json()["id"] == first["id"]
    other = create_job(client, training_file=file_id, headers=headers, seed=9)
    assert other.status_code == 409
    assert len(client.get("/v1/fine_tuning/jobs").json()["data"]) == 1


def test_jobs_page_by_cursor(client: TestClient) -> None:
    file_id = upload(client).json()["id"]
    made = [create_job(client, training_file=file_id).json()["id"] for _ in range(5)]
    seen: list[str] = []
    after = None
    while True:
        params = {"limit": 2, **({"after": after} if after else {})}
        got = client.get("/v1/fine_tuning/jobs", params=params).json()
        seen += [job["id"] for job in got["data"]]
        after = got["last_id"]
        if not got["has_more"]:
            break
    assert seen == made[::-1]


def test_pause_resume_and_cancel(client: TestClient) -> None:
    path = f"/v1/fine_tuning/jobs/{create_job(client).json()['id']}"
    assert client.post(f"{path}/pause").json()["status"] == "paused"
    assert client.post(f"{path}/resume").json()["status"] == "queued"
    assert client.post(f"{path}/cancel").json()["status"] == "cancelled"
    again = client.post(f"{path}/cancel")
    assert again.status_code == 409
    assert "cancelled" in again.json()["error"]["message"]


def test_ids_of_another_noun_are_not_found(client: TestClient) -> None:
    job = create_job(client).json()
    for path in (f"/v1/fine_tuning/jobs/{job['run_id']}", f"/v1/runs/{job['id']}", f"/v1/files/{job['id']}"):
        assert client.get(path).status_code == 404


def test_events_stream_to_the_end_and_resume_by_last_event_id(client: TestClient, workspace: Workspace) -> None:
    job = create_job(client).json()
    for number in range(3):
        data = {"step": number}
        events.append(workspace.database, job["run_id"], f"step {number}", type="metrics", data=data)
    queue.cancel(workspace.database, job["run_id"])
    path = f"/v1/fine_tuning/jobs/{job['id']}/events"
    text = client.get(path, params={"stream": True}).text
    ids = [line.removeprefix("id: ") for line in text.splitlines() if line.startswith("id: ")]
    assert text.rstrip().endswith("data: [DONE]")
    assert len(ids) == 5
    rest = client.get(path, headers={"Accept": "text/event-stream", "Last-Event-ID": ids[2]}).text
    assert [line for line in rest.splitlines() if line.startswith("id: ")] == [f"id: {i}" for i in ids[3:]]
    newest = client.get(path, params={"limit": 1}).json()
    assert newest["has_more"] is True
    assert newest["data"][0]["id"] == f"ftevent-{ids[-1]}"


def test_recipes_are_strict(client: TestClient) -> None:
    recipe = {"name": "r", "sources": [{"file": "file-1"}], "trianing": {}}
    response = client.post("/v1/recipes", json=recipe)
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    assert "trianing" in response.json()["detail"]
    both = {"name": "r", "sources": [{"file": "file-1", "paperless": {}}]}
    assert "exactly one" in client.post("/v1/recipes", json=both).json()["detail"]


def test_a_saved_recipe_runs_and_can_be_waited_for(client: TestClient) -> None:
    file_id = upload(client).json()["id"]
    saved = client.post("/v1/recipes", json={"name": "totals", "sources": [{"file": file_id}]}).json()
    assert client.get("/v1/recipes/totals").json() == saved
    run = client.post("/v1/recipes/totals/runs").json()
    assert run["recipe"] == "totals"
    waited = client.get(f"/v1/runs/{run['id']}/wait", params={"seconds": 0.1}).json()
    assert waited["status"] == "queued"
    assert client.get("/v1/runs", params={"recipe": "totals"}).json()["data"][0]["id"] == run["id"]
    assert client.get("/v1/recipes/other").json()["hint"] == "Recipes: totals."


def test_a_run_may_end_with_its_dataset_or_its_figures(client: TestClient) -> None:
    file_id = upload(client).json()["id"]
    client.post("/v1/recipes", json={"name": "totals", "sources": [{"file": file_id}]})
    sent = {"headers": {"Idempotency-Key": "k"}, "params": {"until": "build"}}
    run = client.post("/v1/recipes/totals/runs", **sent).json()
    assert [stage["stage"] for stage in run["stages"]] == ["build"]
    assert client.post("/v1/recipes/totals/runs", **sent).json()["id"] == run["id"]
    assert client.post("/v1/recipes/totals/runs", headers=sent["headers"]).status_code == 409
    tool = client.post("/v1/tools/run_recipe", json={"name": "totals", "until": "evaluate"}).json()
    assert [stage["stage"] for stage in tool["stages"]] == ["build", "train", "export", "evaluate"]
    assert client.post("/v1/recipes/totals/runs", params={"until": "bild"}).status_code == 422


def test_a_recipe_on_paperless_needs_one(client: TestClient) -> None:
    client.post("/v1/recipes", json={"name": "p", "sources": [{"paperless": {"tags": ["finance"]}}]})
    response = client.post("/v1/recipes/p/runs")
    assert response.status_code == 400
    assert "TUNESMITH_PAPERLESS_URL" in response.json()["hint"]


def test_chat_with_an_unknown_model_lists_what_is_there(client: TestClient) -> None:
    body = {"model": "nobody", "messages": [{"role": "user", "content": "hi"}]}
    response = client.post("/v1/chat/completions", json=body)
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "model_not_found"


def test_a_file_in_use_is_not_deleted(client: TestClient) -> None:
    file_id = upload(client).json()["id"]
    job = create_job(client, training_file=file_id).json()
    assert client.delete(f"/v1/files/{file_id}").status_code == 409
    client.post(f"/v1/fine_tuning/jobs/{job['id']}/cancel")
    assert client.delete(f"/v1/files/{file_id}").status_code == 200
