"""Backend `trl`: TRL's SFTTrainer and PEFT's LoRA, with our forward, row order and checkpoints."""

from importlib.util import find_spec

from tunesmith.training.backends.base import Availability, Report, ShouldStop, TrainResult, TrainSpec

NEEDS = ("torch", "transformers", "peft", "trl", "accelerate", "datasets")


class TrlBackend:
    name = "trl"

    def available(self) -> Availability:
        missing = [module for module in NEEDS if find_spec(module) is None]
        if missing:
            return Availability(False, f"pip install 'tunesmith[train]' (missing: {', '.join(missing)})")
        return Availability(True)

    def train(self, spec: TrainSpec, report: Report, should_stop: ShouldStop) -> TrainResult:
        from tunesmith.training.backends.trl_run import run

        return run(spec, report, should_stop)
