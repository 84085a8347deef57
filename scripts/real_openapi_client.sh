#!/bin/sh
# openapi-python-client in an environment of its own (60 MB, about half a minute, once). Prints that folder.
set -eu
exec "$(dirname "$0")/real_venv.sh" openapi-client openapi-python-client==0.29.1
