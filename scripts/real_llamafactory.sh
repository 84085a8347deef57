#!/bin/sh
# A real LLaMA-Factory in an environment of its own (2 GB or more, some minutes, once). Prints the path of its Python.
set -eu
echo "$("$(dirname "$0")/real_venv.sh" llamafactory llamafactory==0.9.5 torch)/bin/python"
