"""The real OpenHands SDK, unmodified, over MCP: from a sentence to a published model that answers on its route."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fakes.tuning_agent import TuningAgent
from service import KEY, Service, extraction_rows
from tunesmith.agents.operations import OPERATIONS

pytestmark = pytest.mark.real
ROOT = Path(__file__).parents[2]
QUESTION = "Corner Books\nitem 7\nTOTAL 12.34"
SENTENCE = "I need a small model that reads shop and total from my receipts. Tune one and put it live."
NO_PYTHON = 3


@pytest.fixture(scope="module")
def openhands() -> str:
    """The Python of an environment with the SDK; made the first time (under a minute)."""
    script, environment = ROOT / "scripts" / "real_openhands.sh", {**os.environ, "PYTHON": sys.executable}
    done = subprocess.run([script], stdout=subprocess.PIPE, text=True, env=environment)
    if done.returncode == NO_PYTHON:
        pytest.skip("OpenHands needs Python 3.12 or newer: set TUNESMITH_TEST_PYTHON3")
    assert done.returncode == 0
    return done.stdout.strip()


def test_a_sentence_becomes_a_published_model(openhands: str, tiny_service: Service, tmp_path: Path) -> None:
    document = json.loads((ROOT / "examples" / "openhands" / "mcp.json").read_text(encoding="utf-8"))
    server = document["mcpServers"]["tunesmith"]
    server["url"], server["headers"]["Authorization"] = f"{tiny_service.url}/mcp", f"Bearer {KEY}"
    config, workspace = tmp_path / "mcp.json", tmp_path / "workspace"
    config.write_text(json.dumps(document))
    workspace.mkdir()
    before = {item.id for item in tiny_service.openai.models.list()}
    environment = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "HOME": str(tmp_path)}
    with TuningAgent(extraction_rows(40).decode(), "tiny", QUESTION) as model:
        child = [openhands, str(Path(__file__).with_name("openhands_child.py"))]
        argv = [*child, str(config), f"{model.url}/v1", str(workspace), SENTENCE]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=540, env=environment)
        assert done.returncode == 0, done.stderr[-3000:]
        offered = {tool["function"]["name"]: tool["function"] for tool in model.asked[0]["tools"]}
    seen = json.loads(done.stdout[done.stdout.index("RESULT ") + 7 :])
    assert seen["status"] == "finished", seen["events"][-2:]
    assert set(OPERATIONS) <= set(offered), "every tool is offered under its own name"
    assert "0 to 60 seconds" in offered["wait_for_run"]["parameters"]["properties"]["seconds"]["description"]
    (name,) = {item.id for item in tiny_service.openai.models.list()} - before  # other suites have published, too
    assert f"{name} is live" in seen["events"][-1]
    reply = tiny_service.openai.chat.completions.create(
        model=name, messages=[{"role": "user", "content": QUESTION}], temperature=0
    )
    assert set(json.loads(reply.choices[0].message.content or "")) == {"shop", "total"}
