#!/bin/sh
# The OpenHands SDK in an environment of its own (needs Python 3.12 or newer). Prints the path of its Python.
# Exits with 3 when there is none: TUNESMITH_TEST_PYTHON3 names one that is elsewhere.
set -eu
cache="${TUNESMITH_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tunesmith-tests}"
version=1.58.0
place="$cache/openhands"
if [ "$(cat "$place/.version" 2>/dev/null)" != "$version" ]; then
    # pyenv's and uv's Pythons are often on no PATH
    for python in "${TUNESMITH_TEST_PYTHON3:-}" "${PYTHON:-}" python3.13 python3.12 python3 /usr/bin/python3 \
        "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[2-9]*/bin/python "$HOME"/.local/share/uv/python/*-3.1[2-9]*/bin/python3 ""; do
        [ -n "$python" ] && "$python" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null && break
    done
    [ -n "$python" ] || { echo "OpenHands needs Python 3.12 or newer: set TUNESMITH_TEST_PYTHON3." >&2; exit 3; }
    # pip tries versions for hours where uv takes seconds; fastmcp 4 took away what this SDK imports
    "$python" -m venv --clear "$place/uv" >&2
    "$place/uv/bin/python" -m pip install --quiet --disable-pip-version-check uv >&2
    "$place/uv/bin/uv" venv --quiet --clear --python "$python" "$place/sdk" >&2
    "$place/uv/bin/uv" pip install --quiet --python "$place/sdk/bin/python" "openhands-sdk==$version" "fastmcp<4" >&2
    echo "$version" >"$place/.version"
fi
echo "$place/sdk/bin/python"
