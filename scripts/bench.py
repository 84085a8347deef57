"""All measured figures: `make bench`. Each is printed beside what it is compared with, from the same call."""

import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import bench_datasets
import bench_route
import bench_service
import bench_sync
import bench_training
import machine

from tunesmith.datasets import sources
from tunesmith.datasets.build import build
from tunesmith.serving import base_models
from tunesmith.settings import Settings
from tunesmith.tasks.extraction import Extraction

SAMPLES = Path(__file__).parents[1] / "examples" / "documents" / "household.jsonl"


def main() -> None:
    print(machine.describe())
    bench_service.main()
    bench_route.main()
    bench_datasets.main()
    bench_sync.main()
    settings = Settings()
    base = base_models.resolve("smollm2-135m-instruct", settings)
    with tempfile.TemporaryDirectory() as place:
        documents = sources.documents({"documents": "samples"}, settings, lambda _: SAMPLES)
        build(Extraction(), documents=documents, out=Path(place))
        print("\nTraining on the sample documents")
        seconds = os.environ.get("BENCH_SECONDS", "600")
        bench_training.main([str(base), str(Path(place) / "train.jsonl"), "--seconds", seconds, "--until", "95"])


if __name__ == "__main__":
    main()
