"""What callers make on the disk: bounded, and gone again, even when the process was killed."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from tunesmith.api import downloads, keys
from tunesmith.app import create_app
from tunesmith.recipes import datasets
from tunesmith.store.workspace import Workspace

LINE = b'{"messages": [{"role": "user", "content": "q%d"}, {"role": "assistant", "content": "a"}]}\n'


@pytest.fixture
def client(workspace: Workspace) -> Iterator[TestClient]:
    workspace.settings.admin_key = SecretStr("k")
    keys.ensure_first_key(workspace)
    datasets.import_upload(workspace, "d", "rows.jsonl", [b"".join(LINE % n for n in range(40))])
    with TestClient(create_app(workspace=workspace), headers={"Authorization": "Bearer k"}) as client:
        yield client


def scratch(workspace: Workspace) -> Sequence[Path]:
    return list((workspace.settings.home / "cache" / "scratch").iterdir())


@pytest.mark.parametrize("form", ["csv", "axolotl"])
def test_an_export_is_gone_once_it_is_sent(client: TestClient, workspace: Workspace, form: str) -> None:
    assert client.get(f"/v1/datasets/d/export?format={form}").status_code == 200
    assert scratch(workspace) == []


def test_exports_are_made_few_at_a_time(client: TestClient, workspace: Workspace) -> None:
    """Each takes room on the disk until its caller has read it."""
    with downloads.room(workspace), downloads.room(workspace), downloads.room(workspace), downloads.room(workspace):
        refused = client.get("/v1/datasets/d/export")
        assert (refused.status_code, refused.json()["code"]) == (503, "busy")
    assert client.get("/v1/datasets/d/export").status_code == 200
    assert client.get("/v1/datasets/d/export?format=csv&split=nothing").status_code == 422
    for _ in range(downloads.AT_ONCE + 1):  # a failed one gives its place back
        assert client.get("/v1/datasets/other/export").status_code == 404
    assert client.get("/v1/datasets/d/export").status_code == 200


def test_an_export_leaves_the_reserve_of_the_disk(client: TestClient, workspace: Workspace) -> None:
    workspace.artifacts.min_free_bytes = 2**60
    refused = client.get("/v1/datasets/d/export")
    assert (refused.status_code, refused.json()["code"]) == (507, "disk_full")
    assert scratch(workspace) == []


def test_the_next_start_sweeps_what_a_killed_process_left(workspace: Workspace) -> None:
    code = (
        "import sys, time; from tunesmith.store.workspace import Workspace; w = Workspace.open()\n"
        "with w.artifacts.scratch() as folder:\n"
        "    (folder / 'rows').write_text('x'); print('ready', flush=True); time.sleep(60)"
    )
    environment = {**os.environ, "TUNESMITH_HOME": str(workspace.settings.home)}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment) as other:
        assert other.stdout is not None
        other.stdout.readline()
        (before,) = scratch(workspace)
        with workspace.artifacts.scratch() as own, TestClient(create_app(workspace=workspace)):
            assert set(scratch(workspace)) == {before, own}  # both are in use
        other.send_signal(signal.SIGKILL)
        other.wait(30)
    assert scratch(workspace) == [before]
    assert workspace.artifacts.sweep_scratch() == 1
    assert scratch(workspace) == []
