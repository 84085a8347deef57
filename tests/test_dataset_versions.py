"""Versions: exports that come back the same, differences, cards, recipes that name one."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from test_import import ANSWERED, ASKED, BE, different, kept, put
from tunesmith.errors import BadInput, Conflict, NotFound
from tunesmith.jobs import queue
from tunesmith.recipes import datasets, runs, stages
from tunesmith.recipes.context import Context
from tunesmith.recipes.schema import Recipe
from tunesmith.store.files import read_json
from tunesmith.store.workspace import Workspace


def asked(n: int, answer: str = "a") -> dict[str, str]:
    return {"prompt": different(n), "completion": f"{answer} {different(-n)}"}


def lines(rows: Any) -> str:
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)


# -- export -----------------------------------------------------------------------------------------------------

RICH = [
    {"messages": ANSWERED},
    {"messages": [BE, {"role": "user", "content": 'He said "ü, 😀"\n\tשלום'}, ANSWERED[1]]},
    {"messages": [*ANSWERED, {"role": "user", "content": "then?"}, {"role": "assistant", "content": "so"}]},
    {"messages": [{"role": "user", "content": "hot?"}, {"role": "assistant", "content": "cold"}], "weight": 0.5},
]  # fmt: skip
PAIRS = [
    {"prompt": "q", "chosen": "a", "rejected": "b"},
    {"prompt": [BE, *ASKED], "chosen": "yes", "rejected": "no"},
]


def content(workspace: Workspace, report: dict[str, Any]) -> list[Any]:
    return sorted(((row.messages, row.rejected, row.weight) for row in kept(workspace, report)), key=str)


@pytest.mark.parametrize(
    ("form", "suffix", "rows", "skipped"),
    [
        ("sharegpt", ".jsonl", RICH, 0),
        ("sharegpt", ".json", RICH, 0),
        ("messages", ".jsonl", RICH, 0),
        ("parquet", ".parquet", RICH, 0),
        ("sharegpt", ".jsonl", PAIRS, 0),
        ("messages", ".jsonl", PAIRS, 0),
        ("parquet", ".parquet", PAIRS, 0),
        ("preference", ".jsonl", PAIRS, 0),
        ("alpaca", ".json", RICH[:3], 0),
        ("prompt_completion", ".jsonl", RICH[:3], 1),
        ("csv", ".csv", RICH[:3], 1),
    ],
)
def test_what_is_exported_can_be_imported_again(
    workspace: Workspace, tmp_path: Path, form: str, suffix: str, rows: Any, skipped: int
) -> None:
    first = put(workspace, lines(rows))
    report = datasets.export_dataset(workspace, "letters", form, tmp_path / f"out{suffix}")
    assert report["rows"] + skipped == len(rows)
    assert sum(report["skipped"].values()) == skipped
    again = put(workspace, (tmp_path / f"out{suffix}").read_bytes(), f"out{suffix}")
    assert again["rejected"] == []
    before, after = content(workspace, first), content(workspace, again)
    if form in ("alpaca", "prompt_completion", "csv"):
        assert all(row in before for row in after)
        assert len(after) == len(rows) - skipped
    else:
        assert after == before
    assert not list(tmp_path.glob(".*partial"))


@pytest.mark.parametrize(
    ("form", "lost"),
    [
        ("csv", {"rejected answers": 2, "weights": 1}),
        ("axolotl", {"rejected answers": 2, "weights": 1}),
        ("llamafactory", {"weights": 1}),
        ("messages", {}),
    ],
)
def test_an_export_says_what_its_format_loses(
    workspace: Workspace, tmp_path: Path, form: str, lost: dict[str, int]
) -> None:
    put(workspace, lines([PAIRS[0], {**PAIRS[1], "weight": 2}]))
    assert datasets.export_dataset(workspace, "letters", form, tmp_path / "out")["lost"] == lost


def test_one_split_and_an_older_version(workspace: Workspace, tmp_path: Path) -> None:
    first = put(workspace, lines(asked(n) for n in range(40)))
    put(workspace, lines(asked(n) for n in range(50, 53)))
    for split, count in first["splits"].items():
        if not count:
            continue
        report = datasets.export_dataset(
            workspace, "letters", "messages", tmp_path / split, version=first["version"], split=split
        )
        assert report["rows"] == count == len((tmp_path / split).read_text().splitlines())


def test_an_export_that_would_be_empty_or_in_the_way_writes_nothing(workspace: Workspace, tmp_path: Path) -> None:
    put(workspace, lines([RICH[2]]))
    out = tmp_path / "out"
    with pytest.raises(BadInput, match="more than one question") as empty:
        datasets.export_dataset(workspace, "letters", "csv", out)
    assert empty.value.error_code == "nothing_to_export"
    with pytest.raises(BadInput, match="no rows"):
        datasets.export_dataset(workspace, "letters", "axolotl", out, split="test")
    assert not out.exists()
    (out / "mine").mkdir(parents=True)
    for form in ("csv", "llamafactory"):
        with pytest.raises(Conflict):
            datasets.export_dataset(workspace, "letters", form, out)
    for form, split in (("word", None), ("csv", "tset")):
        with pytest.raises(BadInput):
            datasets.export_dataset(workspace, "letters", form, tmp_path / "new", split=split)
    assert [path.name for path in out.iterdir()] == ["mine"]
    assert not list(tmp_path.glob(".*partial"))


def test_a_folder_for_llamafactory(workspace: Workspace, tmp_path: Path) -> None:
    tool = [*ASKED, {"role": "assistant", "content": "look"}, {"role": "tool", "content": "7"}, ANSWERED[1]]
    twice = [*ASKED, {"role": "user", "content": "?"}, ANSWERED[1]]
    pair = {"messages": ANSWERED, "rejected": "b"}
    put(workspace, lines([{"messages": tool}, {"messages": twice}, pair]))
    report = datasets.export_dataset(workspace, "letters", "llamafactory", tmp_path / "out")
    assert (report["rows"], report["skipped"]) == (2, {"has turns that do not alternate": 1})
    info = read_json(tmp_path / "out" / "dataset_info.json")
    assert set(info) == {"letters", "letters-preference"}
    for entry in info.values():
        assert (tmp_path / "out" / entry["file_name"]).is_file()
        assert entry["formatting"] == "sharegpt"
        assert entry["tags"]["observation_tag"] == "tool"
    rows = [json.loads(line) for line in (tmp_path / "out" / "train.jsonl").read_text().splitlines()]
    assert [turn["from"] for turn in rows[0]["conversations"]] == ["human", "gpt", "tool", "gpt"]
    assert all(set(row) == {"conversations"} for row in rows)
    pairs = json.loads((tmp_path / "out" / "train-preference.jsonl").read_text())
    assert pairs["chosen"] == {"from": "gpt", "value": "a"}
    assert pairs["rejected"] == {"from": "gpt", "value": "b"}
    assert info["letters-preference"]["ranking"] is True


def test_a_folder_for_axolotl(workspace: Workspace, tmp_path: Path) -> None:
    put(workspace, lines(asked(n) for n in range(40)))
    datasets.export_dataset(workspace, "letters", "axolotl", tmp_path / "out")
    config = yaml.safe_load((tmp_path / "out" / "axolotl.yaml").read_text())
    assert [entry["path"] for entry in config["datasets"]] == ["train.jsonl"], "never the test split"
    assert config["datasets"][0]["type"] == "chat_template"
    row = json.loads((tmp_path / "out" / "train.jsonl").read_text().splitlines()[0])
    assert [turn["role"] for turn in row["messages"]] == ["user", "assistant"]


# -- differences and cards --------------------------------------------------------------------------------------


def test_the_difference_of_two_versions(workspace: Workspace) -> None:
    first = put(workspace, lines([asked(1), asked(2), asked(3)]))
    second = put(workspace, lines([asked(1), asked(3, "changed"), asked(4), asked(5)]))
    changes = datasets.diff_datasets(workspace, "letters")
    assert (changes["old"], changes["new"]) == (f"letters@{first['version']}", f"letters@{second['version']}")
    assert changes["added"] == {"train": 2}
    assert changes["removed"] == {"train": 1}
    assert changes["changed"] == {"train": 1}
    assert (changes["unchanged"], changes["moved"], changes["same"]) == (1, {}, False)
    example = changes["examples"]["changed"][0]
    assert example["prompt"] == different(3)
    assert example["old_answer"].startswith("a ")
    assert example["new_answer"].startswith("changed ")
    assert example["provenance"]["line"] == 2
    back = datasets.diff_datasets(workspace, "letters", second["version"], first["version"])
    assert (back["added"], back["removed"]) == ({"train": 1}, {"train": 2})


def test_the_same_rows_in_another_file_are_no_difference(workspace: Workspace) -> None:
    first = put(workspace, lines([asked(1), asked(2)]))
    second = put(workspace, lines([asked(1), asked(2)]), "copy.jsonl")
    assert first["version"] != second["version"]
    assert datasets.diff_datasets(workspace, "letters")["same"] is True


def test_a_row_that_moves_to_another_split_is_seen(workspace: Workspace) -> None:
    put(workspace, lines(asked(n) for n in range(12)))
    put(workspace, lines(asked(n) for n in range(40)))
    changes = datasets.diff_datasets(workspace, "letters")
    assert set(changes["moved"]) <= {"train → test"}
    assert changes["unchanged"] + sum(changes["moved"].values()) == 12
    assert sum(changes["added"].values()) == 28


def test_a_pair_with_another_rejected_answer_is_a_changed_row(workspace: Workspace) -> None:
    put(workspace, lines([PAIRS[0]]))
    put(workspace, lines([{**PAIRS[0], "rejected": "c"}]))
    assert datasets.diff_datasets(workspace, "letters")["changed"] == {"train": 1}


def test_a_difference_needs_two_versions(workspace: Workspace) -> None:
    version = put(workspace, lines([asked(1)]))["version"]
    with pytest.raises(BadInput):
        datasets.diff_datasets(workspace, "letters")
    with pytest.raises(NotFound):
        datasets.diff_datasets(workspace, "letters", "nope", version)


def test_a_card_says_what_where_and_how_good(workspace: Workspace) -> None:
    put(workspace, lines([*PAIRS, {"prompt": "x"}, PAIRS[0]]), "a|b<script>.jsonl")
    text = datasets.dataset_card(workspace, "letters")
    assert "2 rows" in text
    assert "2 of them preference pairs" in text
    assert "a\\|b&lt;script>.jsonl, preference | 2 |" in text
    assert "| refused: unknown_format | 1 |" in text
    assert "| exact duplicates | 1 |" in text
    assert "**not met**" in text
    assert "Unknown: nobody has stated one" in text
    assert "no test split" in text
    assert "## Licence\n\nCC0" in datasets.dataset_card(workspace, "letters", licence="CC0")


# -- a recipe that names a dataset ------------------------------------------------------------------------------


def build_stage(workspace: Workspace, **recipe: Any) -> dict[str, Any]:
    run = runs.create_run(workspace, Recipe.model_validate({"name": "r", **recipe}))
    job = queue.jobs_of(workspace.database, run.id)[0]
    return stages.run("build", Context(workspace, run, job))


def test_a_recipe_takes_a_version_as_it_is(workspace: Workspace) -> None:
    first = put(workspace, lines(asked(n) for n in range(40)))
    second = put(workspace, lines(asked(n) for n in range(30)))
    outcome = build_stage(workspace, sources=[{"dataset": "letters"}])
    assert outcome["version"] == second["version"]
    assert outcome["report"]["splits"] == second["splits"]
    older = {"name": "letters", "version": first["version"][:6]}
    assert build_stage(workspace, sources=[{"dataset": older}])["version"] == first["version"]
    chat = build_stage(workspace, sources=[{"dataset": "letters"}], task={"type": "chat", "system": "Be brief."})
    assert chat["task"] == {"name": "chat", "spec": {"system": "Be brief."}}


def test_a_dataset_that_is_not_there_is_refused_before_any_work(workspace: Workspace) -> None:
    with pytest.raises(NotFound):
        build_stage(workspace, sources=[{"dataset": "letters"}])
    assert runs.list_runs(workspace) == []
    with pytest.raises(ValueError, match="only source"):
        Recipe.model_validate({"name": "r", "sources": [{"dataset": "letters"}, {"file": "file-1"}]})
