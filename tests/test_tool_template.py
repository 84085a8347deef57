"""Tools as callers send them: a template that writes them as they were trained, for any base."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from conftest import Tiny
from fakes.tiny_model import TEMPLATE
from gguf_edit import with_template
from test_tool_use import LIGHT, ON, OPENAI, TIMER, TOOLS, call
from tunesmith.evaluation.answers import Examination
from tunesmith.recipes.stages import train
from tunesmith.serving import merge, tool_asking, tool_template
from tunesmith.serving.gguf_file import read_metadata
from tunesmith.serving.hf_folder import HfFolder
from tunesmith.serving.parity import CONVERSATIONS, ParityReport, Reply, Step, other_answer
from tunesmith.serving.targets.base import Endpoint
from tunesmith.serving.targets.llamacpp import LlamaCppTarget, start
from tunesmith.serving.targets.ollama import OllamaTarget
from tunesmith.serving.tool_parity import check_tools
from tunesmith.settings import Settings
from tunesmith.tasks.base import TASKS, Task
from tunesmith.tasks.chat import Chat
from tunesmith.tasks.conversation import Message, Row, write_rows
from tunesmith.tasks.native_tools import Conversation, answer_text, as_passed_on, read_conversation
from tunesmith.tasks.openai_tools import row_from_openai, to_text
from tunesmith.tasks.tool_use import ToolUse, as_trained
from tunesmith.tasks.tools import read_tools, system_text
from tunesmith.training.rows import encode

PLAIN_CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
GEMMA = (  # knows no system role
    "{% for m in messages %}{{ raise_exception('none') if m.role == 'system' }}"
    "{{ '<start>' + m.role + '\n' + m.content + '<end>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start>assistant\n' }}{% endif %}"
)
OWN = (  # declares tools by itself, in the manner of Qwen2.5
    "{% if tools %}{{ '<|im_start|>system\n' + (messages[0].content if messages[0].role == 'system' else 'Hi.') }}"
    "{% for tool in tools %}{{ '\n' + (tool | tojson) }}{% endfor %}{{ '<|im_end|>\n' }}{% endif %}"
    "{% for m in messages %}{% if m.role == 'tool' %}{{ '<|im_start|>tool\n' + m.content + '<|im_end|>\n' }}"
    "{% elif m.role != 'system' or not tools %}{{ '<|im_start|>' + m.role + '\n' + m.content }}"
    "{% for c in m.tool_calls or [] %}"
    "{{ '<call>' + c.function.name + ' ' + (c.function.arguments | tojson) + '</call>' }}"
    "{% endfor %}{{ '<|im_end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# What a caller's conversation looks like when it reaches a server's template.
LATER: list[dict[str, Any]] = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "Light!"},
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "set_light", "arguments": {"room": "hall"}}},
            {"id": "c2", "type": "function", "function": {"name": "stop", "arguments": {}}},
        ],
    },
    {"role": "tool", "tool_call_id": "c1", "content": "ok"},
    {"role": "tool", "tool_call_id": "c2", "content": "fine"},
    {"role": "assistant", "content": "Done."},
    {"role": "user", "content": "And now?"},
]


def folder(tiny_base: tuple[Path, Path], place: Path, template: str) -> HfFolder:
    place.mkdir(exist_ok=True)
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(tiny_base[0] / name, place / name)
    (place / "chat_template.jinja").write_text(template, encoding="utf-8")
    return HfFolder(place)


def chosen(tiny_base: tuple[Path, Path], tmp_path: Path, template: str, **more: Any) -> HfFolder:
    """The folder of a model that was trained on OpenAI's row."""
    base = folder(tiny_base, tmp_path / "base", template)
    made = tool_template.choose(base, [row_from_openai(OPENAI)], **more)
    assert made is not None
    return folder(tiny_base, tmp_path / "tuned", made)


class Tokenizer:
    """What training uses of transformers' one."""

    def __init__(self, place: HfFolder):
        self.place = place

    def apply_chat_template(
        self, messages: Any, *, tools: Any, tokenize: bool, add_generation_prompt: bool = False
    ) -> str:
        return self.place.render(messages, tools=tools or (), add_generation_prompt=add_generation_prompt)

    def __call__(self, text: str, add_special_tokens: bool) -> Any:
        return self.place.tokenizer.encode(text, add_special_tokens=add_special_tokens)


