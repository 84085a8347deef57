"""Writes requests to a made-up home's tools, each with the right call, as ShareGPT rows.

    python examples/generate_tools.py [--out examples/tool_use/home.jsonl] [--seed 7]

Every row offers two to four tools. In about one of six none fits, in some a required value is not given, and some ask
for two things at once. Rows about the tools that tool_use/tools.py marks held out carry "held_out" in their provenance
and make the test set: a figure measured on them tells about tools never seen.
"""

import argparse
import sys
from pathlib import Path
from random import Random
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from tool_use.tools import NUMBERS, SAMPLES, WORDS, Sample, Saying
from tunesmith.tasks.conversation import row_to_json
from tunesmith.tasks.document import Document
from tunesmith.tasks.tool_use import ToolUse

COUNT, HELD_OUT = 480, 100
NO_FIT, TWICE = 0.16, 0.08  # shares
DECLINES = ("None of the tools can do that.", "I have no tool for that.", "No tool fits this request.")


def generate(seed: int = 7, count: int = COUNT, held_out: int = HELD_OUT) -> list[str]:
    """Lines of the file; the same for the same arguments."""
    rng, task = Random(seed), ToolUse()
    lines: dict[str, str] = {}
    for number, unseen in enumerate([False] * count + [True] * held_out, start=1):
        row = None
        while row is None or row.messages[1]["content"] + row.messages[0]["content"] in lines:
            provenance = {"held_out": True} if unseen else {}
            text, values = _dialogue([s for s in SAMPLES if s.held_out == unseen], rng)
            row = task.example(Document(f"home-{number}", text, values, provenance=provenance))
        lines[row.messages[1]["content"] + row.messages[0]["content"]] = row_to_json(row)
    written = list(lines.values())
    rng.shuffle(written)
    return written


def _dialogue(asked: list[Sample], rng: Random) -> tuple[str, dict[str, Any]]:
    """A request, and the offered tools with the calls or the answer."""
    sample = rng.choice(asked)
    others = [s for s in SAMPLES if s is not sample and (not s.held_out or s in asked)]
    offered = rng.sample(others, rng.randint(1, 3))
    saying = rng.choice(sample.sayings)
    text, call = _filled(sample, saying, rng)
    if rng.random() < NO_FIT:
        return text, {"tools": [s.schema for s in (*offered, rng.choice([s for s in others if s not in offered]))],
                      "answer": rng.choice(DECLINES)}  # fmt: skip
    calls = [] if saying.asks else [call]
    second = offered[0]
    more = [s for s in second.sayings if not s.asks]
    if calls and more and rng.random() < TWICE:
        also, other = _filled(second, rng.choice(more), rng)
        text, calls = f"{text} {also}", [*calls, other]
    tools = [*offered, sample]
    rng.shuffle(tools)
    return text, {"tools": [s.schema for s in tools], "calls": calls, "answer": saying.asks}


def _filled(sample: Sample, saying: Saying, rng: Random) -> tuple[str, dict[str, Any]]:
    slots: dict[str, Any] = {name: rng.choice(words) for name, words in WORDS.items()}
    slots |= {name: rng.randint(*bounds) for name, bounds in NUMBERS.items()}
    arguments = {name: _argument(value, slots) for name, value in saying.arguments.items()}
    text = saying.text.format(**slots)
    return text[0].upper() + text[1:], {"name": sample.name, "arguments": arguments}


def _argument(value: Any, slots: dict[str, Any]) -> Any:
    if isinstance(value, list):
        return [_argument(item, slots) for item in value]
    return slots[value.strip("{}")] if isinstance(value, str) and value.startswith("{") else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "tool_use" / "home.jsonl")
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    arguments.out.write_text("".join(line + "\n" for line in generate(arguments.seed)), encoding="utf-8")


if __name__ == "__main__":
    main()
