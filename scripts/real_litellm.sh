#!/bin/sh
# A real LiteLLM proxy in an environment of its own (755 MB, about 3 minutes, once). Prints the path of its command.
set -eu
cache="${TUNESMITH_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tunesmith-tests}"
version=1.108.7
place="$cache/litellm"
if [ "$(cat "$place/.version" 2>/dev/null)" != "$version" ]; then
    "${PYTHON:-python3}" -m venv --clear "$place" >&2
    "$place/bin/python" -m pip install --quiet --disable-pip-version-check "litellm[proxy]==$version" >&2
    echo "$version" >"$place/.version"
fi
echo "$place/bin/litellm"
