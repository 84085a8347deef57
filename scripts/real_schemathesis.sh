#!/bin/sh
# schemathesis in an environment of its own (100 MB, about half a minute, once). Prints that folder.
set -eu
exec "$(dirname "$0")/real_venv.sh" schemathesis schemathesis==4.32.5
