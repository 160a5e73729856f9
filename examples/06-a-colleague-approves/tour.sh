#!/usr/bin/env bash
set -euo pipefail
cd "$(dirname "$0")"
here=$(mktemp -d)
export PILOTAGE_HOME=$here/state
trap 'kill $(jobs -p); wait; rm -rf "$here"' EXIT

# Something that destroys, the door before it, and two keys: an agent, and a colleague.
python3 branches.py > "$here/api" &
until test -s "$here/api"; do sleep 0.1; done
api=$(cat "$here/api")
export PILOTAGE_EGRESS_ALLOW=${api#http://}
pilotage serve --port 0 > "$here/door" &
until grep -qs REST "$here/door"; do sleep 0.1; done
door=$(grep -o 'http://[^/]*' "$here/door" | head -1)
sed "s#API#$api#" branch_delete.yaml > "$here/branch_delete.yaml"
admin=$(pilotage keys create admin --role admin 2> "$here/said")
agent=$(pilotage keys create agent --role operator 2> "$here/said")
colleague=$(pilotage keys create colleague --role operator 2> "$here/said")
export MCP_SERVER_URL=$door
MCP_API_KEY=$admin pilotage tools put branch_delete "$here/branch_delete.yaml"

# What destroys asks first. Nothing has run; exit 5 says that a person is waited for.
export MCP_API_KEY=$agent
pilotage call branch_delete --arg name=old-login || echo "exit $?"

# Whoever asks does not approve.
id=$(pilotage approvals list --state pending | cut -d' ' -f1)
pilotage approvals approve "$id" || echo "exit $?"

# The colleague looks at the very call, and approves.
MCP_API_KEY=$colleague pilotage approvals show "$id"
MCP_API_KEY=$colleague pilotage approvals approve "$id" --reason "merged in May"

# Another branch is another call. The one that was approved runs, once.
pilotage call branch_delete --arg name=main --approval "$id" || echo "exit $?"
pilotage call branch_delete --arg name=old-login
pilotage call branch_delete --arg name=old-login --approval "$id" || echo "exit $?"

# A call can wait for its person.
pilotage call branch_delete --arg name=old-logout --wait > "$here/waited" &
waits=$!
until pilotage approvals list --state pending | grep -q branch_delete; do sleep 0.2; done
id=$(pilotage approvals list --state pending | cut -d' ' -f1)
MCP_API_KEY=$colleague pilotage approvals approve "$id"
wait "$waits"
cat "$here/waited"

# Rules that look at arguments are tested before they count.
pilotage policy test questions.yaml --rules policy.cedar

# All of it is on record.
export MCP_SERVER_URL=
pilotage audit list --event approval.used
pilotage audit verify