# `input_ids` is transformers' name for what tokenizers calls `ids`.
def learnt(row: Row, place: HfFolder, **more: Any) -> tuple[list[int], str]:
    """Ids of the prompt and text of the answer, as training has them."""

    class Ids(Tokenizer):
        def __call__(self, text: str, add_special_tokens: bool) -> Any:
            return type("Encoding", (), {"input_ids": super().__call__(text, add_special_tokens).ids})

    encoded = encode(row, Ids(place), {place.tokenizer.token_to_id("<|im_end|>")}, **more)
    whole = place.tokenizer.decode(encoded.ids[encoded.answer_start :], skip_special_tokens=False)
    return encoded.ids[: encoded.answer_start], whole


def through_ollama() -> list[dict[str, Any]]:
    """The tools of the row as Ollama passes them on: bounds and defaults gone, its own order, `description` always."""
    light = {"type": "object", "required": ["room"], "properties": {
        "room": {"type": "string", "enum": ["kitchen", "hall"]}, "on": {"type": "boolean"},
        "brightness": {"type": "integer"}}}  # fmt: skip
    timer = {"type": "object", "required": ["minutes"], "properties": {
        "minutes": {"type": "number"}, "label": {"type": ["string", "null"]},
        "days": {"type": "array", "items": {"enum": ["mon", "tue"]}},
        "who": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}}}  # fmt: skip
    listed = [("start_timer", "", timer), ("set_light", "Switch a light.", light)]
    made = [{"name": name, "description": text, "parameters": shape} for name, text, shape in listed]
    made.append({"name": "stop", "description": "Stop all.", "parameters": {"type": "object", "properties": {}}})
    return [{"type": "function", "function": function} for function in made]


@pytest.mark.parametrize("template", [TEMPLATE, PLAIN_CHATML, GEMMA, OWN], ids=["default", "chatml", "gemma", "own"])
def test_a_row_is_trained_as_the_tokens_of_a_native_call(
    tiny_base: tuple[Path, Path], tmp_path: Path, template: str
) -> None:
    tuned = chosen(tiny_base, tmp_path, template)
    row = row_from_openai({**OPENAI, "messages": OPENAI["messages"][:3]})
    if "<end>" not in template:
        prompt, answer = learnt(row, tuned, native=True)
        assert prompt == tuned.token_ids([*LATER[:2]], through_ollama())
        form = '<call>set_light {"room": "hall"}</call><call>stop {}</call>' if template == OWN else row.answer
        assert answer == form + "<|im_end|>"
    later = row_from_openai(
        {**OPENAI, "messages": [*OPENAI["messages"], LATER[-1], {"role": "assistant", "content": "."}]}
    )
    read = read_conversation(later.messages)
    assert read is not None
    assert tuned.render(read.messages[:-1], tools=read.tools) == tuned.render(LATER, tools=through_ollama())


@pytest.mark.parametrize("template", [TEMPLATE, PLAIN_CHATML], ids=["default", "chatml"])
def test_a_wrapped_template_writes_tools_as_rows_have_them(
    tiny_base: tuple[Path, Path], tmp_path: Path, template: str
) -> None:
    tuned = chosen(tiny_base, tmp_path, template)
    assert tool_template.form_of(tuned.template) == "wrapped"
    tools = [as_passed_on(tool) for tool in read_tools(OPENAI["tools"])]
    assert tools == through_ollama()
    base = HfFolder(tmp_path / "base")
    assert tuned.render(LATER, tools=tools) == base.render(to_text(LATER, read_tools(tools)))
    without = [*LATER[1:2]]
    assert tuned.render(without, tools=tools) == base.render(to_text(without, read_tools(tools)))
    as_json = json.loads(json.dumps(LATER))
    as_json[2]["tool_calls"][0]["function"]["arguments"] = '{"room": "hall"}'
    assert tuned.render(as_json, tools=tools) == tuned.render(LATER, tools=tools), "arguments as a text"


@pytest.mark.parametrize("template", [TEMPLATE, PLAIN_CHATML, GEMMA, OWN], ids=["default", "chatml", "gemma", "own"])
def test_text_without_tools_is_rendered_as_the_base_does(
    tiny_base: tuple[Path, Path], tmp_path: Path, template: str
) -> None:
    tuned, base = chosen(tiny_base, tmp_path, template), HfFolder(tmp_path / "base")
    for messages in CONVERSATIONS.values():
        said = [m for m in messages if m["role"] != "system"] if template == GEMMA else messages
        for prompt in (True, False):
            assert tuned.render(said, add_generation_prompt=prompt) == base.render(said, add_generation_prompt=prompt)
    assert (tuned.default_system, tuned.stop) == (base.default_system, base.stop)


