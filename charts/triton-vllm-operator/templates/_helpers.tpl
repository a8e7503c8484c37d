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

{{- /* What the operator does with the objects of the namespaces that it serves. Each rule with its reason. */ -}}
{{- define "operator.rules" -}}
# The custom resources: read; only their status is written.
- apiGroups: [serving.triton-vllm.dev]
  resources: [llmdeployments]
  verbs: [get, list, watch]
- apiGroups: [serving.triton-vllm.dev]
  resources: [llmdeployments/status]
  verbs: [patch]
# The children: made and kept by server-side apply (create and patch), deleted when no longer wanted; get looks
# whether an object of another owner has a child's name.
{{ include "operator.childRules" . }}
# The serving pods: why they do not run. And, while one of them finds no GPU, which pods hold those.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
{{- if .Values.planning.enabled }}
# The short pods that read a model before serving pods may hold GPUs: made whole, deleted when read, never changed. This
# is no more than the right to create and delete Deployments, above, already gives in the same namespaces: whoever may
# make pods there may mount the Secrets there. Without it (planning.enabled: false) nothing is planned.
- apiGroups: [""]
  resources: [pods]
  verbs: [create, delete]
# Whether the claim of a pvc:// model has a volume: such a pod must not be the first one to use it.
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
