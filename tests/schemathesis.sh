#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What /openapi.json says against what the server does: schemathesis (PyPI, in a folder of its own under build/) makes requests from the schemas, right
# and wrong ones. No answer may be a 5xx, and each must be of a status, a type and a shape that the document names.
#   tests/schemathesis.sh [EXAMPLES per route, default 150: more than 2,000 in all] [SEED]
set -euo pipefail
cd "$(dirname "$0")/.."
examples=${1:-150} seed=${2:-1} venv=build/schemathesis quern=${QUERN:-build/release/quern}
if [ ! -x $venv/bin/st ]; then
  python3 -m venv $venv
  $venv/bin/pip install -q --disable-pip-version-check schemathesis==4.32.5
fi
coproc SERVER { exec "$quern" serve tests/golden/qwen2_tied --port 0 --max-model-len 256 --disable-log-requests 2>build/schemathesis.log; }
server=$SERVER_PID
trap 'kill $server 2>/dev/null || true' EXIT
read -r -u "${SERVER[0]}" ready
port=$(printf '%s' "$ready" | sed -E 's/.*"port":([0-9]+).*/\1/')
$venv/bin/st run "http://127.0.0.1:$port/openapi.json" --max-examples "$examples" --seed "$seed" --generation-database none \
  --checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,unsupported_method \
  --request-timeout 60 --continue-on-failure
kill -0 $server
