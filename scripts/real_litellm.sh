#!/bin/sh
# A real LiteLLM proxy in an environment of its own (755 MB, about 3 minutes, once). Prints the path of its command.
set -eu
echo "$("$(dirname "$0")/real_venv.sh" litellm 'litellm[proxy]==1.108.7')/bin/litellm"
