"""Base models of a hub: weights, tokenizer and configuration of one revision, which is kept for all later runs."""

import shutil
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from tunesmith.errors import BadInput, DiskFull, NotFound, Unavailable
from tunesmith.serving.model_files import refuse_code
from tunesmith.settings import Settings
from tunesmith.store.files import read_json, write_json

FILES = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja", "tokenizer.model", "*.txt"]


def fetch(name: str, settings: Settings, *, revision: str | None, otherwise: str) -> Path:
    """The folder of a hub model; downloads it where needed. `otherwise`: what to do without a network.

    The first download pins its revision in the data folder: a resumed run, its export and its baselines are all of
    the same weights. Raises NotFound, BadInput, DiskFull, RemoteCode, Unavailable.
    """
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

    try:
        place = _fetched(name, settings, revision or pinned(name, settings))
    except RepositoryNotFoundError as error:
        raise NotFound(
            f"The hub has no model {name!r}, or it needs a login.", code="unknown_base_model", hint="Check the id."
        ) from error
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise Unavailable(
            f"{name} could not be fetched: {str(error)[:200]}", code="hub_unreachable", hint=otherwise
        ) from error
    if pinned(name, settings) is None:
        _pin_file(name, settings).parent.mkdir(parents=True, exist_ok=True)
        write_json(_pin_file(name, settings), {"base_model": name, "revision": place.name})
    return place


def pinned(name: str, settings: Settings) -> str | None:
    """The revision that this data folder has used so far. To go on with a newer one, remove the file that says so."""
    place = _pin_file(name, settings)
    return str(read_json(place)["revision"]) if place.is_file() else None


def _pin_file(name: str, settings: Settings) -> Path:
    return settings.home / "base_models" / f"{name.replace('/', '--')}.json"


def _fetched(name: str, settings: Settings, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download

    if revision is not None:
        here = _cached(name, revision)
        if here is not None and _is_whole(here):  # needs no network
            return here
    info = _described(name, revision)
    if info is None:  # no network: what was fetched before revisions were pinned
        return Path(snapshot_download(name, revision=revision, allow_patterns=FILES, local_files_only=True))
    _check_sizes(name, info, settings)
    refuse_code(Path(snapshot_download(name, revision=info.sha, allow_patterns=["*.json"])), name)
    return Path(snapshot_download(name, revision=info.sha, allow_patterns=FILES))


def _cached(name: str, revision: str) -> Path | None:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=FILES, local_files_only=True))
    except OSError:
        return None


def _is_whole(folder: Path) -> bool:
    """Whether the weights that the index names are there."""
    index = folder / "model.safetensors.index.json"
    shards = set(read_json(index)["weight_map"].values()) if index.is_file() else {"model.safetensors"}
    return (folder / "config.json").is_file() and all((folder / shard).is_file() for shard in shards)


def _described(name: str, revision: str | None) -> Any:
    """What the hub says of the model; None when the hub does not answer."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    try:
        return HfApi().model_info(name, revision=revision, files_metadata=True)
    except (RepositoryNotFoundError, RevisionNotFoundError):
        raise
    except Exception:  # the errors of whichever HTTP client the library uses
        return None


def _check_sizes(name: str, info: Any, settings: Settings) -> None:
    """Raises NotFound for a model without safetensors, BadInput for one beyond the limit, DiskFull."""
    files = {f.rfilename: f.size or 0 for f in info.siblings or () if any(fnmatch(f.rfilename, p) for p in FILES)}
    if not any(path.endswith(".safetensors") for path in files):
        raise NotFound(
            f"{name} has no safetensors weights.", code="no_safetensors", hint="Only safetensors are loaded."
        )
    size = sum(files.values())
    if size > settings.max_base_model_gb * 2**30:
        raise BadInput(
            f"{name} is {size / 2**30:.1f} GiB large.",
            code="base_model_too_large",
            param="base_model",
            hint=f"TUNESMITH_MAX_BASE_MODEL_GB allows {settings.max_base_model_gb:g}.",
        )
    cache = _cache()
    free = shutil.disk_usage(next(p for p in (cache, *cache.parents) if p.exists())).free
    left = size - sum(p.stat().st_size for p in (cache / f"models--{name.replace('/', '--')}" / "blobs").glob("*"))
    if free - left < settings.min_free_disk_mb * 2**20:
        raise DiskFull(
            f"{name} takes {left / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB are free for models of the hub.",
            hint="Free some disk space, or set HF_HOME to a folder on a larger disk; then resume the job.",
        )


def _cache() -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)
