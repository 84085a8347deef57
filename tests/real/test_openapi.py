"""The OpenAPI document as others read it: a linter, and clients generated for Python and TypeScript that run a job."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from real.conftest import ROOT, node
from service import KEY, Service, extraction_rows

pytestmark = pytest.mark.real

PYTHON = """
import sys
from io import BytesIO
from tunesmith_client import AuthenticatedClient
from tunesmith_client.api.open_ai import create_file, create_fine_tuning_job, get_fine_tuning_job
from tunesmith_client.api.runs import cancel_run, get_run
from tunesmith_client.models import BodyCreateFile, CreateJob
from tunesmith_client.types import File

url, key, rows = sys.argv[1:]
with AuthenticatedClient(base_url=url, token=key, raise_on_unexpected_status=True) as client:
    upload = File(payload=BytesIO(open(rows, "rb").read()), file_name="rows.jsonl")
    body = BodyCreateFile(file=upload, purpose="fine-tune")
    file = create_file.sync(client=client, body=body)
    assert hasattr(file, "id"), file
    job = create_fine_tuning_job.sync(client=client, body=CreateJob(model="tiny", training_file=file.id))
    assert hasattr(job, "id"), job
    run = get_run.sync(job["run_id"], client=client)
    assert run.status == "queued", run
    assert cancel_run.sync(run.id, client=client).status == "cancelled"
    assert get_fine_tuning_job.sync(job.id, client=client).status == "cancelled"
print("done")
"""

TYPESCRIPT = """
import { readFileSync } from "node:fs";
import { client } from "./client/client.gen";
import { cancelRun, createFile, createFineTuningJob, getRun } from "./client";

const [url, key, rows] = process.argv.slice(2) as [string, string, string];
client.setConfig({ baseUrl: url, auth: key });
const throwOnError = true as const;

async function main(): Promise<void> {
  const file = new File([readFileSync(rows)], "rows.jsonl");
  const uploaded = await createFile({ body: { file, purpose: "fine-tune" }, throwOnError });
  const body = { model: "tiny", training_file: uploaded.data.id };
  const job = await createFineTuningJob({ body, throwOnError });
  const run_id = String(job.data["run_id"]);
  const run = await getRun({ path: { run_id }, throwOnError });
  if (run.data.status !== "queued") throw new Error(run.data.status);
  const ended = await cancelRun({ path: { run_id }, throwOnError });
  console.log(ended.data.status);
}

void main();
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    models = tmp_path_factory.mktemp("models")
    (models / "tiny").mkdir()
    for name in ("config.json", "model.safetensors"):  # never loaded: there is no worker
        (models / "tiny" / name).write_text("{}")
    home = tmp_path_factory.mktemp("home")
    service = Service(home, ["--no-worker"], TUNESMITH_MODELS=str(models)).start()
    yield service
    service.close()


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    place = tmp_path / "rows.jsonl"
    place.write_bytes(extraction_rows(20))
    return place


@pytest.fixture(scope="session")
def generator() -> Path:
    """openapi-python-client in an environment of its own (about half a minute, once)."""
    script = ROOT / "scripts" / "real_openapi_client.sh"
    environment = {**os.environ, "PYTHON": sys.executable}
    done = subprocess.run([script], check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return Path(done.stdout.strip())


def document(service: Service, path: str, folder: Path) -> Path:
    """A document as the running service gives it, without a key."""
    place = folder / "openapi.json"
    answer = service.http.get(path, headers={"Authorization": ""})
    assert answer.status_code == 200
    place.write_text(json.dumps(answer.json()), encoding="utf-8")
    return place


@pytest.mark.parametrize("path", ["/openapi.json", "/v1/tools/openapi.json"])
def test_redocly_finds_no_error(service: Service, node_tools: Path, tmp_path: Path, path: str) -> None:
    found = node(
        node_tools, "redocly", "lint", str(document(service, path, tmp_path)), "--format", "json", cwd=tmp_path
    )
    assert found.returncode == 0, found.stdout
    totals = json.loads(found.stdout)["totals"]
    assert totals["errors"] == 0, found.stdout


def test_a_generated_python_client_runs_a_job(service: Service, generator: Path, rows: Path, tmp_path: Path) -> None:
    place = document(service, "/openapi.json", tmp_path)
    config = tmp_path / "config.json"
    names = {"project_name_override": "client", "package_name_override": "tunesmith_client"}
    config.write_text(json.dumps({**names, "post_hooks": []}))
    argv = ["generate", "--path", place, "--config", config, "--output-path", tmp_path / "client", "--fail-on-warning"]
    python = generator / "bin" / "python"
    made = subprocess.run([generator / "bin" / "openapi-python-client", *argv], capture_output=True, text=True)
    assert made.returncode == 0, made.stdout + made.stderr
    subprocess.run([python, "-m", "compileall", "-q", tmp_path / "client"], check=True)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "client")}
    argv = ["-c", PYTHON, service.url, KEY, rows]
    ran = subprocess.run([python, *argv], capture_output=True, text=True, env=environment, timeout=120)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() == "done"


def test_a_generated_typescript_client_runs_a_job(
    service: Service, node_tools: Path, rows: Path, tmp_path: Path
) -> None:
    place = document(service, "/openapi.json", tmp_path)
    (tmp_path / "node_modules").symlink_to(node_tools / "node_modules")
    made = node(node_tools, "openapi-ts", "-i", str(place), "-o", str(tmp_path / "src" / "client"), cwd=tmp_path)
    assert made.returncode == 0, made.stdout + made.stderr
    (tmp_path / "src" / "main.ts").write_text(TYPESCRIPT)
    options = {
        "strict": True,
        "target": "es2022",
        "module": "commonjs",
        "moduleResolution": "node10",
        "lib": ["es2022", "dom", "dom.iterable"],
        "types": ["node"],
        "outDir": "out",
        "skipLibCheck": True,
    }
    (tmp_path / "tsconfig.json").write_text(json.dumps({"compilerOptions": options, "include": ["src"]}))
    compiled = node(node_tools, "tsc", "-p", ".", cwd=tmp_path)
    assert compiled.returncode == 0, compiled.stdout
    argv = [node_tools / "node" / "bin" / "node", "out/main.js", service.url, KEY, rows]
    ran = subprocess.run(argv, capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() == "cancelled"
