"""A served model ends: how long an answer may be comes from the answers that were learnt."""

import json
from pathlib import Path

from conftest import Tiny
from tunesmith.recipes.stages.shared import answer_length
from tunesmith.serving.hf_folder import HfFolder
from tunesmith.serving.targets.base import Deployment
from tunesmith.tasks.conversation import Message, Row


def turns(*answers: str) -> Row:
    messages: list[Message] = []
    for answer in answers:
        messages += [{"role": "user", "content": "q" * 500}, {"role": "assistant", "content": answer}]
    return Row(messages)


def test_an_answer_may_be_twice_as_long_as_the_longest_learnt(tiny: Tiny) -> None:
    folder = HfFolder(tiny.hf_dir)
    tokens = len(folder.tokenizer.encode("0 1 2 3 4 5 6 7 8 9").ids)
    assert answer_length([turns("a"), turns("0 1 2 3 4 5 6 7 8 9", "b")], folder) == 2 * tokens + 64


def test_no_answer_outgrows_the_context(tiny: Tiny) -> None:
    folder = HfFolder(tiny.hf_dir)
    assert answer_length([turns("0 1 2 " * 1000)], folder) == folder.num_ctx


def test_nothing_learnt_leaves_the_length_to_the_caller(tiny: Tiny) -> None:
    assert answer_length([], HfFolder(tiny.hf_dir)) is None


def test_a_deployment_stored_before_answers_had_a_length_opens() -> None:
    names = ("target", "name", "version", "model", "gguf", "hf_dir", "digest", "quantization")
    stored = {**dict.fromkeys(names, "x"), "system": None, "stop": [], "num_ctx": 512}
    assert Deployment.from_dict(json.loads(json.dumps(stored))).num_predict is None
    newer = Deployment.from_dict({**stored, "num_predict": 90, "gguf": str(Path("/x"))})
    assert newer.num_predict == 90
    assert Deployment.from_dict(newer.as_dict()) == newer
