"""50,000 documents of 2 KB through gates, near-duplicate removal and split, beside plain scripts that only deduplicate.

Every twentieth document is a planted near-duplicate: another scan of one before it, with damaged characters, other line
breaks and a stamp. The others are bills of 500 senders, whose letters differ in items, dates and amounts alone.

The thresholds were chosen on such rescans. So a second set, made with another seed, has copies that are damaged in ways
that nothing was tuned on (COPIES); its recall is told by kind.
"""

import importlib.util
import itertools
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DOCUMENTS, BESIDE = 50_000, 5_000
SENDERS, EVERY, SIZE = 500, 20, 2000
SYLLABLES = ["".join(parts) for parts in itertools.product("bdfghklmnprstvwz", "aeiou", ["", "l", "n", "r", "s", "t"])]


def word(rng: random.Random) -> str:
    return "".join(rng.choices(SYLLABLES, k=rng.randint(1, 4)))


def sentence(rng: random.Random, length: int) -> str:
    return " ".join(word(rng) for _ in range(length)).capitalize() + "."


def generate(path: Path, count: int, seed: int = 7, otherwise: bool = False) -> None:
    """One document a line: id, text, values, group, and `copy_of` and `how` where it was planted."""
    rng = random.Random(seed)
    senders = [
        (word(rng).title() + " " + word(rng).title(), sentence(rng, 8), sentence(rng, 60)) for _ in range(SENDERS)
    ]
    recent: list[dict[str, Any]] = []
    with path.open("w", encoding="utf-8") as out:
        for number in range(count):
            if recent and number % EVERY == 0:
                original = rng.choice(recent)
                how = rng.choice(list(COPIES)) if otherwise else "rescan"
                text = COPIES[how](rng, original["text"]) if otherwise else rescan(rng, original["text"])
                document = {**original, "id": str(number), "text": text, "copy_of": original["id"], "how": how}
                recent.remove(original)
            else:
                document = {"id": str(number), **bill(rng, *senders[rng.randrange(SENDERS)])}
                recent = [*recent[-500:], document]
            out.write(json.dumps(document) + "\n")


def bill(rng: random.Random, sender: str, address: str, terms: str) -> dict[str, Any]:
    day = f"20{rng.randint(10, 26)}-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}"
    prices = [rng.randint(100, 99_999) for _ in range(rng.randint(3, 9))]
    items = "\n".join(f"{n}. {sentence(rng, 4)} {p / 100:.2f}" for n, p in enumerate(prices, 1))
    total = f"{sum(prices) / 100:.2f}"
    head = f"{sender}\n{address}\nInvoice {rng.randint(10**6, 10**7)} of {day}\n{items}\nTotal {total} EUR\n{terms}\n"
    text = head + "".join(sentence(rng, 12) + "\n" for _ in range(40))
    values = {"type": "invoice", "date": day, "correspondent": sender, "amount": total}
    return {"text": text[:SIZE], "values": values, "group": sender}


def rescan(rng: random.Random, text: str) -> str:
    characters = list(text)
    for _ in range(round(rng.uniform(0.001, 0.015) * len(characters))):
        characters[rng.randrange(len(characters))] = rng.choice("abcdeilo01|.")
    lines = "".join(characters).split("\n")
    joined = "".join(line + rng.choice(["\n", " ", "\n\n"]) for line in lines)
    return f"RECEIVED {rng.randint(1, 28)} MAY\n{joined}"


def misread(rng: random.Random, text: str) -> str:
    """One in 30 of the letters that scanners take for others."""
    return "".join(CONFUSED[c] if c in CONFUSED and rng.random() < 1 / 30 else c for c in text)


def lines_lost(rng: random.Random, text: str) -> str:
    lines = text.split("\n")
    gone = set(rng.sample(range(len(lines)), k=min(len(lines) - 1, rng.randint(1, 2))))
    return "\n".join(line for n, line in enumerate(lines) if n not in gone)


def other_pages(rng: random.Random, text: str) -> str:
    """Running heads between the lines, and words hyphenated where lines end."""
    lines = text.split("\n")
    for page in range(1, 4):
        lines.insert(rng.randrange(len(lines)), f"Page {page} of 3, customer copy")
    return "-\n".join(text[n : n + 400] for text in ["\n".join(lines)] for n in range(0, len(text), 400))