def test_the_recipes_system_prompt_stands_where_a_caller_has_none(tiny_base: tuple[Path, Path], tmp_path: Path) -> None:
    hard = 'It\'s \\ me.\n\tYou "know" {{ bos_token }} {% if %} #}'
    for template in (TEMPLATE, OWN):
        tuned = chosen(tiny_base, tmp_path, template, system=hard)
        wanted = tuned.render([{"role": "system", "content": hard}, LATER[1]], tools=through_ollama())
        assert hard in wanted
        assert tuned.render([LATER[1]], tools=through_ollama()) == wanted
        if tuned.default_system:  # Ollama puts the base's default in where a caller has none
            said = [{"role": "system", "content": tuned.default_system}, LATER[1]]
            assert tuned.render(said, tools=through_ollama()) == wanted


def test_a_base_that_declares_tools_is_used_in_its_own_way(tiny_base: tuple[Path, Path], tmp_path: Path) -> None:
    tuned = chosen(tiny_base, tmp_path, OWN)
    assert tool_template.form_of(tuned.template) == "own"
    assert tuned.template.endswith(OWN)
    silent = OWN.replace("(c.function.arguments | tojson)", "''")
    assert tool_template.form_of(chosen(tiny_base, tmp_path, silent).template) == "wrapped", "shows no arguments"
    one = OWN.replace("{% for c", "{{ raise_exception('one') if m.tool_calls and m.tool_calls | length > 1 }}{% for c")
    assert tool_template.form_of(chosen(tiny_base, tmp_path, one).template) == "wrapped", "rows call two at once"


@pytest.mark.parametrize("name", ["qwen2_5", "qwen3", "llama3_1", "lfm2_2_5", "glm4moe"])
def test_real_templates_that_declare_tools(tiny_base: tuple[Path, Path], tmp_path: Path, name: str) -> None:
    bundled = _bundled(name)
    assert tool_template.declares_tools(folder(tiny_base, tmp_path / "base", bundled))


@pytest.mark.parametrize("name", ["gemma", "gemma3", "llama3", "phi3_5", "cohere"])
def test_real_templates_that_are_wrapped(tiny_base: tuple[Path, Path], tmp_path: Path, name: str) -> None:
    base = folder(tiny_base, tmp_path / "base", _bundled(name))
    assert not tool_template.declares_tools(base)
    assert tool_template.declares_tools(folder(tiny_base, tmp_path / "tuned", tool_template.wrap(base)))


def _bundled(name: str) -> str:
    import importlib.util

    found = importlib.util.find_spec("trl")
    if found is None or found.origin is None:
        pytest.skip("trl is not installed")
    place = Path(found.origin).parent / "chat_templates" / f"{name}.jinja"
    if not place.is_file():
        pytest.skip(f"this trl brings no {name}")
    return place.read_text(encoding="utf-8")


def test_rows_in_words_of_their_own_leave_the_template_as_it_is(tiny_base: tuple[Path, Path], tmp_path: Path) -> None:
    base = folder(tiny_base, tmp_path / "base", TEMPLATE)
    own = system_text(read_tools(TOOLS)).replace("Call a tool when one fits. The tools:", "You have these:")
    row = Row([{"role": "system", "content": own}, LATER[1], {"role": "assistant", "content": ON}])  # type: ignore[list-item]
    assert read_conversation(row.messages) is None
    assert tool_template.choose(base, [row]) is None
    assert tool_template.choose(base, [Row(CONVERSATIONS["several_turns"])]) is None, "no tools at all"
    assert tool_template.form_of(TEMPLATE) is None


def test_a_conversation_is_read_from_its_text() -> None:
    row = row_from_openai(OPENAI)
    read = read_conversation(row.messages)
    assert read is not None
    assert [m["role"] for m in read.messages] == ["system", "user", "assistant", "tool", "tool", "assistant"]
    assert read.messages[0]["content"] == "Be kind."
    made = [c["function"] for c in read.messages[2]["tool_calls"]]
    assert made == [{"name": "set_light", "arguments": {"room": "hall"}}, {"name": "stop", "arguments": {}}]
    assert [m["content"] for m in read.messages[3:5]] == ["ok", "fine"]
    assert [m["tool_call_id"] for m in read.messages[3:5]] == [c["id"] for c in read.messages[2]["tool_calls"]]
    again = to_text(read.as_sent()["messages"], read_tools(read.tools))
    assert again[1:] == row.messages[1:], "what is sent says the same"
    loose = call("set_light", {"on": True, "brightness": 5.0, "room": "hall"})
    said: list[Message] = [*row.messages[:2], {"role": "assistant", "content": loose}]
    ordered = read_conversation(said)
    assert ordered is not None
    assert json.dumps(ordered.messages[-1]["tool_calls"][0]["function"]["arguments"]) == (
        '{"room": "hall", "on": true, "brightness": 5}'
    )
    for broken in (ON[:-3], "Well: " + ON, "<tool_call>\n{}\n</tool_call>"):
        assert read_conversation([*row.messages[:2], {"role": "assistant", "content": broken}]) is None


