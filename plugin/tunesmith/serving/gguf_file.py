"""What a GGUF file says about itself, read in milliseconds, and the proof that it is our own export."""

import hashlib
import json
import os
import struct
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from tunesmith.errors import BadInput, NotFound, ParityError
from tunesmith.store.files import write_text

# GGUF value types: (struct format, size); 7 is bool, 8 string, 9 array.
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_MAX_STRING = 64 * 1024 * 1024

# llama.cpp's `general.file_type` → the names used here.
FILE_TYPES = {0: "f32", 1: "f16", 7: "q8_0", 14: "q4_k_s", 15: "q4_k_m", 17: "q5_k_m", 18: "q6_k", 32: "bf16"}


def read_metadata(path: Path) -> dict[str, Any]:
    """Key → value of the header. Arrays (the vocabulary) are left out. Raises BadInput for anything that is no GGUF."""
    try:
        with path.open("rb") as file:
            return dict(_pairs(file))
    except FileNotFoundError as error:
        raise NotFound(f"There is no model file {path.name}.", hint="Run the export again.") from error
    except (struct.error, UnicodeDecodeError, ValueError, KeyError) as error:
        raise BadInput(f"{path.name} is not a readable GGUF file: {error}", code="bad_gguf") from error


def quantization_of(metadata: dict[str, Any]) -> str:
    return FILE_TYPES.get(int(metadata.get("general.file_type", -1)), "unknown")


def _pairs(file: BinaryIO) -> Iterator[tuple[str, Any]]:
    if file.read(4) != b"GGUF":
        raise ValueError("it does not start with GGUF")
    version, _tensors, count = struct.unpack("<IQQ", file.read(20))
    if version not in (2, 3):
        raise ValueError(f"GGUF version {version}")
    for _ in range(count):
        key = _string(file)
        (kind,) = struct.unpack("<I", file.read(4))
        if kind == _ARRAY:
            _skip_array(file)
        else:
            yield key, _value(file, kind)


def _value(file: BinaryIO, kind: int) -> Any:
    if kind == _STRING:
        return _string(file)
    form = "<" + _SCALARS[kind]
    return struct.unpack(form, file.read(struct.calcsize(form)))[0]


def _string(file: BinaryIO) -> str:
    (length,) = struct.unpack("<Q", file.read(8))
    if length > _MAX_STRING:
        raise ValueError("a string is longer than 64 MiB")
    return file.read(length).decode("utf-8")


def _skip_array(file: BinaryIO) -> None:
    kind, length = struct.unpack("<IQ", file.read(12))
    if kind == _ARRAY:
        for _ in range(length):
            _skip_array(file)
    elif kind == _STRING:
        for _ in range(length):
            (size,) = struct.unpack("<Q", file.read(8))
            file.seek(size, os.SEEK_CUR)
    else:
        file.seek(length * struct.calcsize("<" + _SCALARS[kind]), os.SEEK_CUR)


def smallest(more: dict[str, str]) -> bytes:
    """A whole GGUF with one small tensor and these texts: a server says by it how it would treat such a file."""
    texts = {"general.architecture": "llama", **more}
    numbers = dict.fromkeys(("block_count", "attention.head_count", "vocab_size"), 1)
    numbers |= dict.fromkeys(("context_length", "embedding_length", "feed_forward_length"), 32)
    pairs = [_written(key) + struct.pack("<I", _STRING) + _written(text) for key, text in texts.items()]
    pairs += [_written(f"llama.{key}") + struct.pack("<II", 4, number) for key, number in numbers.items()]
    pairs.append(_written("general.file_type") + struct.pack("<II", 4, 1))
    pairs.append(_written("llama.attention.layer_norm_rms_epsilon") + struct.pack("<If", 6, 1e-5))
    tensor = _written("token_embd.weight") + struct.pack("<IQQIQ", 2, 32, 1, 1, 0)
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, len(pairs)) + b"".join(pairs) + tensor
    return head + b"\0" * (-len(head) % 32 + 64)


def _written(text: str) -> bytes:
    encoded = text.encode()
    return struct.pack("<Q", len(encoded)) + encoded


@dataclass(frozen=True)
class Seal:
    """Beside every GGUF that our export wrote: what it is, and its digest. `size`: bytes."""

    sha256: str
    size: int
    quantization: str
    architecture: str

    @property
    def digest(self) -> str:
        """As Ollama names blobs."""
        return f"sha256:{self.sha256}"


SEAL = ".gguf.json"  # how the names of seals end


def seal_path(gguf: Path) -> Path:
    return gguf.with_suffix(SEAL)


def seal(gguf: Path) -> Seal:
    """Write the seal of a GGUF that was just exported; the last step, so an unsealed file is an unfinished one."""
    metadata = read_metadata(gguf)
    made = Seal(
        sha256=file_sha256(gguf),
        size=gguf.stat().st_size,
        quantization=quantization_of(metadata),
        architecture=str(metadata.get("general.architecture")),
    )
    write_text(seal_path(gguf), json.dumps(asdict(made), indent=1) + "\n")
    return made


def sealed_digest(gguf: Path) -> str | None:
    """What a GGUF was, as Ollama names blobs, also when only its seal is left; None without one."""
    try:
        return Seal(**json.loads(seal_path(gguf).read_text(encoding="utf-8"))).digest
    except (OSError, ValueError, TypeError):
        return None


def read_seal(gguf: Path, *, verify: bool = True) -> Seal:
    """The seal of our own export; with `verify` the whole file is hashed. Raises NotFound, or ParityError when the
    file is not the one that was sealed: only our own exports are ever served."""
    if not gguf.is_file():
        raise NotFound(f"There is no model file {gguf.name}.", hint="Run the export again.")
    try:
        found = Seal(**json.loads(seal_path(gguf).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ParityError(
            f"{gguf.name} does not come from Tunesmith's own export.",
            code="foreign_gguf",
            hint="Only models that Tunesmith exported are served. Run the export again.",
        ) from error
    if gguf.stat().st_size != found.size or (verify and file_sha256(gguf) != found.sha256):
        raise ParityError(
            f"{gguf.name} was changed after its export.", code="foreign_gguf", hint="Run the export again."
        )
    return found


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
