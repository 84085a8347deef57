"""Parity with a real llama.cpp server: the right model passes, one wrong byte in template or tokenizer does not."""

from pathlib import Path

import pytest

from conftest import Tiny
from fakes.go_template import render
from gguf_edit import with_double_bos, with_foreign_bos, with_other_template
from tunesmith.errors import BadInput, ParityError
from tunesmith.serving import go_template
from tunesmith.serving.hf_folder import HfFolder
from tunesmith.serving.parity import CONVERSATIONS, ParityReport, Reply, Step, other_answer, with_system
from tunesmith.serving.targets.llamacpp import LlamaCppTarget
from tunesmith.settings import Settings

pytest.importorskip("xllamacpp")


def report_of(tiny: Tiny, gguf: Path, settings: Settings) -> ParityReport:
    target = LlamaCppTarget(settings)
    return target.parity(target.deploy(tiny.candidate(gguf=gguf)))


def failed(report: ParityReport) -> set[str]:
    return {check.name for check in report.checks if not check.passed}


def test_the_exported_model_is_the_trained_model(tiny: Tiny, settings: Settings) -> None:
    report = report_of(tiny, tiny.f16, settings)
    report.require()
    assert {check.name for check in report.checks} == {
        "metadata",
        *(f"{name}.{what}" for name in CONVERSATIONS for what in ("token_ids", "token_count")),
    }
    assert report.as_dict()["ok"] is True


def test_a_wrong_template_fails(tiny: Tiny, settings: Settings, tmp_path: Path) -> None:
    report = report_of(tiny, with_other_template(tiny.f16, tmp_path / "wrong.gguf"), settings)
    assert failed(report) == {"metadata", "without_system.token_ids"}  # the default system prompt is another one
    with pytest.raises(ParityError, match=r"metadata: the chat template.*without_system\.token_ids: token") as caught:
        report.require()
    assert caught.value.hint


def test_a_first_token_too_many_fails(tiny: Tiny, settings: Settings, tmp_path: Path) -> None:
    report = report_of(tiny, with_foreign_bos(tiny.f16, tmp_path / "wrong.gguf"), settings)
    everything = {f"{name}.{what}" for name in CONVERSATIONS for what in ("token_ids", "token_count")}
    assert failed(report) == {"metadata", *everything}
    with pytest.raises(ParityError, match=r"with_system\.token_ids: token 0 is 0, training used 1"):
        report.require()


def test_llamacpp_does_not_double_the_bos_that_the_template_writes(
    tiny: Tiny, settings: Settings, tmp_path: Path
) -> None:
    report_of(tiny, with_double_bos(tiny.f16, tmp_path / "bos.gguf"), settings).require()


def test_nothing_checked_is_not_parity() -> None:
    with pytest.raises(ParityError):
        ParityReport("llamacpp").require()


def test_system_prompt_of_the_model_is_put_in_once() -> None:
    bare, own = CONVERSATIONS["without_system"], CONVERSATIONS["with_system"]
    assert with_system(bare, "S")[0] == {"role": "system", "content": "S"}
    assert with_system(own, "S") == own
    assert with_system(bare, None) == bare


def reply(*tokens: tuple[str, str, float], prompt: int = 9, ended: bool = False) -> Reply:
    """Each token with the runner-up, and by how much it leads."""
    steps = [Step(token, {token: -0.1, other: -0.1 - lead}) for token, other, lead in tokens]
    return Reply(prompt, "".join(step.token for step in steps), steps, ended)


def test_a_near_tie_may_fall_either_way() -> None:
    """'Receipt' and 'Statement' lay 0.18 apart, and a good model was refused."""
    chat = reply(("a", "b", 3.0), ("Receipt", "Statement", 0.18), ("x", "y", 5.0))
    raw = reply(("a", "b", 3.1), ("Statement", "Receipt", 0.02), ("z", "y", 5.0))
    assert other_answer(chat, raw) is None


