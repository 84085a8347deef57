"""Child process: a float GGUF → k-quants by llama.cpp's quantiser. `python -m … <gguf> <gguf> <type>`."""

import os
import sys

from tunesmith.jobs.process import exit_when_parent_dies

_FILE_TYPES = {"q8_0": 7, "q4_k_s": 14, "q4_k_m": 15, "q5_k_m": 17, "q6_k": 18}


def main(source: str, out: str, kind: str) -> None:
    from llama_cpp_py_sync._cffi_bindings import get_ffi, get_lib

    ffi, lib = get_ffi(), get_lib()
    lib.llama_backend_init()
    parameters = ffi.new("llama_model_quantize_params *", lib.llama_model_quantize_default_params())
    parameters.ftype = _FILE_TYPES[kind]
    parameters.nthread = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if lib.llama_model_quantize(os.fsencode(source), os.fsencode(out), parameters) != 0:
        raise SystemExit("llama_model_quantize failed")


if __name__ == "__main__":
    exit_when_parent_dies()
    main(*sys.argv[1:4])
