{{/* Names are fixed: a cluster has one operator, a namespace one server. */}}

{{- define "pilotage.labels" -}}
app.kubernetes.io/part-of: pilotage
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{/* By what pods are selected: for ever the same. The operator allows pods with the server's into the
     instances that it makes (operator/start.py, Names.peer). */}}
{{- define "pilotage.server" -}}
app.kubernetes.io/name: pilotage
app.kubernetes.io/component: server
{{- end }}
{{- define "pilotage.operator" -}}
app.kubernetes.io/name: mcp-operator
app.kubernetes.io/component: operator
{{- end }}

{{- define "pilotage.image" -}}
{{- with .Values.image -}}
{{ if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end -}}
{{- end }}

{{- define "pilotage.scheme" -}}
{{ ternary "http" "https" (eq .Values.server.tls.mode "none") }}
{{- end }}

{{- define "pilotage.keySecret" -}}
{{ .Values.operator.keySecret | default "pilotage-operator-key" }}
{{- end }}

{{/* Does the server's pod make the operator's key? Then "yes". */}}
{{- define "pilotage.delivers" -}}
{{ if and .Values.server.enabled (not .Values.operator.keySecret) }}yes{{ end }}
{{- end }}

{{/* Does an admission policy tie approvals to who writes them? Then "yes". */}}
{{- define "pilotage.tied" -}}
{{ if and (eq .Values.scope "cluster") .Values.approvals.policy }}yes{{ end }}
{{- end }}

{{/* The namespaces of a namespace-only install, as JSON: a list of its own, else the release's. */}}
{{- define "pilotage.watched" -}}
{{ .Values.operator.watchNamespaces | default (list .Release.Namespace) | toJson }}
{{- end }}

{{- define "pilotage.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "pilotage.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* An account's token, for one container and not for the pod. */}}
{{- define "pilotage.token" -}}
name: token
projected:
  defaultMode: 0440
  sources:
    - serviceAccountToken: {path: token, expirationSeconds: 3600}
    - configMap: {name: kube-root-ca.crt, items: [{key: ca.crt, path: ca.crt}]}
    - downwardAPI: {items: [{path: namespace, fieldRef: {fieldPath: metadata.namespace}}]}
{{- end }}
{{- define "pilotage.tokenMount" -}}
{name: token, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true}
{{- end }}
