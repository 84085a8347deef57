"""The home-lab examples: what cannot be run here is held to what can be checked without a network."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tunesmith.settings import Settings
from tunesmith_connectors import webhooks

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
COMPOSE = EXAMPLES / "compose"
FILES = sorted(COMPOSE.glob("compose*.yaml"))
_VARIABLE = re.compile(r"\$\{(\w+)(:?[-?][^}]*)?\}")
_ENV_LINE = re.compile(r"^(\w+)=(.*)$", re.MULTILINE)


class _Loader(yaml.SafeLoader):
    """Compose's own tags, as plain values."""


for tag in ("!reset", "!override"):
    _Loader.add_constructor(
        tag,
        lambda loader, node: (
            loader.construct_sequence(node) if isinstance(node, yaml.SequenceNode) else loader.construct_mapping(node)
        ),
    )


def load(path: Path) -> dict[str, Any]:
    data: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # a SafeLoader
    return data


def services() -> list[tuple[str, str, dict[str, Any]]]:
    return [(path.name, name, body) for path in FILES for name, body in load(path)["services"].items()]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_variable_has_a_default_or_is_in_the_example(path: Path) -> None:
    example = dict(_ENV_LINE.findall((COMPOSE / ".env.example").read_text(encoding="utf-8")))
    for name, rest in _VARIABLE.findall(path.read_text(encoding="utf-8")):
        assert name in example, f"{name} of {path.name} is not in .env.example"
        if rest.startswith(":-") and rest[2:] and "{" not in rest:
            wanted = {rest[2:], "http://127.0.0.1:5678/"}  # the NAS reaches n8n by its own address
            assert example[name] in wanted or name == "N8N_WEBHOOK_URL", f"{name}: {rest[2:]} or {example[name]}?"


def test_the_example_names_nothing_that_is_not_used_and_holds_no_secret() -> None:
    text = (COMPOSE / ".env.example").read_text(encoding="utf-8")
    used = {name for path in FILES for name, _ in _VARIABLE.findall(path.read_text(encoding="utf-8"))}
    for name, value in _ENV_LINE.findall(text):
        assert name in used, name
        if re.search("KEY|PASSWORD|TOKEN|SECRET", name):
            assert value == "", name


