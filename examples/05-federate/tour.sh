#!/usr/bin/env bash
set -euo pipefail
cd "$(dirname "$0")"
here=$(mktemp -d)
export PILOTAGE_HOME=$here/state
trap 'kill $(jobs -p); wait; rm -rf "$here"' EXIT

# The MCP server of somebody else: it runs here, on a free port.
python3 notes.py > "$here/notes" &
notes=$!
until test -s "$here/notes"; do sleep 0.1; done
url=$(cat "$here/notes")

# The door. What it may call is https to the outside, and what is named here.
export PILOTAGE_EGRESS_ALLOW=127.0.0.1
pilotage serve --port 0 > "$here/door" &
until grep -q REST "$here/door"; do sleep 0.1; done
door=$(grep -o 'http://[^/]*' "$here/door" | head -1)
admin=$(pilotage keys create me --role admin 2> "$here/said")
agent=$(pilotage keys create agent --role developer 2> "$here/said")

# Register it. Its tools come in a moment later: those that are allowed, with the prefix.
export MCP_SERVER_URL=$door MCP_API_KEY=$admin
sed "s#URL#$url#" notes.yaml | pilotage tools put notes -
until pilotage tools list | grep -q team_note_add; do sleep 0.1; done
pilotage tools list --owner key:me

# Call it, as an agent.
MCP_API_KEY=$agent pilotage call team_note_add --arg text="Buy milk."

# The server changes what its tool says of itself, and announces it. Nobody gets to see that: the
# tool is held back, and a call of it never reaches the server.
kill -USR1 $notes
until pilotage tools list | grep team_note_add | grep -q quarantined; do sleep 0.1; done
pilotage tools diff team_note_add || echo "exit $?"
MCP_API_KEY=$agent pilotage call team_note_add --arg text="Buy bread." || echo "exit $?"

# It comes to its senses: what it says is what was approved, so the tool is there again.
kill -USR1 $notes
while pilotage tools list | grep team_note_add | grep -q quarantined; do sleep 0.1; done
MCP_API_KEY=$agent pilotage call team_note_add --arg text="Buy bread."

# All of it is on record.
export MCP_SERVER_URL=
pilotage audit list --limit 6
pilotage audit verify
