"""Child process: a float GGUF → k-quants. `python -m … <gguf> <gguf> <type>`; with `--check`, only tries the library.

The arithmetic is ggml's own `ggml_quantize_chunk`, which the shared library of `xllamacpp` exports: it loads wherever
models are served. Which tensor gets which type follows llama.cpp's `llama-quantize` (src/llama-quant.cpp), so that the
result is the same, byte for byte.
"""

import ctypes
import math
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

from tunesmith.jobs.process import exit_when_parent_dies
from tunesmith.serving.quantize_types import Mixture, in_order

_ROWS_AT_ONCE = 2048  # of a tensor, as 32-bit floats in memory


def library() -> ctypes.CDLL:
    """ggml's functions. Raises OSError or AttributeError where the library does not export them."""
    import xllamacpp

    folder = Path(xllamacpp.__file__).parent
    place = next((path for path in sorted(folder.glob("xllamacpp*")) if path.suffix in (".so", ".pyd", ".dylib")), None)
    if place is None:
        raise OSError(f"{folder} has no shared library")
    found = ctypes.CDLL(str(place))
    found.ggml_quantize_chunk.restype = ctypes.c_size_t
    numbers = [ctypes.c_int64] * 3
    found.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, *numbers, ctypes.c_void_p]
    return found


def check() -> None:
    """One block, to see that the library loads and does what it says."""
    import gguf

    to = gguf.GGMLQuantizationType.Q4_K
    elements, size = gguf.GGML_QUANT_SIZES[to]
    given, out = (ctypes.c_float * elements)(), (ctypes.c_char * size)()
    if library().ggml_quantize_chunk(int(to), given, out, 0, 1, elements, None) != size:
        raise SystemExit("ggml_quantize_chunk does not write what it should")


def main(source: str, out: str, kind: str) -> None:
    import gguf

    ggml, reader = library(), gguf.GGUFReader(source)
    fields = {name: field.contents() for name, field in reader.fields.items() if not name.startswith("GGUF.")}
    tensors = in_order(reader.tensors)
    mixture = Mixture.of(kind, fields, [tensor.name for tensor in tensors])
    writer = gguf.GGUFWriter(out, arch=fields["general.architecture"], endianess=reader.endianess)
    _write_fields(writer, reader, mixture)
    types = []
    for tensor in tensors:
        dimensions = max((place for place, size in enumerate(tensor.shape, 1) if size > 1), default=1)
        wanted = mixture.type_of(tensor.name, int(tensor.shape[0]), dimensions)
        types.append(gguf.GGMLQuantizationType[wanted] if wanted else tensor.tensor_type)
        shape, dtype = _form(tensor, types[-1])
        writer.add_tensor_info(tensor.name, shape, dtype, math.prod(shape) * dtype.itemsize, types[-1])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    with ThreadPoolExecutor(_cores()) as pool:
        for tensor, to in zip(tensors, types, strict=True):
            writer.write_tensor_data(_converted(ggml, pool, tensor, to))
    writer.close()


def _write_fields(writer: Any, reader: Any, mixture: Mixture) -> None:
    """All metadata as they are, but for what the file now is."""
    import gguf

    changed = {"general.quantization_version": 2, "general.file_type": mixture.file_type}
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture" or name in changed:
            continue
        kinds = field.types
        inner = kinds[-1] if kinds[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(name, field.contents(), kinds[0], sub_type=inner)
    for name, value in changed.items():
        writer.add_uint32(name, value)


def _form(tensor: Any, to: Any) -> tuple[tuple[int, ...], Any]:
    """Shape and number format of the array that holds the tensor in the type `to`; blocks are bytes."""
    import gguf
    import numpy as np

    if to == tensor.tensor_type:
        return tensor.data.shape, tensor.data.dtype
    shape = tuple(int(size) for size in reversed(tensor.shape))
    if to == gguf.GGMLQuantizationType.F16:
        return shape, np.dtype(np.float16)
    return gguf.quant_shape_to_byte_shape(shape, to), np.dtype(np.uint8)


def _converted(ggml: ctypes.CDLL, pool: ThreadPoolExecutor, tensor: Any, to: Any) -> Any:
    """The tensor's array in the type `to`."""
    import gguf
    import numpy as np

    if to == tensor.tensor_type:
        return tensor.data
    if to == gguf.GGMLQuantizationType.F16:
        return gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float16)
    shape, dtype = _form(tensor, to)
    rows, width = tensor.data.reshape(-1, tensor.data.shape[-1]), int(tensor.shape[0])
    out = np.empty((len(rows), shape[-1]), dtype)

    def convert(span: tuple[int, int]) -> None:
        given = np.ascontiguousarray(gguf.dequantize(rows[slice(*span)], tensor.tensor_type), dtype=np.float32)
        place = out[slice(*span)].ctypes.data
        ggml.ggml_quantize_chunk(int(to), given.ctypes.data, place, 0, len(given), width, None)

    list(pool.map(convert, pairwise([*range(0, len(rows), _ROWS_AT_ONCE), len(rows)])))
    return out.reshape(shape)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


if __name__ == "__main__":
    exit_when_parent_dies()
    if sys.argv[1:] == ["--check"]:
        check()
    else:
        main(*sys.argv[1:4])
