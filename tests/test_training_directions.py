"""Adapters start in the directions that their layers' inputs have."""

from pathlib import Path
from typing import Any

import pytest

from fakes import tiny_model
from tunesmith.training.rows import Encoded

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
LENGTHS = (40, 9, 23, 60, 31)
ROWS = [Encoded([(7 * n + 13 * i) % 500 for i in range(length)], length - 3) for n, length in enumerate(LENGTHS)]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.make(tmp_path_factory.mktemp("tiny"))


def fresh(base: Path) -> Any:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    targets = ["q_proj", "k_proj", "o_proj", "gate_proj", "down_proj"]
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    return get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules=targets, layers_to_transform=[2, 3]))


def adapters(model: Any) -> dict[str, Any]:
    return {name: weight.detach().clone() for name, weight in model.named_parameters() if "lora_" in name}


def test_the_first_directions_are_those_in_which_the_inputs_vary_most(base: Path) -> None:
    from tunesmith.training.directions import align

    model, given = fresh(base), []
    before = adapters(model)
    layer = model.get_base_model().model.layers[2].mlp.down_proj
    hook = layer.register_forward_pre_hook(lambda _layer, args: given.append(args[0][0].detach()))
    align(model, ROWS, seed=1)
    hook.remove()
    after = adapters(model)
    assert len(given) == len(ROWS)
    main = torch.linalg.svd(torch.cat(given), full_matrices=False).Vh[:4]
    name = next(n for n in after if "layers.2.mlp.down_proj.lora_A" in n)
    turned = after[name] / after[name].norm(dim=1, keepdim=True)
    overlap = (turned @ main.T).square().sum(1)  # 1: within the span of the main directions
    assert overlap.min() > 0.95
    assert (before[name] / before[name].norm(dim=1, keepdim=True) @ main.T).square().sum(1).max() < 0.6
    for name, weight in after.items():
        assert weight.norm() == pytest.approx(before[name].norm().item(), rel=1e-4), name


def test_the_model_answers_as_before_and_the_same_seed_gives_the_same(base: Path) -> None:
    from tunesmith.training.directions import align

    ids = torch.tensor([ROWS[0].ids])
    models = [fresh(base), fresh(base)]
    with torch.no_grad():
        plain = models[0](input_ids=ids).logits
        for model in models:
            align(model, ROWS, seed=1)
        assert torch.equal(models[0](input_ids=ids).logits, plain)
    first, second = map(adapters, models)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_fewer_tokens_than_ranks_leave_the_rest_random(base: Path) -> None:
    from tunesmith.training.directions import align

    model = fresh(base)
    before = adapters(model)
    align(model, [Encoded([5, 6], 1)], seed=1)
    for name, weight in adapters(model).items():
        if "lora_A" in name:
            assert torch.equal(weight[2:], before[name][2:])
            assert not torch.equal(weight[:2], before[name][:2])
