#!/bin/sh
# openapi-python-client in an environment of its own (60 MB, about half a minute, once). Prints that folder.
set -eu
cache="${TUNESMITH_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tunesmith-tests}"
version=0.29.1
place="$cache/openapi-client"
if [ "$(cat "$place/.version" 2>/dev/null)" != "$version" ]; then
    "${PYTHON:-python3}" -m venv --clear "$place" >&2
    "$place/bin/python" -m pip install --quiet --disable-pip-version-check "openapi-python-client==$version" >&2
    echo "$version" >"$place/.version"
fi
echo "$place"
