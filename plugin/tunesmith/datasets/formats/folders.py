"""What LLaMA-Factory and axolotl want to know about files that they train on."""

from collections.abc import Sequence
from typing import Any

import yaml

from tunesmith.datasets.formats.base import Wrong
from tunesmith.datasets.formats.instructions import split_system
from tunesmith.tasks.conversation import Row, to_sharegpt

_TAGS = {
    "role_tag": "from",
    "content_tag": "value",
    "user_tag": "human",
    "assistant_tag": "gpt",
    "observation_tag": "tool",
    "function_tag": "function_call",
    "system_tag": "system",
}


def llamafactory_row(row: Row) -> dict[str, Any]:
    """ShareGPT as LLaMA-Factory reads it; it silently drops rows whose turns do not alternate, so they are refused."""
    _, said = split_system(row)
    asked, answered = said[::2], said[1::2]
    if any(m["role"] == "assistant" for m in asked) or any(m["role"] != "assistant" for m in answered):
        raise Wrong("has turns that do not alternate", "Export it as messages.", "not_in_this_format")
    return {"conversations": to_sharegpt(row.messages)}


def llamafactory_pair(row: Row) -> dict[str, Any] | None:
    """A preference pair as LLaMA-Factory reads it; None when its turns do not alternate."""
    try:
        turns = llamafactory_row(row)["conversations"]
    except Wrong:
        return None
    return {"conversations": turns[:-1], "chosen": turns[-1], "rejected": {"from": "gpt", "value": row.rejected}}


def llamafactory_info(name: str, splits: Sequence[str], pairs: Sequence[str]) -> dict[str, Any]:
    """`dataset_info.json`: the training split under `name`, others as `name-validation`, pairs as `…-preference`."""
    info: dict[str, Any] = {}
    for split in splits:
        label = name if split == "train" else f"{name}-{split}"
        columns = {"messages": "conversations"}
        info[label] = {
            "file_name": f"{split}.jsonl",
            "formatting": "sharegpt",
            "columns": columns,
            "tags": _TAGS,
        }
        if split in pairs:
            info[f"{label}-preference"] = {
                "file_name": f"{split}-preference.jsonl",
                "formatting": "sharegpt",
                "ranking": True,
                "columns": {**columns, "chosen": "chosen", "rejected": "rejected"},
                "tags": _TAGS,
            }
    return info


def axolotl_row(row: Row) -> dict[str, Any]:
    return {"messages": [dict(m) for m in row.messages]}


def axolotl_config(splits: Sequence[str]) -> str:
    """The part of an axolotl configuration that names the data; paths are relative to the folder."""

    def dataset(split: str) -> dict[str, Any]:
        return {
            "path": f"{split}.jsonl",
            "ds_type": "json",
            "split": "train",  # what axolotl calls the one part of a file
            "type": "chat_template",
            "field_messages": "messages",
            "message_property_mappings": {"role": "role", "content": "content"},
            "roles_to_train": ["assistant"],
        }

    trained = "train" if "train" in splits else splits[0]
    config: dict[str, Any] = {"datasets": [dataset(trained)]}
    if trained != "validation" and "validation" in splits:
        config["test_datasets"] = [dataset("validation")]
    return yaml.safe_dump(config, sort_keys=False)
