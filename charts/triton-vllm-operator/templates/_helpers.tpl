{{- define "operator.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 53 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 53 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- /* Name of the webhook's Service; the certificate is for NAME.NAMESPACE.svc. */ -}}
{{- define "operator.webhook" -}}
{{ include "operator.name" . }}-webhook
{{- end }}

{{- define "operator.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "operator.labels" -}}
{{ include "operator.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "operator.image" -}}
{{- if .Values.image.digest }}{{ .Values.image.repository }}@{{ .Values.image.digest }}{{ else }}{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{- /* Rules for the namespaces that the operator serves, each with its reason. */ -}}
{{- define "operator.rules" -}}
# The custom resources: read; only their status is written.
- apiGroups: [serving.triton-vllm.dev]
  resources: [llmdeployments]
  verbs: [get, list, watch]
- apiGroups: [serving.triton-vllm.dev]
  resources: [llmdeployments/status]
  verbs: [patch]
# The children: created and updated by server-side apply (create and patch), deleted when the spec no longer has them.
# get checks whether another object has the name of a child.
{{ include "operator.childRules" . }}
# The serving pods: why they do not run. While one of them waits for a GPU, also which pods use the GPUs.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
{{- if .Values.planning.enabled }}
# Inspection pods, which read a model before serving pods are created: created, and deleted when they have ended, never
# updated. This grants no more than the right to create and delete Deployments, above, in the same namespaces: who may
# create pods there can mount the Secrets there. Without it (planning.enabled: false) nothing is planned.
- apiGroups: [""]
  resources: [pods]
  verbs: [create, delete]
# Whether the claim of a pvc:// model is bound: an inspection pod must not be the first to use it.
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [get]
{{- end }}
# Whether the namespace allows releases with known CVEs; read only for such a release.
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get]
# Events of a pod that waits for a volume.
- apiGroups: [""]
  resources: [events]
  verbs: [list]
# Events about the custom resources: posted, and counted on when they repeat.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}
