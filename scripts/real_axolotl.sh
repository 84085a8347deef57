#!/bin/sh
# A real axolotl in an environment of its own (4.2 GB, some minutes, once). Prints the path of its Python.
set -eu
cache="${TUNESMITH_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tunesmith-tests}"
version=0.19.0
place="$cache/axolotl"
if [ "$(cat "$place/.version" 2>/dev/null)" != "$version" ]; then
    "${PYTHON:-python3}" -m venv --clear "$place" >&2
    "$place/bin/python" -m pip install --quiet --disable-pip-version-check torch "axolotl==$version" >&2
    echo "$version" >"$place/.version"
fi
echo "$place/bin/python"
