#!/bin/sh
# A real axolotl in an environment of its own (4.2 GB, some minutes, once). Prints the path of its Python.
set -eu
echo "$("$(dirname "$0")/real_venv.sh" axolotl axolotl==0.19.0 torch)/bin/python"
