#!/usr/bin/env bash
set -euo pipefail
cd "$(dirname "$0")"
command -v curl > /dev/null || { echo "this tour needs curl (apt-get install curl)" >&2; exit 2; }
here=$(mktemp -d)
export PILOTAGE_HOME=$here/state
trap 'kill $(jobs -p); wait; rm -rf "$here"' EXIT

# The server: on this machine only, on a free port. Tools may read and write below --root.
mkdir "$here/work"
pilotage serve --port 0 --root "$here/work" > "$here/door" &
until grep -qs REST "$here/door"; do sleep 0.1; done
door=$(grep -o 'http://[^/]*' "$here/door" | head -1)

# A key. Its text comes once, on standard output; what it may, on standard error.
key=$(pilotage keys create me --role developer)

# The tools that there are, and a call of one, over REST.
curl -sS "$door/api/v2/tools" -H "Authorization: Bearer $key" -o "$here/tools" -w 'tools: %{http_code}\n'
curl -sS "$door/api/v2/tools/call/run_list" -H "Authorization: Bearer $key" \
  -H 'Content-Type: application/json' --data '{}'
echo

# Over MCP, with the official SDK.
MCP_SERVER_URL=$door MCP_API_KEY=$key python3 client.py

# At the terminal. Whoever is refused is told why, and what to do.
export MCP_SERVER_URL=$door
MCP_API_KEY=$key pilotage call run_list
MCP_API_KEY=$key pilotage call run_status || echo "exit $?"
MCP_API_KEY= pilotage call run_list || echo "exit $?"

# Each call is in the audit, by its key.
export MCP_SERVER_URL=
pilotage audit list --tool run_list
