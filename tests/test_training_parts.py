"""Rows, checks, the fast forward and checkpoints, each by itself."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

import pytest

from fakes import tiny_model
from tunesmith.errors import BadInput
from tunesmith.tasks.conversation import Message, Row
from tunesmith.training import checkpoints
from tunesmith.training.checks import check_labels
from tunesmith.training.order import micro_batches, order_of, shares
from tunesmith.training.rows import Encoded, EncodedRows, encode, encode_rows, end_tokens

torch = pytest.importorskip("torch")
ROW = Row([{"role": "user", "content": "TOTAL 12.00"}, {"role": "assistant", "content": '{"total": "12.00"}'}])
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.make(tmp_path_factory.mktemp("tiny"))


def _tokenizer(folder: Path):  # type: ignore[no-untyped-def]
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def test_only_the_answer_and_its_end_are_learnt(base: Path) -> None:
    tokenizer = _tokenizer(base)
    row = encode(ROW, tokenizer, end_tokens(tokenizer))
    assert tokenizer.decode(row.ids[row.answer_start :]) == '{"total": "12.00"}<|im_end|>'
    prompt = tokenizer.decode(row.ids[: row.answer_start])
    assert prompt.endswith("TOTAL 12.00<|im_end|>\n<|im_start|>assistant\n")
    assert prompt.startswith("<|im_start|>system\nBe brief.")


def test_template_that_rewrites_the_prompt_is_refused(tmp_path: Path) -> None:
    folder = tiny_model.make(tmp_path, template="{{ messages | length }}{{ messages[-1].content }}<|im_end|>")
    tokenizer = _tokenizer(folder)
    with pytest.raises(BadInput, match="template"):
        encode(ROW, tokenizer, end_tokens(tokenizer))


@pytest.mark.parametrize(
    ("row", "match"),
    [
        (Encoded([5, 6, 7], 3), "no learnt token"),
        (Encoded([5, 6, 7], 1), "end-of-answer"),
        (Encoded([5, 600, 2], 1), "does not know"),
        (Encoded([5, 2], 1), "answers are empty"),
    ],
)
def test_rows_that_teach_nothing_are_refused(row: Encoded, match: str) -> None:
    with pytest.raises(BadInput, match=match):
        check_labels(EncodedRows([row], [0]), {2}, 512, 64)


def test_rows_too_long_are_counted_and_mostly_too_long_is_refused() -> None:
    good = Encoded([5, 6, 2], 1)
    assert "1 of 3 rows" in check_labels(EncodedRows([good, good], [0, 1], too_long=1), {2}, 512, 64)[0]
    with pytest.raises(BadInput, match="2 of 3 rows are longer than the 64 tokens"):
        check_labels(EncodedRows([good], [0], too_long=2), {2}, 512, 64)


def test_a_busy_machine_still_finds_the_faster_number_format(monkeypatch: pytest.MonkeyPatch) -> None:
    """Regression: with few tries, most of them interrupted, float32 was taken for the faster one, at half the speed."""
    from tunesmith.training import fast_ops

    clock, random = 0.0, Random(0)

    def linear(x: Any, _weight: Any) -> None:
        nonlocal clock
        clock += (1.0 if x.dtype is torch.bfloat16 else 2.0) + (random.random() < 0.7) * 10.0

    monkeypatch.setattr(fast_ops.functional, "linear", linear)
    monkeypatch.setattr(fast_ops.time, "perf_counter", lambda: clock)
    assert all(fast_ops.bf16_is_faster(2, 2) for _ in range(100))


def adapted(base: Path, first_adapted: int) -> Any:
    """The tiny model with adapters, their weights random, on its layers from `first_adapted` on."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32),
        LoraConfig(
            r=4,
            lora_alpha=8,
            target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
            layers_to_transform=list(range(first_adapted, 4)),
        ),
    )
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.1)
    return model


def random_rows(shared: int = 0) -> list[Encoded]:
    """Three rows that begin with the same `shared` tokens, and go on with others."""
    generator = torch.Generator().manual_seed(1)
    first = torch.randint(3, 500, (shared,), generator=generator).tolist()
    ids = [first + torch.randint(3, 500, (n,), generator=generator).tolist() for n in (300, 17, 140)]
    return [Encoded(i, len(i) - 9, weight) for i, weight in zip(ids, (1.0, 2.0, 1.0), strict=True)]


@pytest.mark.parametrize(
    ("first_adapted", "rows"),
    [
        pytest.param(0, random_rows(), id="all layers"),
        pytest.param(2, random_rows(), id="upper layers"),
        pytest.param(2, random_rows(shared=40), id="a common beginning"),
        pytest.param(0, random_rows(shared=160), id="a common beginning of more than a block"),
        pytest.param(2, [random_rows()[0]] * 3, id="the same row"),
    ],
)
def test_fast_forward_gives_the_models_own_loss_and_gradients(
    base: Path, first_adapted: int, rows: list[Encoded]
) -> None:
    from tunesmith.training.fast import FastDecoder
    from tunesmith.training.loss import FastLoss, GeneralLoss

    model = adapted(base, first_adapted)
    trained = [p for p in model.parameters() if p.requires_grad]
    fast = FastLoss(FastDecoder(model, first_adapted, torch.float32))
    general = GeneralLoss(model.get_base_model())
    theirs = general(rows, [None] * 3)
    expected = torch.autograd.grad(theirs, trained)
    for _ in range(2):  # the second time from kept states
        ours = fast(rows, [0, 1, 2])
        assert ours.item() == pytest.approx(theirs.item(), rel=1e-4)
        for mine, other in zip(torch.autograd.grad(ours, trained), expected, strict=True):
            assert (mine - other).norm() <= 1e-3 * other.norm() + 1e-6
    assert len(fast.kept) == (3 if first_adapted else 0)


