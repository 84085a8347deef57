"""Hard negatives: the current model answers training rows first, and what it gets wrong counts more."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from tunesmith.datasets.options import AskedFirst
from tunesmith.datasets.report import HardNegatives
from tunesmith.datasets.splits import digest
from tunesmith.evaluation.answers import Examination
from tunesmith.recipes import models
from tunesmith.recipes.context import Context, target_for
from tunesmith.recipes.stages.baselines import base_candidate
from tunesmith.serving.hf_folder import control_tokens_of
from tunesmith.store.tables import ModelVersion
from tunesmith.tasks.base import Task
from tunesmith.tasks.control import neutral_row
from tunesmith.tasks.conversation import Row, read_rows, write_rows
from tunesmith.training.backends.base import Interrupted

AT_ONCE = 40  # rows that are asked before their answers are kept
ANSWERS = "pool.jsonl"


def weigh(context: Context, wanted: AskedFirst, task: Task, folder: Path) -> HardNegatives | None:
    """Writes train.jsonl anew: rows that the model gets wrong weigh more, and so many that it gets right go into
    set_aside.jsonl. None when there is no model to ask. Raises Unavailable when it stops answering, Interrupted.

    The row's place in a shuffle by its content decides what is asked and what stays: the same rows in the same order
    give the same version.
    """
    version = _version(context, wanted.model, task)
    if version is None and wanted.model != "base":
        return None
    train = folder / "train.jsonl"
    order = sorted((_key(context, row), n) for n, row in enumerate(read_rows(train)))
    chosen = {n: key for key, n in order[: wanted.rows]}
    rows = {chosen[n]: row for n, row in enumerate(read_rows(train)) if n in chosen}
    with _served(context, version, task) as (name, examination, control):
        asked = {key: neutral_row(row, control) for key, row in rows.items()}
        exact = _exact(context, name, examination, asked)
    right = sorted(key for key in rows if exact[key])
    wrong = len(rows) - len(right)
    stay = max(round(wanted.keep_right * len(right)), task.minimum_examples - (len(order) - len(right)))
    aside = set(right[max(0, stay) :])
    if aside:
        write_rows(
            folder / "set_aside.jsonl", (row for n, row in enumerate(read_rows(train)) if chosen.get(n) in aside)
        )

    def weighed() -> Iterator[Row]:
        for n, row in enumerate(read_rows(train)):
            key = chosen.get(n)
            if key is not None and not exact[key]:
                row.weight *= wanted.weight
                row.provenance["wrong_by"] = name
            if key not in aside:
                yield row

    write_rows(train, weighed())
    found = HardNegatives(model=name, asked=len(rows), wrong=wrong, weight=wanted.weight, set_aside=len(aside))
    context.say(
        f"{name} got {wrong} of {len(rows)} training rows wrong: they count {wanted.weight:g} times. "
        f"{len(aside)} of the others were set aside.",
        data=found.model_dump(),
    )
    return found


def _key(context: Context, row: Row) -> str:
    return digest(f"{context.recipe.seed}:{row.messages}:{row.rejected}")


def _version(context: Context, model: str, task: Task) -> ModelVersion | None:
    """The version to ask; None for the base, and for a recipe that has no live version of its task yet."""
    if model == "base":
        return None
    if model != "live":
        return models.of_task(context.workspace, model, task.name)
    live = models.live_version(context.workspace, context.recipe.model_name)
    if live is None or live.task["name"] != task.name:
        context.say("No version of this model is live yet, so no row is known to be hard: all count alike.")
        return None
    return live


@contextmanager
def _served(
    context: Context, version: ModelVersion | None, task: Task
) -> Iterator[tuple[str, Examination, tuple[str, ...]]]:
    """The model's name, how it is asked (as it is served, held to the task's format), and its control tokens."""
    if version is None:
        target = target_for(context.settings, "llamacpp")
        deployment, name = target.deploy(base_candidate(context)), f"base {context.recipe.base_model}"
    else:
        deployment = models.deployment_of(context.workspace, version.deployment)
        name = f"{version.name}:{version.version}"
        target = target_for(context.settings, deployment.target)
    with target.serve(deployment) as endpoint:
        yield name, Examination(target, endpoint, task), control_tokens_of(Path(deployment.hf_dir))


def _exact(context: Context, name: str, examination: Examination, rows: dict[str, Row]) -> dict[str, bool]:
    """Whether the answer to each row is exact. Every answer is kept, with the key of its row, in the job's folder:
    a build that was stopped asks only what is left."""
    place = context.folder / ANSWERS
    known: dict[str, bool] = {}
    for line in place.read_bytes().splitlines() if place.exists() else ():
        with suppress(ValueError):  # cut off by what stopped the build
            answer = json.loads(line)
            if answer["model"] == name:
                known[answer["key"]] = answer["score"]["exact"]
    left = [key for key in rows if key not in known]
    for start in range(0, len(left), AT_ONCE):
        if context.stop.is_set():
            raise Interrupted("Stopped while the pool was asked.", hint="Resume the job; answers until now are kept.")
        keys = left[start : start + AT_ONCE]
        answered = examination.run([rows[key] for key in keys])
        with place.open("a", encoding="utf-8") as out:
            for key, item in zip(keys, answered, strict=True):
                known[key] = item.score.exact
                out.write(json.dumps({"key": key, "model": name, **asdict(item)}, ensure_ascii=False) + "\n")
        context.say(f"{name}: {start + len(keys)} of {len(left)} training rows answered.")
    return known
