"""The shipped n8n workflows in a real n8n: an agent with the tools, nightly retraining, Paperless, plain HTTP."""

import json
from typing import Any

import pytest

from fakes.chat_model import ChatModel
from fakes.http_app import Answer, HttpApp, parsed
from fakes.smtp import Smtp
from n8n_server import EXAMPLES, Json, N8n, error_of, example, output, webhook
from service import KEY, Service, wait

pytestmark = pytest.mark.real
QUESTION = "Corner Books\nitem 7\nTOTAL 12.34"


def test_an_agent_uses_the_tools(n8n: N8n, key: Json, household: str) -> None:
    script: list[tuple[str, str] | str] = [
        ("List_recipes", "{}"),
        ("Get_versions", json.dumps({"model": "nobody"})),
        ("Get_versions", json.dumps({"model": household})),
        "It has one version.",
    ]
    with ChatModel(script) as chat:
        openai = n8n.credential("openAiApi", {"apiKey": "sk-1", "url": f"{chat.url}/v1", "header": False})
        start = webhook("agent") | {"name": "Chat"}
        nodes, connections = example("agent", {**key, **openai}, {"Chat": start})
        agent = next(found for found in nodes if found["name"] == "Agent")
        agent["parameters"]["text"] = "={{ $json.body.chatInput }}"
        done = n8n.run(nodes, connections, json={"chatInput": "How many versions are there?"})
        assert done["status"] == "success", error_of(done)
        assert output(done, "Agent")[0]["output"] == "It has one version."
        tools = {tool["function"]["name"]: tool["function"] for tool in chat.asked[0]["tools"]}
        assert tools["Run_recipe"]["parameters"]["required"] == ["recipe"]
        assert "minutes to hours" in tools["Run_recipe"]["description"]
        listed, unknown, versions = [m["content"] for m in chat.asked[-1]["messages"] if m["role"] == "tool"]
        assert "household-documents" in listed
        (refused,) = json.loads(unknown)
        assert refused["error"] == "There is no model 'nobody'."
        assert household in refused["details"]["hint"], "the hint reaches the agent"
        assert '"live":true' in versions.replace(" ", "")


class Telegram(HttpApp):
    """Takes messages as the Bot API does."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        super().__init__()

    def handle(self, method: str, path: str, body: bytes, headers: Any) -> Answer:
        if path != "/bot12:token/sendMessage":
            return 404, {"ok": False, "description": "Not Found"}
        self.texts.append(parsed(body)["text"])
        return 200, {"ok": True, "result": {"message_id": 1}}


def test_nightly_retraining_rolls_back_what_answers_wrongly(
    n8n: N8n, key: Json, household: str, tiny_service: Service
) -> None:
    before = tiny_service.http.get(f"/v1/models/{household}/versions").json()["data"][0]["version"]
    with Telegram() as telegram:
        chat = n8n.credential("telegramApi", {"accessToken": "12:token", "baseUrl": telegram.url})
        settings = {"probe": QUESTION, "field": "total", "expected": "no tiny model answers this"}
        replaced = {"Every Night": webhook("nightly")}
        nodes, connections = example("nightly-retrain", {**key, **chat}, replaced, **settings)
        done = n8n.run(nodes, connections)
        assert done["status"] == "success", error_of(done)
        (said,) = telegram.texts
    assert said == f"{household} answered the probe wrongly. Rolled back to {before}."
    versions = tiny_service.http.get(f"/v1/models/{household}/versions").json()["data"]
    assert [(item["version"] == before, item["live"]) for item in versions] == [(False, False), (True, True)]


def test_nightly_retraining_tells_by_mail_why_nothing_went_live(
    n8n: N8n, key: Json, household: str, tiny_service: Service
) -> None:
    known = tiny_service.http.get("/v1/recipes/household-documents").json()["document"]
    strict = {**known, "name": "nightly-strict", "gate": {"field_accuracy": 1.0}, "publish": {"name": "nightly-strict"}}
    tiny_service.http.post("/v1/recipes", json=strict).raise_for_status()
    with Telegram() as telegram, Smtp() as mail:
        chat = n8n.credential("telegramApi", {"accessToken": "12:token", "baseUrl": telegram.url})
        server = {"host": "127.0.0.1", "port": mail.port, "secure": False, "disableStartTls": True}
        smtp = n8n.credential("smtp", {"user": "", "password": "", "hostName": "", **server})
        shipped = json.loads((EXAMPLES / "nightly-retrain.json").read_text(encoding="utf-8"))["nodes"]
        switched_on = {item["name"]: {**item, "disabled": False} for item in shipped if item["name"] == "E-Mail"}
        replaced = {"Every Night": webhook("nightly-mail"), **switched_on}
        nodes, connections = example("nightly-retrain", {**key, **chat, **smtp}, replaced, recipe="nightly-strict")
        done = n8n.run(nodes, connections)
        assert done["status"] == "success", error_of(done)
    (message,) = mail.messages
    assert (message["to"], message["subject"]) == ("you@example.org", "Tunesmith")
    said = " ".join(message.get_content().split())  # mail wraps lines
    assert "ended as failed, the live model stays" in said
    assert "field accuracy" in said
    (text,) = telegram.texts
    assert said.startswith(" ".join(text.split()))


def test_plain_http_request_nodes_do_the_same(n8n: N8n, tiny_service: Service, household: str) -> None:
    bearer = n8n.credential("httpBearerAuth", {"token": KEY})
    settings = {"url": tiny_service.url, "message": QUESTION}
    nodes, connections = example("http-request", bearer, {"Start": webhook("plain")}, **settings)
    done = n8n.run(nodes, connections)
    assert done["status"] == "success", error_of(done)
    assert output(done, "Ask Model")[0]["model"] == household


class Library(HttpApp):
    """Tunesmith's `/v1/library` as the workflow sees it: document 12 is known, others are not."""

    def __init__(self) -> None:
        self.asked: list[Json] = []
        super().__init__()

    def handle(self, method: str, path: str, body: bytes, headers: Any) -> Answer:
        if path != "/v1/library/documents/12/suggest":
            return 404, {"code": "not_found", "detail": "There is no such document.", "hint": "Sync the library."}
        self.asked.append(parsed(body))
        kept = {"date": "something stands there"}
        return 200, {"id": "sug-1", "document": 12, "written": {"amount": "12.34"}, "kept": kept}


def test_new_paperless_documents_get_their_fields(n8n: N8n) -> None:
    with Library() as library, Telegram() as telegram:
        key = n8n.credential("tunesmithApi", {"baseUrl": library.url, "apiKey": "k"})
        chat = n8n.credential("telegramApi", {"accessToken": "12:token", "baseUrl": telegram.url})
        nodes, connections = example("paperless-fields", {**key, **chat}, {}, write="amount, date")
        workflow = n8n.create("paperless", nodes, connections)
        n8n.activate(workflow)
        for document in (12, 13):
            assert n8n.call("paperless-document", json={"doc_id": document}).status_code == 200
        wait(lambda: len(telegram.texts) == 2, 120)
        n8n.deactivate(workflow)
    assert library.asked == [{"model": "household-extractor", "write": ["amount", "date"], "dry_run": False}]
    assert sorted(telegram.texts) == [
        "Document 12: date: something stands there",
        "Document 13: There is no such document. Sync the library.",
    ]