def test_bfloat16_products_give_nearly_the_same_loss_and_direction(base: Path) -> None:
    from tunesmith.training.fast import FastDecoder
    from tunesmith.training.loss import FastLoss

    model, rows = adapted(base, 2), random_rows(shared=40)
    trained = [p for p in model.parameters() if p.requires_grad]
    losses = [FastLoss(FastDecoder(model, 2, kind))(rows, [None] * 3) for kind in (torch.float32, torch.bfloat16)]
    assert losses[1].item() == pytest.approx(losses[0].item(), rel=0.01)
    exact, rough = (torch.cat([g.flatten() for g in torch.autograd.grad(loss, trained)]) for loss in losses)
    assert torch.cosine_similarity(exact, rough, dim=0) > 0.99
    assert rough.norm().item() == pytest.approx(exact.norm().item(), rel=0.05)


def test_rows_of_several_threads_do_not_shorten_each_others_positions(
    base: Path,
) -> None:
    """Regression: a row's table of positions was now and then replaced by a shorter one, and the training failed."""
    from tunesmith.training.fast import FastDecoder

    decoder = FastDecoder(adapted(base, 2), 2, torch.float32)
    lengths = (50, 20, 40, 30)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(len(lengths)) as pool:
            for _ in range(300):
                decoder._tables = None
                found = list(pool.map(lambda n: len(decoder._positions([range(n)])[0]), lengths))
                assert found == list(lengths)
    finally:
        sys.setswitchinterval(before)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_workers_share_a_step_without_changing_its_gradient(base: Path, count: int) -> None:
    from tunesmith.training.fast import FastDecoder
    from tunesmith.training.loss import FastLoss
    from tunesmith.training.workers import Workers

    model, rows = adapted(base, 2), random_rows()
    loss = FastLoss(FastDecoder(model, 2, torch.float32))
    workers = Workers(loss, model, count)
    whole = loss(rows, [None] * 3) / 27
    expected = torch.autograd.grad(whole, workers.parameters)

    def step() -> tuple[float, list[torch.Tensor]]:
        for parameter in workers.parameters:
            parameter.grad = None
        total = workers.backward([(row, number) for number, row in enumerate(rows)], 1 / 27)
        return total.item(), [p.grad.clone() for p in workers.parameters if p.grad is not None]

    total, gradients = step()
    assert total == pytest.approx(whole.item(), rel=1e-5)
    for mine, other in zip(gradients, expected, strict=True):
        assert (mine - other).norm() <= 1e-4 * other.norm() + 1e-6
    for _ in range(5):  # whichever thread ends first
        again, same = step()
        assert again == total
        assert all(torch.equal(a, b) for a, b in zip(gradients, same, strict=True))
    assert workers.mean_loss(rows) == pytest.approx(loss(rows, [None] * 3).item() / 36, rel=1e-5)


def test_shares_hold_every_row_once_and_are_about_even() -> None:
    assert shares([500, 300, 200, 100], 2) == [[0, 3], [1, 2]]
    assert shares([10, 20], 4) == [[1], [0]]


def test_order_visits_every_row_once_a_pass_and_is_fixed_by_the_seed() -> None:
    order = order_of(5, 12, seed=1)
    assert sorted(order[:5]) == sorted(order[5:10]) == list(range(5))
    assert order[:5] != order[5:10]
    assert order == order_of(5, 12, seed=1) != order_of(5, 12, seed=2)


def test_micro_batches_hold_every_row_within_the_limit() -> None:
    lengths = [300, 900, 100, 500, 2000]
    groups = micro_batches(lengths, 1000)
    assert sorted(i for group in groups for i in group) == list(range(5))
    assert all(sum(lengths[i] for i in group) <= 1000 or len(group) == 1 for group in groups)


def test_checkpoints_unsealed_truncated_or_altered_are_not_valid(tmp_path: Path) -> None:
    for step in (1, 2, 3, 4):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "adapter_model.safetensors").write_bytes(b"weights" * 100)
        if step != 4:
            checkpoints.seal(folder, {"spent_s": 1.5})
    assert checkpoints.newest_valid(tmp_path) == tmp_path / "checkpoint-3"
    (tmp_path / "checkpoint-3" / "adapter_model.safetensors").write_bytes(b"weights" * 99)
    assert checkpoints.newest_valid(tmp_path) == tmp_path / "checkpoint-2"
    (tmp_path / "checkpoint-2" / "complete.json").write_text('{"files": ')
    newest = checkpoints.newest_valid(tmp_path)
    assert newest == tmp_path / "checkpoint-1"
    assert checkpoints.manifest(newest) == {"spent_s": 1.5}


def test_rotation_keeps_two_whole_ones(tmp_path: Path) -> None:
    for step in range(1, 6):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "x").write_bytes(b"x")
        if step != 4:
            checkpoints.seal(folder)
    checkpoints.rotate(tmp_path)
    assert [checkpoints.step_of(p) for p in checkpoints.valid_checkpoints(tmp_path)] == [3, 5]


def test_every_answer_of_a_conversation_is_learnt_unless_its_weight_is_0(base: Path) -> None:
    tokenizer = _tokenizer(base)
    said: list[Message] = [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "first"},
        {"role": "user", "content": "two"},
        {"role": "assistant", "content": "second"},
        {"role": "user", "content": "three"},
        {"role": "assistant", "content": "third"},
    ]
    encoded = encode_rows([Row(said), Row(said, unlearnt=[1])], tokenizer, end_tokens(tokenizer), None)
    learnt = [tokenizer.decode(row.ids[row.answer_start : -1]).strip() for row in encoded.rows]
    assert learnt == ["first", "second", "third", "second", "third"]
    assert encoded.source == [0, 0, 0, 1, 1]
