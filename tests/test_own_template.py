"""A GGUF carries its model's own template where no server takes it for another one; what it renders stays the same."""

from pathlib import Path

import pytest

from conftest import Tiny
from tunesmith.errors import ParityError
from tunesmith.serving import export, gguf_file, own_template
from tunesmith.serving.hf_folder import HfFolder
from tunesmith.serving.parity import CONVERSATIONS

PLAIN = "{% for m in messages %}{{ m.role + ':' + m.content }}{% endfor %}"


def folder_with(tiny: Tiny, place: Path, template: str) -> HfFolder:
    place.mkdir(exist_ok=True)
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (place / name).write_bytes((tiny.hf_dir / name).read_bytes())
    (place / "chat_template.jinja").write_text(template, encoding="utf-8")
    return HfFolder(place)


def test_an_export_carries_the_mark(tiny: Tiny) -> None:
    template = gguf_file.read_metadata(tiny.f16)["tokenizer.chat_template"]
    assert template == own_template.COMMENT + HfFolder(tiny.hf_dir).template
    export.verify(tiny.f16, tiny.hf_dir)


@pytest.mark.parametrize(
    "template",
    [
        PLAIN,
        PLAIN + "\n",
        PLAIN + "\n\n",
        PLAIN + "\n   ",
        "\n" + PLAIN,
        "  " + PLAIN,
        "{{- bos_token -}}\n" + PLAIN + "end\n\n",
        "{#- a comment -#}\n\n" + PLAIN,
        "plain text\n" + PLAIN,
    ],
)
def test_the_mark_renders_to_nothing(tiny: Tiny, tmp_path: Path, template: str) -> None:
    folder = folder_with(tiny, tmp_path / "own", template)
    marked = folder_with(tiny, tmp_path / "marked", own_template.carried(folder))
    for messages in CONVERSATIONS.values():
        assert marked.render(messages) == folder.render(messages)


def test_no_server_takes_the_mark_for_tools_or_thoughts() -> None:
    assert own_template.COMMENT.count("^") > 100  # edits, for who looks for a template like it
    assert not any(word in own_template.COMMENT for word in ("tool", "think", "<", "["))


THINKS = PLAIN + "{{ '<think>\n' if enable_thinking is not defined or enable_thinking else '<think></think>' }}"
THINKS_IF_TOLD = PLAIN + "{{ '<think>\n' if enable_thinking is defined and enable_thinking else '<think></think>' }}"


def test_a_template_that_training_never_told_to_think_does_not_think_when_served(tiny: Tiny, tmp_path: Path) -> None:
    question = CONVERSATIONS["without_system"]
    silent = folder_with(tiny, tmp_path / "silent", THINKS_IF_TOLD)
    assert silent.thinking is False
    served = folder_with(tiny, tmp_path / "served", own_template.carried(silent))
    assert served.render(question, enable_thinking=True) == silent.render(question)
    thinking = folder_with(tiny, tmp_path / "thinking", THINKS)
    assert thinking.thinking is True
    assert own_template.carried(thinking) == own_template.COMMENT + THINKS
    assert folder_with(tiny, tmp_path / "plain", PLAIN).thinking is None


def test_a_base_made_from_a_marked_gguf_is_not_marked_twice(tiny: Tiny, tmp_path: Path) -> None:
    first = own_template.carried(folder_with(tiny, tmp_path / "one", PLAIN))
    assert own_template.carried(folder_with(tiny, tmp_path / "two", first)) == first


def test_anything_else_is_another_template(tiny: Tiny, tmp_path: Path) -> None:
    for template in (PLAIN, own_template.COMMENT + PLAIN, "{# a comment #}" + HfFolder(tiny.hf_dir).template):
        with pytest.raises(ParityError, match="chat template is another"):
            export.verify(tiny.f16, folder_with(tiny, tmp_path / "other", template).path)
