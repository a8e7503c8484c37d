{{- define "triton-vllm-operator.chart" -}}
{{ .Values.nameOverride | default .Chart.Name }}
{{- end }}

{{- define "triton-vllm-operator.name" -}}
{{- $chart := include "triton-vllm-operator.chart" . }}
{{- if .Values.fullnameOverride }}{{ .Values.fullnameOverride | trunc 53 | trimSuffix "-" }}{{ else if contains $chart .Release.Name }}{{ .Release.Name | trunc 53 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name $chart | trunc 53 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- /* Name of objects of the whole cluster. Releases that serve some namespaces may have one name in several. */ -}}
{{- define "triton-vllm-operator.clusterName" -}}
{{- if .Values.namespaces }}{{ printf "%s-%s" .Release.Namespace (include "triton-vllm-operator.name" .) }}{{ else }}{{ include "triton-vllm-operator.name" . }}{{ end }}
{{- end }}

{{- /* Name of the webhook's Service; the certificate is for NAME.NAMESPACE.svc. */ -}}
{{- define "triton-vllm-operator.webhook" -}}
{{ include "triton-vllm-operator.name" . }}-webhook
{{- end }}

{{- /* A version as the value of a label: Flux adds +DIGEST to that of the chart. */ -}}
{{- define "triton-vllm-operator.labelValue" -}}
{{ . | replace "+" "_" | trunc 63 | trimAll "-_." }}
{{- end }}

{{- /* Ports of DNS. On OpenShift its pods listen on 5353, and a policy is applied to the pod's port. */ -}}
{{- define "triton-vllm-operator.dnsPorts" -}}
- {port: 53, protocol: UDP}
- {port: 53, protocol: TCP}
{{- if .Capabilities.APIVersions.Has "security.openshift.io/v1" }}
- {port: 5353, protocol: UDP}
- {port: 5353, protocol: TCP}
{{- end }}
{{- end }}

{{- define "triton-vllm-operator.selector" -}}
app.kubernetes.io/name: {{ include "triton-vllm-operator.chart" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "triton-vllm-operator.labels" -}}
{{ include "triton-vllm-operator.labelsWith" (list . dict) }}
{{- end }}

{{- /* Labels of an object that has labels of its own: a list of the context and of these. No key may be there twice. */ -}}
{{- define "triton-vllm-operator.labelsWith" -}}
{{- $further := last . }}
{{- with first . }}
{{- include "triton-vllm-operator.selector" . }}
app.kubernetes.io/version: {{ include "triton-vllm-operator.labelValue" .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ include "triton-vllm-operator.labelValue" (printf "%s-%s" .Chart.Name .Chart.Version) }}
{{- with merge (deepCopy $further) .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}
{{- end }}

{{- /* The pods' security context: on OpenShift without the user and group, which its SCC assigns. */ -}}
{{- define "triton-vllm-operator.podSecurityContext" -}}
{{- if .Capabilities.APIVersions.Has "security.openshift.io/v1" }}
{{- toYaml (omit .Values.podSecurityContext "runAsUser" "runAsGroup" "fsGroup") }}
{{- else }}
{{- toYaml .Values.podSecurityContext }}
{{- end }}
{{- end }}

{{- /* Wrong combinations of values, before anything is installed. */ -}}
{{- define "triton-vllm-operator.validate" -}}
{{- $given := dict "commonLabels" .Values.commonLabels "podLabels" .Values.podLabels "metrics.serviceMonitor.labels" .Values.metrics.serviceMonitor.labels "metrics.podMonitor.labels" .Values.metrics.podMonitor.labels }}
{{- $own := list "app.kubernetes.io/component" "app.kubernetes.io/instance" "app.kubernetes.io/managed-by" "app.kubernetes.io/name" "app.kubernetes.io/version" "helm.sh/chart" }}
{{- range $value, $labels := $given }}
{{- range $key, $_ := $labels }}
{{- if has $key $own }}{{ fail (printf "%s has the label %s, which the chart sets itself: remove it." $value $key) }}{{ end }}
{{- end }}
{{- end }}
{{- if and .Values.rbac.create (not .Values.rbac.clusterRole) }}
{{- if not .Values.namespaces }}{{ fail "rbac.clusterRole=false needs namespaces: list the namespaces to serve in the value namespaces." }}{{ end }}
{{- if .Values.webhook.enabled }}{{ fail "rbac.clusterRole=false cannot be used with the webhook, whose configuration belongs to the whole cluster: set webhook.enabled=false." }}{{ end }}
{{- if .Values.crds.enabled }}{{ fail "rbac.clusterRole=false cannot be used with the CRD, which belongs to the whole cluster: set crds.enabled=false and have it installed by a cluster administrator." }}{{ end }}
{{- end }}
{{- if and .Values.metrics.serviceMonitor.enabled (not .Values.metrics.service) }}{{ fail "metrics.serviceMonitor.enabled needs metrics.service: set metrics.service=true." }}{{ end }}
{{- if and .Values.webhook.enabled (eq (int .Values.webhook.port) (int .Values.metrics.port)) }}{{ fail "webhook.port and metrics.port are the same: change one of them." }}{{ end }}
{{- end }}

{{- /* The pull secrets of the operator's image; those of a parent chart may be plain names. */ -}}
{{- define "triton-vllm-operator.imagePullSecrets" -}}
{{- $found := .Values.imagePullSecrets }}
{{- range (.Values.global).imagePullSecrets }}
{{- $found = append $found (kindIs "string" . | ternary (dict "name" .) .) }}
{{- end }}
{{- with $found | uniq }}{{ toYaml . }}{{ end }}
{{- end }}

{{- define "triton-vllm-operator.image" -}}
{{- if .Values.image.digest }}{{ .Values.image.repository }}@{{ .Values.image.digest }}{{ else }}{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{- /* Rules for the namespaces that the operator serves, each with its reason. */ -}}
{{- define "triton-vllm-operator.rules" -}}
# The custom resources: read; only their status is written.
- apiGroups: [serving.triton-vllm.dev]
  resources: [llmdeployments]
  verbs: [get, list, watch]
- apiGroups: [serving.triton-vllm.dev]
  resources: [llmdeployments/status]
  verbs: [patch]
# The children: created and updated by server-side apply (create and patch), deleted when the spec no longer has them.
# get checks whether another object has the name of a child.
{{ include "triton-vllm-operator.childRules" . }}
# The ReplicaSets: which pods are of which revision, during a rollout.
- apiGroups: [apps]
  resources: [replicasets]
  verbs: [list]
# What else scales an LLMDeployment that has spec.autoscaling; read only for those.
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [list]
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
# Whether the claim of a pvc:// model, or one with a token, is bound: an inspection pod must not be the first to use it.
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
