"""GGUF files with one thing wrong, sealed as if our export had made them."""

import shutil
from pathlib import Path

from tunesmith.serving import gguf_file


def edited(gguf: Path, out: Path, old: bytes, new: bytes) -> Path:
    """A copy with `old` replaced by `new`, which must be as long and occur once."""
    content = gguf.read_bytes()
    assert len(old) == len(new)
    assert content.count(old) == 1, old
    out.write_bytes(content.replace(old, new))
    gguf_file.seal(out)
    return out


def with_double_bos(gguf: Path, out: Path) -> Path:
    """The tokenizer adds a first token that the template already writes."""
    flag = b"tokenizer.ggml.add_bos_token" + (7).to_bytes(4, "little")
    return edited(gguf, out, flag + b"\0", flag + b"\1")


def with_foreign_bos(gguf: Path, out: Path) -> Path:
    """The tokenizer adds a first token that training never saw."""
    number = b"tokenizer.ggml.bos_token_id" + (4).to_bytes(4, "little")
    other = edited(gguf, out.with_suffix(".step"), number + b"\1\0\0\0", number + b"\0\0\0\0")
    return with_double_bos(other, out)


def with_other_template(gguf: Path, out: Path) -> Path:
    return edited(gguf, out, b"You are tiny", b"You are huge")


def with_template(gguf: Path, out: Path, template: str) -> Path:
    """Another chat template, with white space behind it: the numbers must stay aligned."""
    old = gguf_file.read_metadata(gguf)["tokenizer.chat_template"].encode()
    new = template.encode()
    new += b" " * ((len(old) - len(new)) % 32)
    content = gguf.read_bytes()
    before, after = (len(text).to_bytes(8, "little") + text for text in (old, new))
    assert content.count(before) == 1
    out.write_bytes(content.replace(before, after))
    gguf_file.seal(out)
    return out


def copied(gguf: Path, out: Path) -> Path:
    shutil.copyfile(gguf, out)
    gguf_file.seal(out)
    return out