def test_an_answer_becomes_the_text_that_rows_have() -> None:
    function = {"name": "set_light", "arguments": '{"room":"hall"}'}
    assert answer_text({"content": None, "tool_calls": [{"function": function}]}) == ON
    assert answer_text({"content": "Hello"}) == "Hello"
    assert answer_text({"content": None}) == ""
    assert "<tool_call>" in answer_text({"tool_calls": [{"function": {"name": "x", "arguments": "{"}}]})


def test_a_merged_model_has_the_template_of_its_adapter(tiny_base: tuple[Path, Path], tmp_path: Path) -> None:
    base, adapter = tiny_base[0], shutil.copytree(tiny_base[1], tmp_path / "adapter")
    merge.merge(base, adapter, tmp_path / "plain")
    assert HfFolder(tmp_path / "plain").template == HfFolder(base).template
    assert tool_template.form_at(str(tmp_path / "plain")) is None
    wrapped = tool_template.wrap(HfFolder(base))
    (adapter / tool_template.NAME).write_text(wrapped, encoding="utf-8")
    merge.merge(base, adapter, tmp_path / "tools")
    assert HfFolder(tmp_path / "tools").template == wrapped
    assert tool_template.form_at(str(tmp_path / "tools")) == "wrapped"
    assert tool_template.form_at(str(tmp_path / "gone")) is None


@pytest.mark.parametrize(
    ("task", "made"), [(ToolUse(), True), (Chat(), False), (TASKS.get("classification")({"labels": ["a", "b"]}), False)]
)
def test_only_a_model_for_tools_is_trained_with_a_template_of_its_own(
    tiny_base: tuple[Path, Path], tmp_path: Path, task: Task, made: bool
) -> None:
    context: Any = SimpleNamespace(folder=tmp_path, task=lambda: task, say=lambda *_, **__: None)
    rows = tmp_path / "train.jsonl"
    write_rows(rows, [row_from_openai(OPENAI)])
    place = train._tool_template(context, HfFolder(tiny_base[0]), rows)
    assert (place is not None) == made
    assert (tmp_path / tool_template.NAME).exists() == made
    if place:
        kept = place.read_text(encoding="utf-8")
        write_rows(rows, [Row(CONVERSATIONS["several_turns"])])
        assert train._tool_template(context, HfFolder(tiny_base[0]), rows) == place, "a training that goes on"
        assert place.read_text(encoding="utf-8") == kept


def test_a_training_that_began_without_the_template_goes_on_without(
    tiny_base: tuple[Path, Path], tmp_path: Path
) -> None:
    context: Any = SimpleNamespace(folder=tmp_path, task=ToolUse, say=lambda *_, **__: None)
    (tmp_path / "plan.json").write_text("{}", encoding="utf-8")
    write_rows(tmp_path / "train.jsonl", [row_from_openai(OPENAI)])
    assert train._tool_template(context, HfFolder(tiny_base[0]), tmp_path / "train.jsonl") is None


def test_what_a_server_holds_back_while_a_call_may_begin_is_no_other_answer() -> None:
    """As seen: "<" could begin <tool_call>, so its step comes empty, and the next one has both."""
    steps = [Step(token, {token: -0.1, "x": -9.0}) for token in ("", "<p", ">")]
    assert other_answer(Reply(9, "<p>", steps), Reply(9, "<p>", steps[1:])) is None
    assert other_answer(Reply(9, "<p>", steps), Reply(9, "<b>", [Step("<b", {"<b": -0.1})]))


def told() -> Conversation:
    read = read_conversation(to_text(LATER, read_tools(TOOLS)))
    assert read is not None
    return read


