"""Run by LLaMA-Factory's Python: loads a dataset as its trainer does and prints the texts that it would train on.

Arguments: folder of the export, name of the dataset, base model, stage (sft or rm), a folder for its output.
"""

import json
import sys

from llamafactory.data import get_dataset, get_template_and_fix_tokenizer
from llamafactory.hparams import get_train_args
from llamafactory.model import load_tokenizer

folder, name, base, stage, output = sys.argv[1:]
model_args, data_args, training_args, _, _ = get_train_args(
    {
        "stage": stage,
        "do_train": True,
        "model_name_or_path": base,
        "dataset_dir": folder,
        "dataset": name,
        "template": "chatml",
        "cutoff_len": 1024,
        "mask_history": stage == "sft",
        "overwrite_cache": True,
        "output_dir": output,
        "use_cpu": True,
        "report_to": "none",
    }
)
parts = load_tokenizer(model_args)
template = get_template_and_fix_tokenizer(parts["tokenizer"], data_args)
rows = get_dataset(template, model_args, data_args, training_args, stage=stage, **parts)["train_dataset"]
decode = parts["tokenizer"].decode
prefixes = [""] if stage == "sft" else ["chosen_", "rejected_"]
seen = [
    {
        f"{prefix}{what}": decode([token for token in row[f"{prefix}{what}"] if token >= 0])
        for prefix in prefixes
        for what in ("input_ids", "labels")
    }
    for row in rows
]
print(json.dumps(seen))
