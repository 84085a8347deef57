"""Sync of 5,000 documents from the stand-in of Paperless, beside a bare httpx loop over pages of the same size that
keeps nothing, and beside one that also writes what it reads into a bare SQLite table.

Seconds hold the stand-in's own work, too (less than a real Paperless'); processor seconds are of this side alone.
"""

import json
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
from pydantic import SecretStr

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from fakes.paperless import LOOKUPS, FakePaperless
from tunesmith.datasets.library import Library
from tunesmith.settings import Settings
from tunesmith.store.workspace import Workspace

COUNT, PAGE, CHARACTERS = 5000, 500, 2000
FIELDS = (
    "id,title,content,created,added,modified,correspondent,document_type,storage_path,tags,custom_fields,"
    "original_file_name"
)


def serve() -> None:
    """The stand-in in a process of its own: prints its address, ends when its input does."""
    sentence = "Invoice of the waterworks, amount due on the last day of the month. "
    start = datetime(2024, 1, 1, tzinfo=UTC)
    lines = [{"kind": kind, "results": []} for kind in LOOKUPS]
    documents = [
        {
            "id": n,
            "title": f"Document {n}",
            "content": f"Number {n}. {sentence * (CHARACTERS // len(sentence))}",
            "created": "2024-01-01",
            "added": start.isoformat(),
            "modified": (start + timedelta(seconds=n * 37 % (COUNT * 41))).isoformat(),
            "correspondent": None,
            "document_type": None,
            "storage_path": None,
            "tags": [],
            "custom_fields": [],
            "original_file_name": "a.pdf",
        }
        for n in range(1, COUNT + 1)
    ]
    with FakePaperless([*lines, *documents], token="bench") as fake:
        print(fake.url, flush=True)
        for _ in sys.stdin:
            fake.edit(1 + len(fake.writes), title="changed")
            fake.writes.append(("", "", None))
            print("changed", flush=True)


def bare(url: str, table: sqlite3.Connection | None = None) -> int:
    """Page after page, JSON read; kept as text only in a given table."""
    headers = {"Authorization": "Token bench", "Accept": "application/json; version=9"}
    query = {"page_size": PAGE, "ordering": "modified,id", "fields": FIELDS}
    count, page = 0, 1
    with httpx.Client(base_url=url, headers=headers, timeout=60) as client:
        while True:
            answer = client.get("/api/documents/", params={**query, "page": page}).json()
            count += len(answer["results"])
            if table is not None:
                table.executemany("INSERT INTO d VALUES (?, ?)", [(d["id"], json.dumps(d)) for d in answer["results"]])
                table.commit()
            if not answer["next"]:
                return count
            page += 1


def main(rounds: int = 3) -> None:
    with subprocess.Popen(
        [sys.executable, __file__, "--serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        loop, keeping, full, again = [], [], [], []
        bare(url)  # warms the stand-in
        for _ in range(rounds):
            loop.append(_timed(lambda: bare(url)))
            with tempfile.TemporaryDirectory() as home:
                keeping.append(_timed(lambda home=home: bare(url, _table(Path(home) / "bare.db"))))
                workspace = Workspace.open(
                    Settings(home=Path(home), paperless_url=url, paperless_token=SecretStr("bench"))
                )
                library = Library(workspace.database, workspace.settings)
                full.append(_timed(lambda library=library: _expect(library.sync().new, COUNT)))
                server.stdin.write("edit\n")
                server.stdin.flush()
                server.stdout.readline()
                again.append(_timed(lambda library=library: _expect(library.sync().changed, 1)))
                workspace.close()
        server.stdin.close()
    print(f"\nSync of {COUNT} documents of {CHARACTERS} characters from the stand-in (medians of {rounds})")
    base = [statistics.median(column) for column in zip(*loop, strict=True)]
    names = ("bare httpx loop", "the same, kept in SQLite", "first sync, all", "next sync, one changed")
    for name, times in zip(names, (loop, keeping, full, again), strict=True):
        seconds, cpu = (statistics.median(column) for column in zip(*times, strict=True))
        print(
            f"  {name:25}{seconds:6.2f} s {seconds / base[0]:5.2f} × the loop"
            f"   {cpu:6.3f} s of processor {cpu / base[1]:5.2f} ×"
        )


def _table(path: Path) -> sqlite3.Connection:
    table = sqlite3.connect(path)
    table.execute("PRAGMA journal_mode=WAL")
    table.execute("CREATE TABLE d (id INTEGER PRIMARY KEY, wire TEXT)")
    return table


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    begun, before = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - begun, time.process_time() - before


def _expect(got: int, wanted: int) -> None:
    if got != wanted:
        raise SystemExit(f"{got} documents, not {wanted}")


if __name__ == "__main__":
    serve() if "--serve" in sys.argv else main()
