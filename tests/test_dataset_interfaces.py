"""`/v1/datasets` and `tunesmith datasets`: the same operations, with errors that say what to do next."""

import csv
import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from test_dataset_versions import PAIRS, asked, lines
from test_import import ANSWERED, different
from tunesmith.api import keys
from tunesmith.app import create_app
from tunesmith.datasets.export import FORMS
from tunesmith.store.workspace import Workspace

ADMIN = {"Authorization": "Bearer admin-key"}


@pytest.fixture
def client(workspace: Workspace) -> Iterator[TestClient]:
    workspace.settings.admin_key = SecretStr("admin-key")
    keys.ensure_first_key(workspace)
    with TestClient(create_app(workspace=workspace), headers=ADMIN) as client:
        yield client


def upload(client: TestClient, content: str, name: str = "rows.jsonl", **data: str) -> Any:
    return client.post("/v1/datasets/letters/import", files={"file": (name, content.encode())}, data=data)


def test_rest_imports_exports_compares_and_describes(client: TestClient, tmp_path: Path) -> None:
    text = lines([asked(1), asked(2)]) + "\nnonsense\n"
    checked = upload(client, text, dry_run="true").json()
    assert client.get("/v1/datasets").json()["data"] == []
    report = upload(client, text).json()
    assert report == checked
    assert report["rows_kept"] == 2
    assert [(item["line"], item["code"]) for item in report["rejected"]] == [(3, "not_json")]
    mapping = json.dumps({"prompt": "a", "completion": "b"})
    table = upload(client, f"a,b\n{different(9)},x\n{different(1)},y\n", "rows.csv", mapping=mapping).json()
    assert (table["rows_kept"], table["rejected"]) == (2, [])
    shown = client.get("/v1/datasets/letters").json()["data"]
    assert [row["version"] for row in shown] == [table["version"], report["version"]]
    changes = client.get("/v1/datasets/letters/diff").json()
    assert (changes["added"], changes["removed"], changes["changed"]) == ({"train": 1}, {"train": 1}, {"train": 1})
    card = client.get("/v1/datasets/letters/card", params={"licence": "CC0"})
    assert card.headers["content-type"].startswith("text/markdown")
    assert "CC0" in card.text


@pytest.mark.parametrize("form", FORMS)
def test_rest_exports_every_format(client: TestClient, workspace: Workspace, form: str) -> None:
    upload(client, lines([*PAIRS]))
    response = client.get("/v1/datasets/letters/export", params={"format": form})
    assert response.status_code == 200
    assert f"letters-{form}" in response.headers["content-disposition"]
    if form == "csv":
        assert len(list(csv.DictReader(io.StringIO(response.text)))) == 2
    if form in ("llamafactory", "axolotl"):
        with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
            assert f"letters-{form}/train.jsonl" in archive.namelist()
    assert list((workspace.artifacts.home / "cache" / "scratch").iterdir()) == []


def test_rest_says_what_is_wrong_and_stores_nothing(client: TestClient, workspace: Workspace) -> None:
    for content, name, code in [
        ("nonsense", "rows.jsonl", "nothing_readable"),
        (f'{{"messages": {json.dumps(ANSWERED)}}}\n{{"prompt": "q", "completion": "a"}}', "r", "mixed_formats"),
        ("a,b\n1,2\n", "rows.csv", "unknown_columns"),
    ]:
        response = upload(client, content, name)
        assert (response.status_code, response.json()["code"]) == (400, code)
        assert response.json()["hint"]
    workspace.settings.max_upload_mb = 1
    assert upload(client, "x" * (2**20 + 1)).status_code == 413
    assert client.get("/v1/datasets").json()["data"] == []
    assert list((workspace.artifacts.home / "cache" / "scratch").iterdir()) == []
    assert client.get("/v1/datasets/letters/export", params={"format": "word"}).status_code == 422


def test_importing_needs_the_scope_train(client: TestClient, workspace: Workspace) -> None:
    reader = {"Authorization": f"Bearer {keys.create_key(workspace, 'reader', ['read'])}"}
    files = {"file": ("rows.jsonl", lines(PAIRS).encode())}
    assert client.post("/v1/datasets/letters/import", files=files, headers=reader).status_code == 403
    assert client.get("/v1/datasets", headers=reader).status_code == 200


