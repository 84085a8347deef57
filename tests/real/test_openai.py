"""Real SmolLM2, real training, through the unmodified OpenAI SDKs of Python and Node, and through LiteLLM's."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from service import KEY, Service, extraction_rows

pytestmark = pytest.mark.real
MODEL = "smollm2-135m-instruct"

LITELLM = """
import json, sys, litellm
base, key, rows = sys.argv[1:]
where = {"custom_llm_provider": "openai", "api_base": base, "api_key": key}
file = litellm.create_file(file=open(rows, "rb"), purpose="fine-tune", **where)
job = litellm.create_fine_tuning_job(model="smollm2-135m-instruct", training_file=file.id, suffix="litellm", **where)
listed = litellm.list_fine_tuning_jobs(**where)
cancelled = litellm.cancel_fine_tuning_job(fine_tuning_job_id=job.id, **where)
print(json.dumps({"id": job.id, "listed": job.id in [item.id for item in listed], "status": cancelled.status}))
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    service = Service(tmp_path_factory.mktemp("home"), TUNESMITH_TRAIN_MINUTES="1.5").start()
    yield service
    service.close()


def test_openai_sdk_tunes_smollm2_and_the_answer_is_right(service: Service) -> None:
    client = service.openai
    file = client.files.create(file=("rows.jsonl", extraction_rows(80)), purpose="fine-tune")
    job = client.fine_tuning.jobs.create(model=MODEL, training_file=file.id, suffix="real")
    run = service.finished(f"run-{job.id.removeprefix('ftjob-')}", 600)
    assert run["status"] == "succeeded", run["error"]
    assert run["report"]["measured"]["tuned"]["field_accuracy"] > 0.9
    question = [
        {"role": "system", "content": "Answer with JSON."},
        {"role": "user", "content": "Harbour Tools\nitem 3\nTOTAL 61.27"},
    ]
    reply = client.chat.completions.create(model=run["model"], messages=question, temperature=0)  # type: ignore[arg-type]
    assert json.loads(reply.choices[0].message.content or "") == {"shop": "Harbour Tools", "total": "61.27"}


def test_litellm_sdk_creates_lists_and_cancels(service: Service, command: str, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_bytes(extraction_rows(40))
    argv = [str(Path(command).with_name("python")), "-c", LITELLM, f"{service.url}/v1", KEY, str(rows)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    seen = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))
    assert seen["listed"] is True
    assert seen["status"] == "cancelled"


def test_the_openai_package_of_node_does_all_of_it(tiny_service: Service, node_tools: Path, tmp_path: Path) -> None:
    rows, script = tmp_path / "rows.jsonl", Path(__file__).with_name("openai_node.mjs")
    rows.write_bytes(extraction_rows(40))
    argv = [node_tools / "node" / "bin" / "node", script, node_tools, f"{tiny_service.url}/v1", KEY, rows]
    done = subprocess.run(list(map(str, argv)), capture_output=True, text=True, timeout=540)
    assert done.returncode == 0, done.stderr[-3000:]
    seen = json.loads(done.stdout)
    assert seen["model"].startswith("ft-node-")
    assert set(json.loads(seen["whole"])) == {"shop", "total"}
    assert seen["streamed"] == seen["whole"]
    assert seen["checkpoints"] > 0
