"""Plan decisions: what was asked is kept to, what is automatic fits the time."""

from pathlib import Path

import pytest

from tunesmith.errors import BadInput
from tunesmith.training.plan import DataShape, Hyperparameters, ModelShape, Plan, Speed, make_plan

SMOL = ModelShape(layers=30, hidden=576, layer_parameters=3_540_000, vocabulary=49152, positions=8192)
RECEIPTS = DataShape(rows=400, tokens=222_000, labels=35_600, longest=1200)
SPEED = Speed(frozen=3.2e-5, adapted=7.0e-5, head=4e-4, measured=True)


def plan(data: DataShape = RECEIPTS, budget: float = 570, speed: Speed = SPEED, **asked: object) -> Plan:
    return make_plan(data, SMOL, Hyperparameters.parse(asked), budget_s=budget, speed=speed)


def small(rows: int) -> DataShape:
    return DataShape(rows=rows, tokens=555 * rows, labels=89 * rows, longest=800)


def test_automatic_plan_fits_its_time_and_says_why() -> None:
    made = plan()
    assert made.estimate.seconds <= 570
    assert made.epochs >= 1.6
    assert any("passes" in reason for reason in made.reasons)


@pytest.mark.parametrize("slower", [2, 5, 20])
def test_slower_machine_gets_less_work_not_more_time(slower: int) -> None:
    made = plan(speed=Speed(frozen=3.2e-5 * slower, adapted=7e-5 * slower, head=4e-4 * slower))
    assert made.estimate.seconds <= 570
    assert made.steps < plan().steps
    assert made.steps >= 1


def test_what_was_asked_is_kept_to_even_over_budget() -> None:
    made = plan(n_epochs=7, batch_size=5, learning_rate_multiplier=2, adapted_layers=30, lora_rank=8)
    assert (made.epochs, made.batch_size, made.adapted_layers, made.lora_rank) == (7, 5, 30, 8)
    assert made.steps == 560
    assert made.learning_rate == pytest.approx(2 * plan().learning_rate)
    assert not made.steps_are_open
    assert any("more than" in reason for reason in made.reasons)


def test_few_rows_get_several_passes_but_no_absurd_time() -> None:
    for rows in (10, 20, 50):
        made = plan(small(rows))
        assert made.steps >= 30
        assert made.estimate.seconds < 400
    assert plan(small(10), n_epochs=1).estimate.seconds < 45
    assert plan(small(1)).steps >= 1


def test_more_time_means_no_fewer_layers_and_passes() -> None:
    short, long = plan(budget=200), plan(budget=3000)
    assert long.epochs >= short.epochs
    assert long.adapted_layers >= short.adapted_layers


def test_schedule_ends_on_time_after_a_revision() -> None:
    made = plan()
    half = made.steps // 2
    before = made.progress(half)
    made.revisions.append((half, half + 10))
    assert made.progress(half) == pytest.approx(before)
    assert made.progress(half + 5) == pytest.approx((1 + before) / 2)
    assert made.progress(half + 10) == pytest.approx(1)
    assert made.final_steps == half + 10


def test_first_pass_steps_cost_more_and_are_counted_so() -> None:
    made = plan()
    assert made.first_step_s > 1.3 * made.later_step_s
    assert made.most_steps >= made.steps
    for begin in (0, 50, 150):
        for seconds in (30.0, 200.0):
            end = made.steps_within(begin, seconds)
            assert made.seconds_between(begin, end) <= seconds < made.seconds_between(begin, end + 1)


def test_plan_survives_the_disk(tmp_path: Path) -> None:
    made = plan()
    made.revisions.append((3, 50))
    made.save(tmp_path / "plan.json")
    assert Plan.load(tmp_path / "plan.json") == made
    assert Plan.load(tmp_path / "none.json") is None


@pytest.mark.parametrize(
    "asked", [{"n_epochs": 0}, {"batch_size": -1}, {"n_epochs": "many"}, {"epochs": 3}, {"learning_rate": float("nan")}]
)
def test_bad_hyperparameters_name_themselves(asked: dict[str, object]) -> None:
    with pytest.raises(BadInput) as error:
        Hyperparameters.parse(asked)
    assert error.value.param == f"hyperparameters.{next(iter(asked))}"
