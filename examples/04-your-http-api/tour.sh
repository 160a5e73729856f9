#!/usr/bin/env bash
set -euo pipefail
cd "$(dirname "$0")"
command -v curl > /dev/null || { echo "this tour needs curl (apt-get install curl)" >&2; exit 2; }
here=$(mktemp -d)
export PILOTAGE_HOME=$here/state
trap 'kill $(jobs -p); wait; rm -rf "$here"' EXIT

# The API: it runs here, on a free port, and wants a token.
TICKETS_TOKEN=demo-token-of-the-help-desk python3 api.py > "$here/api" &
until test -s "$here/api"; do sleep 0.1; done
api=$(cat "$here/api")

# What tools may call: https to the outside, and what is named here. The API is inside.
export PILOTAGE_EGRESS_ALLOW=${api#http://}

# Its token: kept by name, for that host and port only.
echo demo-token-of-the-help-desk | pilotage secrets set TICKETS_TOKEN --host "${api#http://}"

# The door, and two keys: one for who registers tools, one for an agent.
pilotage serve --port 0 > "$here/door" &
until grep -q REST "$here/door"; do sleep 0.1; done
door=$(grep -o 'http://[^/]*' "$here/door" | head -1)
admin=$(pilotage keys create me --role admin 2> "$here/said")
agent=$(pilotage keys create agent --role developer --tool 'ticket_*' 2> "$here/said")

# Register a tool from the command line, and another over REST.
export MCP_SERVER_URL=$door MCP_API_KEY=$admin
sed "s#API#$api#" ticket_show.yaml | pilotage tools put ticket_show -
sed "s#API#$api#" ticket_note.json |
  curl -sS -X PUT "$door/api/v2/tools/ticket_note" -H "Authorization: Bearer $admin" \
    -H 'Content-Type: application/json' --data @- -o "$here/put" -w 'ticket_note: %{http_code}\n'
pilotage tools list --owner key:me

# Call them, as the agent: over REST, and from the command line.
export MCP_API_KEY=$agent
curl -sS "$door/api/v2/tools/call/ticket_show" -H "Authorization: Bearer $agent" \
  -H 'Content-Type: application/json' --data '{"id": 7}'
echo
pilotage call ticket_note --arg id=7 --arg text="It is the database."

# What does not fit is refused before it leaves; what the API says no to is the answer.
pilotage call ticket_show --arg id=seven || echo "exit $?"
pilotage call ticket_show --arg id=8 || echo "exit $?"

# Nobody calls it while it is disabled.
MCP_API_KEY=$admin pilotage tools disable ticket_note
pilotage call ticket_note --arg id=7 --arg text=Again || echo "exit $?"

# All of it is on record.
export MCP_SERVER_URL=
pilotage audit list --limit 3
pilotage audit verify