def columns(rng: random.Random, text: str) -> str:
    """The lines of the lower half in another order."""
    lines = text.split("\n")
    lower = lines[len(lines) // 2 :]
    rng.shuffle(lower)
    return "\n".join(lines[: len(lines) // 2] + lower)


def cut_off(rng: random.Random, text: str) -> str:
    return text[: round(len(text) * rng.uniform(0.88, 0.97))]


CONFUSED = {"l": "1", "i": "l", "o": "0", "s": "5", "b": "6", "g": "9", "t": "f", "n": "ri", "m": "rn", "u": "ii"}
COPIES = {f.__name__: f for f in (misread, lines_lost, other_pages, columns, cut_off)}


def read(path: Path, limit: int) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        for _, line in zip(range(limit), lines, strict=False):
            yield json.loads(line)


def ours(path: Path, limit: int) -> set[str]:
    from tunesmith.datasets.build import build
    from tunesmith.tasks.conversation import read_rows
    from tunesmith.tasks.document import Document
    from tunesmith.tasks.extraction import Extraction

    documents = (Document(d["id"], d["text"], d["values"], d["group"]) for d in read(path, limit))
    with tempfile.TemporaryDirectory() as out:
        schema = {"type": "string", "date": "date", "correspondent": "string", "amount": "money"}
        report = build(Extraction({"schema": schema}), documents=documents, out=Path(out))
        kept = {row.provenance["document"] for name in report.splits for row in read_rows(Path(out) / f"{name}.jsonl")}
    print(f"  ({report.splits}, {report.near_duplicates.model_dump()})", file=sys.stderr)
    return {str(n) for n in range(limit)} - kept


def alone(path: Path, limit: int) -> set[str]:
    """Tunesmith's near-duplicates, and nothing else: comparable with the other scripts."""
    from tunesmith.datasets import near

    index, ids, sets, removed = near.Index(), [], [], set()
    for document in read(path, limit):
        ids.append(document["id"])
        sets.append(near.shingles(document["text"]))
        index.add(sets[-1])
    for _, later, _ in near.similar_pairs(index, range(len(ids)), 0.8, sets.__getitem__):
        removed.add(ids[later])
    return removed


def shingles(text: str) -> set[str]:
    even = " ".join(text.casefold().split())
    return {even[n : n + 5] for n in range(len(even) - 4)}


def datasketch(path: Path, limit: int) -> set[str]:
    from datasketch import MinHash, MinHashLSH

    index, removed = MinHashLSH(threshold=0.8, num_perm=128), set()
    for document in read(path, limit):
        sketch = MinHash(num_perm=128)
        sketch.update_batch([s.encode() for s in shingles(document["text"])])
        if index.query(sketch):
            removed.add(document["id"])
        else:
            index.insert(document["id"], sketch)
    return removed


def rensa(path: Path, limit: int) -> set[str]:
    from rensa import RMinHash, RMinHashLSH

    index, sketches, removed = RMinHashLSH(0.8, 128, 16), [], set()
    for document in read(path, limit):
        sketch = RMinHash(128, 7)
        sketch.update(list(shingles(document["text"])))
        if any(sketches[i].jaccard(sketch) >= 0.8 for i in index.query(sketch)):
            removed.add(document["id"])
        else:
            index.insert(len(sketches), sketch)
            sketches.append(sketch)
    return removed


HOW = {"tunesmith": ours, "near alone": alone, "datasketch": datasketch, "rensa": rensa}


def measure(how: str, path: Path, limit: int) -> None:
    """Runs one way in this process and prints its figures."""
    begun, before = time.monotonic(), time.process_time()
    removed = HOW[how](path, limit)
    seconds, cpu = time.monotonic() - begun, time.process_time() - before
    planted = [d for d in read(path, limit) if "copy_of" in d]
    hits = [d["how"] for d in planted if (d["copy_of"] in removed) != (d["id"] in removed)]
    by_kind = {kind: f"{hits.count(kind)}/{n}" for kind, n in sorted(Counter(d["how"] for d in planted).items())}
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    speed = f"{seconds:6.1f} s ({cpu:.1f} s CPU), {limit / seconds:.0f} documents/s, {memory:.0f} MB peak"
    right = f"recall {len(hits) / len(planted):.3f}, precision {len(hits) / max(1, len(removed)):.3f}"
    right += f"  {by_kind}" if len(by_kind) > 1 else ""
    print(f"  {how:11} {limit:6} documents {speed}   {right}")


def main(documents: int = DOCUMENTS, beside: int = BESIDE) -> None:
    print("\nPlanted near-duplicates (tunesmith: all gates, deduplication, split; the others: deduplication alone)")
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "documents.jsonl"
        generate(path, documents)
        for how, limit in (("tunesmith", documents), *((name, beside) for name in HOW if name != "tunesmith")):
            if how in ("datasketch", "rensa") and importlib.util.find_spec(how) is None:
                print(f"  {how:11} is not installed")
                continue
            subprocess.run([sys.executable, __file__, how, str(path), str(limit)], check=True)
        print("Copies damaged otherwise, which nothing was tuned on")
        generate(path, beside, seed=11, otherwise=True)
        for how in ("tunesmith", "near alone"):
            subprocess.run([sys.executable, __file__, how, str(path), str(beside)], check=True)


if __name__ == "__main__":
    if len(sys.argv) == 4:
        measure(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main()