@pytest.mark.parametrize(
    ("file", "name", "body"), services(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_services_are_pinned_healthy_and_say_what_they_need(file: str, name: str, body: dict[str, Any]) -> None:
    overrides = file in ("compose.nvidia.yaml", "compose.nas.yaml")
    if not overrides:
        assert re.fullmatch(r"[a-z0-9/-]+:(local|\$\{\w+_VERSION:-v?\d[\w.]*\})", body["image"]), body["image"]
        assert "healthcheck" in body, f"{name} has no health check"
        assert body["restart"] == "unless-stopped"
    base = load(COMPOSE / (file if file == "compose.gpu-box.yaml" else "compose.yaml"))
    for other in body.get("depends_on", {}):
        assert "healthcheck" in base["services"][other]
    for volume in body.get("volumes", []):
        source = volume.split(":")[0]
        if source.startswith(("./", "../")):
            assert (COMPOSE / source).exists(), source
        elif not source.startswith("${"):
            assert source in base["volumes"], source


def test_our_settings_are_spelt_right() -> None:
    """pydantic-settings ignores what it does not know, so a typo in an example would be silent."""
    known = {f"TUNESMITH_{name.upper()}" for name in Settings.model_fields}
    for file, name, body in services():
        for variable in body.get("environment", {}):
            if variable.startswith("TUNESMITH_"):
                assert variable in known, f"{variable} of {name} in {file}"


def test_ports_are_on_the_loopback_unless_somebody_says_otherwise() -> None:
    for _, name, body in services():
        for port in body.get("ports") or []:
            assert re.match(r"\$\{(BIND_ADDRESS:-127\.0\.0\.1|NAS_ADDRESS:\?|GPU_BOX_ADDRESS:\?)\}:|127\.", port), name


def test_what_the_service_calls_is_where_the_other_one_listens() -> None:
    base = load(COMPOSE / "compose.yaml")["services"]
    ours = base["tunesmith"]["environment"]
    for variable in ("TUNESMITH_PAPERLESS_URL", "TUNESMITH_OLLAMA_URL", "TUNESMITH_LITELLM_URL"):
        assert ours[variable].removeprefix("http://").split(":")[0] in base
    n8n = base["n8n"]["environment"]["WEBHOOK_URL"].split(":-")[1].rstrip("}")
    assert webhooks.check_url(n8n, webhooks.hosts(ours["TUNESMITH_WEBHOOK_HOSTS"]))
    databases = re.findall(r"CREATE DATABASE (\w+);", (COMPOSE / "databases.sql").read_text(encoding="utf-8"))
    assert base["n8n"]["environment"]["DB_POSTGRESDB_DATABASE"] in databases
    assert base["paperless"]["environment"]["PAPERLESS_DBNAME"] in databases
    box = load(COMPOSE / "compose.gpu-box.yaml")["services"]["worker"]["environment"]
    assert box["TUNESMITH_DATABASE_URL"].rpartition("/")[2] in databases


def test_the_image_runs_as_nobody_special_and_holds_what_it_copies() -> None:
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    stages = [line for line in lines if line.startswith("FROM ")]
    assert len(stages) == 2
    assert [line for line in lines if line.startswith("USER ")] == ["USER 10001"]
    assert lines.index("USER 10001") > max(n for n, line in enumerate(lines) if line.startswith("RUN "))
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[0] == "!"}
    for line in lines:
        if line.startswith("COPY ") and "--from" not in line:
            for source in line.split()[1:-1]:
                assert (ROOT / source).exists()
                assert source in kept
    extras = load_extras()
    for path in FILES:
        for wanted in re.findall(r"EXTRAS:-([\w,]+)", path.read_text(encoding="utf-8")):
            assert set(wanted.split(",")) <= extras


def load_extras() -> set[str]:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return set(project["optional-dependencies"])


HADOLINT = Path(sys.executable).with_name("hadolint")


@pytest.mark.skipif(not HADOLINT.exists(), reason="hadolint is packaged for Linux on x86_64 only")
def test_hadolint_finds_nothing() -> None:
    result = subprocess.run([HADOLINT, str(ROOT / "Dockerfile")], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    unit = (EXAMPLES / "systemd" / "tunesmith.service").read_text(encoding="utf-8")
    here = tmp_path / "tunesmith.service"
    here.write_text(unit.replace("/opt/tunesmith/bin/tunesmith serve", "/bin/true"), encoding="utf-8")
    result = subprocess.run(["systemd-analyze", "verify", str(here)], capture_output=True, text=True)
    assert (result.returncode, result.stderr.strip()) == (0, "")


def test_agents_are_led_to_our_mcp_endpoint_with_a_key() -> None:
    openhands = json.loads((EXAMPLES / "openhands" / "mcp.json").read_text(encoding="utf-8"))["mcpServers"]
    openclaw = json.loads((EXAMPLES / "openclaw" / "openclaw.json").read_text(encoding="utf-8"))["mcp"]["servers"]
    for servers, transport in ((openhands, "http"), (openclaw, "streamable-http")):
        assert servers["tunesmith"]["url"] == f"http://127.0.0.1:{Settings.model_fields['port'].default}/mcp"
        assert servers["tunesmith"]["transport"] == transport
        assert servers["tunesmith"]["headers"]["Authorization"].startswith("Bearer ")
    text = (EXAMPLES / "open-webui" / "open-webui.env").read_text(encoding="utf-8")
    values = dict(_ENV_LINE.findall(text))
    [tool] = json.loads(values["TOOL_SERVER_CONNECTIONS"])
    assert (tool["type"], tool["auth_type"]) == ("mcp", "bearer")
    assert tool["url"].endswith("/mcp")
    assert values["OPENAI_API_BASE_URLS"].endswith("/v1")