def command(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TUNESMITH_HOME": str(home), "HF_HUB_OFFLINE": "1", "LC_ALL": "C"}
    argv = [sys.executable, "-m", "tunesmith.cli", "datasets", *arguments]
    return subprocess.run(argv, capture_output=True, text=True, env=environment)


def test_the_command_line_needs_no_service_and_no_key(tmp_path: Path) -> None:
    home, path = tmp_path / "new" / "home", tmp_path / "rows.jsonl"
    path.write_text(lines([asked(1), asked(1), {"prompt": "שלום"}, asked(2)]), encoding="utf-8")
    done = command(home, "import", "letters", str(path), "--json")
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    assert (report["rows_in"], report["rows_kept"], report["duplicates_removed"]) == (4, 2, 1)
    assert report["rejected"][0] | {"reason": ""} == {
        "line": 3, "code": "unknown_format", "reason": "", "where": "line 3",
    }  # fmt: skip
    assert sum(report["splits"].values()) == 2
    assert {"name", "value", "threshold", "passed"} <= set(report["gates"][0])
    done = command(home, "export", "letters", "--format", "alpaca", "--output", str(tmp_path / "out.json"), "--json")
    assert json.loads(done.stdout)["rows"] == len(json.loads((tmp_path / "out.json").read_text())) == 2
    failed = command(home, "import", "letters", str(tmp_path / "missing.jsonl"))
    assert failed.returncode == 1
    assert "hf:owner/name" in failed.stderr


def test_commands_show_compare_and_describe(tmp_path: Path) -> None:
    home, path = tmp_path / "home", tmp_path / "rows.jsonl"
    versions = []
    for rows in ([asked(1), asked(2)], [asked(2), asked(3)]):
        path.write_text(lines(rows))
        versions.append(json.loads(command(home, "import", "letters", str(path), "--json").stdout)["version"])
    assert [row["version"] for row in json.loads(command(home, "list", "--json").stdout)] == versions[::-1]
    assert versions[0] in command(home, "show", "letters", "--version", versions[0][:8]).stdout
    assert command(home, "card", "letters").stdout.startswith(f"# letters, version {versions[1]}")
    ways = [
        ("letters",),
        ("letters", *versions),
        (f"letters@{versions[0]}", f"letters@{versions[1]}"),
        (f"letters@{versions[0]}",),
    ]
    for way in ways:
        changes = json.loads(command(home, "diff", *way, "--json").stdout)
        assert (changes["added"], changes["removed"], changes["unchanged"]) == ({"train": 1}, {"train": 1}, 1), way
    assert "added: 1 train" in command(home, "diff", "letters").stdout


# -- the hub ----------------------------------------------------------------------------------------------------


def test_a_hub_dataset_is_read_by_the_real_library(tmp_path: Path) -> None:
    """`datasets` prefers a folder of that name to the hub, so that it can be had without a network."""
    pytest.importorskip("datasets")
    (tmp_path / "owner" / "name").mkdir(parents=True)
    (tmp_path / "owner" / "name" / "train.jsonl").write_text(lines([{"question": "q", "answer": "a"}]))
    environment = {**os.environ, "TUNESMITH_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
    environment["HF_HOME"] = str(tmp_path / "hf")
    argv = [sys.executable, "-m", "tunesmith.cli", "datasets", "import", "letters"]

    def run(name: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*argv, name, "--json"], capture_output=True, text=True, env=environment, cwd=tmp_path
        )  # fmt: skip

    done = run("hf:owner/name")
    assert json.loads(done.stdout)["rows_kept"] == 1, done.stderr
    row = json.loads(next((tmp_path / "home" / "datasets").glob("ds-*/train.jsonl")).read_text())
    assert row["provenance"] == {"file": "hf:owner/name", "line": 1, "format": "prompt_completion"}
    offline = run("hf:owner/other")
    assert offline.returncode == 1
    assert "online" in offline.stderr
    assert "Traceback" not in offline.stderr
