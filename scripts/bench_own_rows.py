"""What a bare "auto" job makes of your own rows: `make bench ROWS=rows.jsonl`.

Some rows are kept apart (60, or a quarter of fewer than 240). The others are uploaded through the OpenAI SDK to a
service of its own, a job without any setting tunes the packaged base model, and the served, quantised model is asked
what was kept apart: how many answers are JSON objects, and how many fields hold the exact value, white space and case
aside. The comparison is the bench's own, so that nothing that is measured judges itself.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import machine

from service import ENDED, Service
from tunesmith.datasets.formats import parse_upload
from tunesmith.errors import BadInput
from tunesmith.tasks.conversation import Row, row_to_json

BASE = "smollm2-135m-instruct"
KEPT_APART = 60


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=Path, help="ShareGPT or chat-messages JSONL whose answers are flat JSON objects")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of what is kept apart")
    arguments = parser.parse_args(argv)
    rows = read(arguments.rows)
    random.Random(arguments.seed).shuffle(rows)
    held = min(KEPT_APART, len(rows) // 4)
    apart, train = rows[:held], rows[held:]
    print(machine.describe())
    print(f"\nA bare job on {len(train)} rows of {arguments.rows.name}; {held} are kept apart")
    with tempfile.TemporaryDirectory() as home:
        service = Service(Path(home)).start()
        try:
            name = tune(service, train)
            report(apart, answers(service, name, apart))
        finally:
            service.close()


def read(path: Path) -> list[Row]:
    """The rows of a file; ends the process at a wrong line and at an answer whose fields cannot be compared."""
    try:
        rows = list(parse_upload(path))
    except (BadInput, OSError) as error:
        sys.exit(f"{path}: {error}")
    if wrong := next((number for number, row in enumerate(rows, 1) if not parsed(row.answer)), None):
        sys.exit(f"{path}: the answer of row {wrong} is no JSON object with fields to compare.")
    if len(rows) < 20:
        sys.exit(f"{path}: {len(rows)} rows are too few to measure anything; 20 are the least.")
    return rows


def tune(service: Service, rows: list[Row]) -> str:
    """The served name of the model that a job without settings makes; prints the job's steps as they pass."""
    begun = time.monotonic()
    content = "\n".join(map(row_to_json, rows)).encode()
    file = service.openai.files.create(file=("rows.jsonl", content), purpose="fine-tune")
    job = service.openai.fine_tuning.jobs.create(model=BASE, training_file=file.id)
    said: set[str] = set()
    while True:
        ended = job.status in ENDED
        for event in reversed(service.openai.fine_tuning.jobs.list_events(job.id, limit=20).data):
            if event.id not in said:
                print(f"  {time.monotonic() - begun:5.0f} s  {event.message}", flush=True)
                said.add(event.id)
        if ended:
            break
        time.sleep(5)
        job = service.openai.fine_tuning.jobs.retrieve(job.id)
    if job.fine_tuned_model is None:
        sys.exit(f"The job ended as {job.status}: {job.error.message if job.error else 'no reason given'}")
    print(f"  the whole job: {time.monotonic() - begun:.0f} s")
    return job.fine_tuned_model


def answers(service: Service, name: str, rows: list[Row]) -> list[str]:
    """What the live model answers to each row's prompt, four at a time, nothing asked but the prompt."""

    def ask(row: Row) -> str:
        reply = service.openai.chat.completions.create(model=name, messages=row.prompt)  # type: ignore[arg-type]
        return reply.choices[0].message.content or ""

    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(ask, rows))


def report(rows: list[Row], answered: list[str]) -> None:
    expected = [parsed(row.answer) or {} for row in rows]
    given = [parsed(text) for text in answered]
    fields = sorted({field for values in expected for field in values})
    right = {
        field: sum(same(values, got, field) for values, got in zip(expected, given, strict=True)) for field in fields
    }
    valid = sum(got is not None for got in given)
    total = sum(right.values()) / (len(rows) * len(fields))
    print(f"  valid JSON: {valid} of {len(rows)}   fields right: {total:.1%}")
    print("  " + "   ".join(f"{field} {count / len(rows):.1%}" for field, count in right.items()))


def parsed(text: str) -> dict[str, Any] | None:
    """The JSON object that `text` is; None for anything else."""
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def same(expected: dict[str, Any], given: dict[str, Any] | None, field: str) -> bool:
    """Whether the answer holds the field's value; white space and case aside."""
    if given is None:
        return False
    ours, theirs = expected.get(field), given.get(field)
    return "".join(str(ours).split()).casefold() == "".join(str(theirs).split()).casefold()


if __name__ == "__main__":
    main(sys.argv[1:])
