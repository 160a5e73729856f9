#!/usr/bin/env bash
set -euo pipefail
cd "$(dirname "$0")"
export PYTHONPATH=$PWD/../..
here=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$here"' EXIT

# Images, without Docker: server and operator with four scanners, three versions of a shop, and an MCP
# server. $CLUSTER_LOAD gives them to the nodes of another cluster: `kind load image-archive`, say.
python ../../deploy/image/build.py "$here/pilotage.tar" localhost/pilotage:0.1.0 bandit gitleaks ruff trivy
python images.py "$here/images"
for image in "$here"/pilotage.tar "$here"/images/*.tar; do ${CLUSTER_LOAD:-python -m cluster.load} "$image"; done

# The chart, into a namespace that lets restricted pods in alone. The shop's is no different.
for name in mcp-system shop; do
  kubectl create namespace $name
  kubectl label namespace $name pod-security.kubernetes.io/enforce=restricted
done
helm install pilotage ../../deploy/chart -n mcp-system --values values.yaml --wait --timeout 5m > "$here/notes"
kubectl -n mcp-system get pods

# One of the server's own tools becomes callable, since the cluster declares it.
kubectl apply -f "${MANIFEST:-k8s-resource-manager.yaml}"
kubectl wait --for=condition=Ready mcptool/example-mcptool --timeout=2m
kubectl get mcptools

# An MCP server, run as pods; its tools are the server's.
kubectl apply -f greeter.yaml
kubectl -n shop wait --for=condition=Ready mcptoolinstance/greeter --timeout=3m
kubectl -n shop get mcptoolinstances

# A release: scan, then a canary. The sources are where the server's tools may read.
kubectl cp shop mcp-system/pilotage-0:/work/shop -c server
kubectl apply -f release.yaml
approve() { # what waits in the run $1, as who I am
  me=$(kubectl auth whoami -o jsonpath='{.status.userInfo.username}')
  kubectl -n shop wait --for=jsonpath='{.status.state}'=waiting "mcppr/$1" --timeout=3m
  kubectl -n shop get mcppr "$1" -o jsonpath='{.status.waiting}{"\n"}'
  id=$(kubectl -n shop get mcppr "$1" -o jsonpath='{.status.waiting[0].id}')
  kubectl -n shop patch mcppr "$1" --type=json -p "[{\"op\": \"add\", \"path\": \"/spec/approvals/-\",
    \"value\": {\"id\": \"$id\", \"user\": \"$me\", \"decision\": \"approve\", \"reason\": \"$2\"}}]"
}
kubectl apply -f release-1.yaml
approve release-1 "the first version"
kubectl -n shop wait --for=condition=Succeeded mcppr/release-1 --timeout=3m
run=$(kubectl -n shop get mcppr release-1 -o jsonpath='{.status.runId}')
kubectl -n mcp-system exec pilotage-0 -c server -- pilotage runs logs "$run" | grep ' scan: '
kubectl -n shop get mcppr release-1 -o jsonpath='{.status.steps[0].message}{"\n"}'

# An agent, over MCP: it sees what runs, and is greeted.
key=$(kubectl -n mcp-system exec pilotage-0 -c server -- pilotage keys create agent --role developer)
kubectl -n mcp-system get secret pilotage-operator-key \
  -o go-template='{{index .data "ca.crt" | base64decode}}' > "$here/ca.pem"
kubectl -n mcp-system port-forward service/pilotage :8080 > "$here/forward" &
until grep -q Forwarding "$here/forward"; do sleep 0.2; done
port=$(grep -o '127.0.0.1:[0-9]*' "$here/forward" | cut -d: -f2)
MCP_SERVER_URL=https://localhost:$port MCP_API_KEY=$key SSL_CERT_FILE=$here/ca.pem python agent.py

# Version 2 never gets ready. The canary shows it, and version 1 stays.
kubectl apply -f release-2.yaml
approve release-2 "new prices"
kubectl -n shop wait --for=condition=Succeeded=False mcppr/release-2 --timeout=5m
kubectl -n shop get mcppr release-2
kubectl -n shop get mcppr release-2 -o jsonpath='{.status.conditions[?(@.type=="Succeeded")].message}{"\n"}'
kubectl -n shop get deployments -o wide

# Version 3 is good, once somebody says so.
kubectl apply -f release-3.yaml
approve release-3 "prices are in the image now"
kubectl -n shop wait --for=condition=Succeeded mcppr/release-3 --timeout=5m
kubectl -n shop get mcp
kubectl -n shop get deployments -o wide
kubectl -n shop delete mcppr release-2 --timeout=1m
kubectl -n mcp-system exec pilotage-0 -c server -- pilotage audit verify
