#!/bin/sh
# real_venv.sh NAME PACKAGE==VERSION [PACKAGE …]: packages in an environment of their own, made once. Prints its folder.
set -eu
place="${TUNESMITH_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tunesmith-tests}/$1"
shift
if [ "$(cat "$place/.version" 2>/dev/null)" != "$*" ]; then
    "${PYTHON:-python3}" -m venv --clear "$place" >&2
    "$place/bin/python" -m pip install --quiet --disable-pip-version-check "$@" >&2
    echo "$*" >"$place/.version"
fi
echo "$place"
