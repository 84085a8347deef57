"""Writes a made-up household's documents in the exact form of Paperless-ngx's API (version 9), one JSON object a line.

    python examples/generate_documents.py [--out examples/documents/household.jsonl] [--seed 7] [--count 640]

The first lines are lookups ({"kind": "tags", "results": [...]}); then come documents, which carry ids only.
About 100 documents have the tag "held-out". They use layouts (documents/layouts_held_out.py) and correspondents
(words.HELD_OUT_NAMES) that no other document uses, so a figure measured on them tells about unseen senders.
Labels: type = document type, date = created, correspondent, amount = custom field "Amount" (to pay; for statements the
closing balance; none for letters). A document without a date in its text has the day it was added as `created`, as
in Paperless. A few documents come twice, as scans do.
"""

import argparse
import json
import sys
from datetime import date, timedelta
from pathlib import Path
from random import Random
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from documents import layouts_held_out, layouts_office, layouts_trade  # noqa: F401  (they register layouts)
from documents.damage import damage, reordered
from documents.draft import CURRENCIES, LAYOUTS, Draft, Layout, Sender, make_senders
from documents.prose import SMALL_PRINT

KINDS = ["contract", "invoice", "letter", "receipt", "statement"]
TAGS = ["household", "inbox", "held-out", "tax"]
DAMAGED, LONG, UNDATED, UNSIGNED, TWICE = 0.2, 0.05, 0.04, 0.03, 3
REORDERED = 0.6  # of the documents for training: nobody's archive has only fourteen arrangements


def generate(seed: int = 7, count: int = 640, held_out: int = 104) -> list[dict[str, Any]]:
    """Lookups and `count` documents, `held_out` of them with that tag; the same for the same arguments."""
    rng = Random(seed)
    known = make_senders(rng, held_out=False)
    unseen = make_senders(rng, held_out=True)
    names = sorted(s.name for s in known + unseen)
    plan = [(known, False)] * (count - held_out) + [(unseen, True)] * held_out
    rng.shuffle(plan)
    documents = [
        _document(number, _write(rng, senders, tagged), names, rng)
        for number, (senders, tagged) in enumerate(plan, start=1)
    ]
    for original in rng.sample([d for d in documents if 3 not in d["tags"]], TWICE):
        documents.append({**original, "id": len(documents) + 1, "title": original["title"] + " (2)"})
    return [*_lookups(names), *documents]


def _write(rng: Random, senders: list[Sender], held_out: bool) -> tuple[Draft, Layout, str, bool]:
    layout = rng.choice([item for item in LAYOUTS.values() if item.held_out == held_out])
    sender = rng.choice([s for s in senders if s.trade in layout.trades])
    draft = Draft(rng, sender, date(2022, 1, 3) + timedelta(days=rng.randint(0, 1300)))
    draft.shows_date = rng.random() >= UNDATED
    draft.shows_sender = rng.random() >= UNSIGNED
    written = layout.write(draft)
    if rng.random() < LONG:
        written += [rng.choice(SMALL_PRINT[draft.language]) for _ in range(rng.randint(12, 36))]
    if not held_out and rng.random() < REORDERED:
        written = reordered(written, rng)
    text = "\n".join(line.strip(" ,-/|") for line in written)
    if rng.random() < DAMAGED:
        protected = draft.protected if rng.random() < 0.85 else set()
        text = damage(text, rng, protected)
    return draft, layout, text, held_out


def _document(number: int, made: tuple[Draft, Layout, str, bool], names: list[str], rng: Random) -> dict[str, Any]:
    draft, layout, text, held_out = made
    added = draft.day + timedelta(days=rng.randint(1, 9))
    created = draft.day if draft.shows_date else added
    tags = [1] + ([3] if held_out else []) + ([4] if layout.kind == "invoice" and rng.random() < 0.3 else [])
    currency = CURRENCIES[draft.language][1]
    value = None if draft.amount is None else f"{currency}{draft.amount:.2f}"
    fields: list[dict[str, Any]] = [] if value is None else [{"field": 1, "value": value}]
    fields.append({"field": 2, "value": draft.language})
    return {
        "id": number,
        "correspondent": names.index(draft.sender.name) + 1 if draft.shows_sender else None,
        "document_type": KINDS.index(layout.kind) + 1,
        "storage_path": None,
        "title": f"{layout.kind} {number:04}",
        "content": text,
        "tags": tags,
        "created": created.isoformat(),
        "created_date": created.isoformat(),
        "modified": f"{added.isoformat()}T08:00:00Z",
        "added": f"{added.isoformat()}T07:30:00Z",
        "deleted_at": None,
        "archive_serial_number": None,
        "original_file_name": f"{layout.name}-{number:04}.pdf",
        "archived_file_name": None,
        "owner": 1,
        "notes": [],
        "custom_fields": fields,
        "page_count": 1,
        "mime_type": "application/pdf",
    }


def _lookups(names: list[str]) -> list[dict[str, Any]]:
    def plain(items: list[str]) -> list[dict[str, Any]]:
        return [{"id": number, "name": name} for number, name in enumerate(items, start=1)]

    labels = (("en", "English"), ("de", "German"), ("fr", "French"))
    languages = [{"id": code, "label": label} for code, label in labels]
    fields = [
        {"id": 1, "name": "Amount", "data_type": "monetary", "extra_data": {"default_currency": "EUR"}},
        {"id": 2, "name": "Language", "data_type": "select", "extra_data": {"select_options": languages}},
    ]
    return [
        {"kind": "tags", "results": plain(TAGS)},
        {"kind": "correspondents", "results": plain(names)},
        {"kind": "document_types", "results": plain([kind.capitalize() for kind in KINDS])},
        {"kind": "storage_paths", "results": []},
        {"kind": "custom_fields", "results": fields},
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "documents" / "household.jsonl")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--count", type=int, default=640)
    arguments = parser.parse_args()
    with arguments.out.open("w", encoding="utf-8") as out:
        for line in generate(arguments.seed, arguments.count):
            out.write(json.dumps(line, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