@pytest.mark.parametrize(
    "raw",
    [
        reply(("a", "b", 3.0), ("c", "d", 4.0), prompt=8),
        reply(("b", "a", 3.0), ("c", "d", 4.0)),
        reply(("a", "b", 3.0), ended=True),
        Reply(9, "ab"),
    ],
    ids=["tokens", "choice", "end", "text"],
)
def test_another_prompt_or_a_clear_choice_is_a_difference(raw: Reply) -> None:
    assert other_answer(reply(("a", "b", 3.0), ("c", "d", 4.0)), raw)


def test_answers_are_compared_as_far_as_both_go() -> None:
    whole = reply(("a", "b", 3.0), ("c", "d", 4.0))
    assert other_answer(whole, reply(("a", "b", 3.0))) is None
    assert other_answer(whole, Reply(9, None)) is None, "what cannot be read says nothing"
    assert other_answer(whole, Reply(8, None)), "its prompt does"


LLAMA = (
    "{{ bos_token }}{% for m in messages %}{{ '<|start|>' + m['role'] + '<|end|>\n\n' + m['content'] + '<|eot|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|start|>assistant<|end|>\n\n' }}{% endif %}"
)
PLAIN_CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
INSTRUCT = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
    "{% elif m.role == 'system' %}<<SYS>>{{ m.content }}<</SYS>>{% else %} {{ m.content }}{{ eos_token }}{% endif %}"
    "{% endfor %}"
)


def folder_with(tiny: Tiny, tmp_path: Path, template: str) -> HfFolder:
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((tiny.hf_dir / name).read_bytes())
    (tmp_path / "chat_template.jinja").write_text(template, encoding="utf-8")
    return HfFolder(tmp_path)


@pytest.mark.parametrize("template", [None, LLAMA, PLAIN_CHATML, INSTRUCT], ids=["default", "llama", "chatml", "inst"])
def test_go_template_renders_what_jinja_renders(tiny: Tiny, tmp_path: Path, template: str | None) -> None:
    folder = HfFolder(tiny.hf_dir) if template is None else folder_with(tiny, tmp_path, template)
    go = go_template.derive(folder, adds_bos=False)
    braces = [{"role": "user", "content": "{{ .System }} {% if %} {{ bos_token }}"}]
    for messages in [*CONVERSATIONS.values(), braces]:
        turns = [{"Role": m["role"], "Content": m["content"]} for m in with_system(messages, folder.default_system)]
        assert render(go, {"Messages": turns}) == folder.render(messages)


def test_go_template_leaves_the_first_token_to_a_tokenizer_that_adds_it(tiny: Tiny, tmp_path: Path) -> None:
    folder = folder_with(tiny, tmp_path, LLAMA)
    with_bos, without = (go_template.derive(folder, adds_bos=adds) for adds in (False, True))
    assert with_bos == "<|im_start|>" + without


@pytest.mark.parametrize(
    "template",
    [
        LLAMA.replace("m['content']", "m['content'] | trim"),
        PLAIN_CHATML.replace("m.content", "(m.content | upper)"),
        PLAIN_CHATML.replace("{% for m in messages %}", "{% for m in messages[-2:] %}"),
        "{% for m in messages %}{{ raise_exception('none') if m.role == 'system' }}{{ m.content }}{% endfor %}",
    ],
    ids=["trims", "changes_case", "forgets_turns", "no_system_role"],
)
def test_templates_that_go_cannot_say_are_refused(tiny: Tiny, tmp_path: Path, template: str) -> None:
    with pytest.raises(ParityError) as caught:
        go_template.derive(folder_with(tiny, tmp_path, template), adds_bos=False)
    assert caught.value.error_code == "template_not_expressible"
    assert "llamacpp" in str(caught.value.hint)


def test_a_model_without_a_template_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    folder = folder_with(tiny, tmp_path, "")
    with pytest.raises(BadInput, match="no chat template"):
        folder.render(CONVERSATIONS["with_system"])


def test_chat_templates_are_sandboxed(tiny: Tiny, tmp_path: Path) -> None:
    folder = folder_with(tiny, tmp_path, "{{ ''.__class__.__mro__[1].__subclasses__() }}")
    with pytest.raises(BadInput, match="refuses"):
        folder.render(CONVERSATIONS["with_system"])