def test_targets_are_given_tools_as_tools(settings: Settings) -> None:
    task = as_trained(ToolUse({"style": None}), "wrapped")
    assert isinstance(task, ToolUse)
    held = task.constraint_to(read_tools(TOOLS), text=False)
    one = tool_asking.Choice(["stop"], must=True)
    llama = tool_asking.body(LlamaCppTarget(settings), {"model": "m"}, told(), held, one)
    assert llama["grammar"]
    assert (len(llama["tools"]), llama["tool_choice"]) == (3, "none"), "listed as trained, and held to our grammar"
    ollama = tool_asking.body(OllamaTarget(settings), {"model": "m"}, told(), held, one)
    assert [t["function"]["name"] for t in ollama["tools"]] == ["stop"]
    assert ollama["tool_choice"] == "required"
    assert isinstance(ollama["messages"][2]["tool_calls"][0]["function"]["arguments"], str)
    none = tool_asking.body(OllamaTarget(settings), {"model": "m"}, told(), held, tool_asking.Choice([]))
    assert "tools" not in none


def test_an_evaluation_asks_as_callers_do(settings: Settings) -> None:
    row = row_from_openai(OPENAI)
    for form, native in (("own", True), (None, False)):
        endpoint = Endpoint("http://x/v1", "m", tool_form=form)  # type: ignore[arg-type]
        body = Examination(OllamaTarget(settings), endpoint, ToolUse())._body(row.prompt, row.prompt, 64)
        assert ("tools" in body) == native
        assert (body["messages"] == row.prompt) != native


@pytest.fixture(scope="module")
def wrapped(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """The tiny model with a template that declares tools."""
    place = tmp_path_factory.mktemp("tools")
    hf_dir = Path(shutil.copytree(tiny.hf_dir, place / "hf", ignore=shutil.ignore_patterns("*.safetensors")))
    template = tool_template.wrap(HfFolder(tiny.hf_dir))
    old = len(read_metadata(tiny.f16)["tokenizer.chat_template"].encode())
    template += "{#" + "-" * ((old - len(template.encode()) - 4) % 32) + "#}"  # the numbers must stay aligned
    (hf_dir / "chat_template.jinja").write_text(template, encoding="utf-8")
    return Tiny(tiny.base, tiny.adapter, hf_dir, with_template(tiny.f16, place / "model.gguf", template))


def test_llamacpp_is_given_the_tokens_of_training(wrapped: Tiny, settings: Settings, tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp")
    target = LlamaCppTarget(settings)
    report = target.parity(target.deploy(wrapped.candidate()))
    report.require()
    names = {check.name for check in report.checks if check.name.startswith("tools.")}
    assert {"tools.without_system.token_ids", "tools.turn_3.token_ids", "tools.without_system.token_count"} <= names
    # Asked with tools, it answers by calls that llama.cpp reads, or that our grammar holds.
    endpoint_tools = [as_passed_on(tool) for tool in read_tools([LIGHT, TIMER])]
    shutil.copytree(wrapped.hf_dir, tmp_path / "hf")
    with start(target.deploy(wrapped.candidate())) as server:
        assert server.endpoint.tool_form == "wrapped"
        asked = Conversation([{"role": "user", "content": "x"}], endpoint_tools[:1])
        task = as_trained(ToolUse(), "wrapped")
        assert isinstance(task, ToolUse)
        held = task.constraint_to(read_tools([LIGHT]), text=False, several=False)
        body = tool_asking.body(
            target, {"max_tokens": 90, "temperature": 0}, asked, held, tool_asking.Choice(None, True)
        )
        said = server.post("/v1/chat/completions", body)["choices"][0]["message"]["content"]
        assert said.startswith('<tool_call>\n{"name": "set_light", "arguments": {"room": "')
        wrong = ParityReport("llamacpp")
        other = tmp_path / "hf" / "chat_template.jinja"
        other.write_text(other.read_text(encoding="utf-8").replace("<tool_response>", "<response>"), encoding="utf-8")
        from tunesmith.serving.targets.llamacpp import _Served

        check_tools(wrong, _Served(server), tmp_path / "hf")
        failed = {check.name for check in wrong.checks if not check.passed}
        assert "tools.turn_2.token_ids" in failed
        assert "tools.turn_1.token_ids" not in failed


def test_a_system_prompt_of_ours_makes_no_control_tokens(tiny_base: tuple[Path, Path], tmp_path: Path) -> None:
    """Its marks would be put apart when the model is asked, and were not in training."""
    base = HfFolder(tiny_base[0])
    shutil.copytree(base.path, tmp_path / "served")
    wrapped = tool_template.wrap(base, "Answer [NONE] when unsure.")
    (tmp_path / "served" / "chat_template.jinja").write_text(wrapped, encoding="utf-8")
    assert HfFolder(tmp_path / "served").control_tokens == base.control_tokens
