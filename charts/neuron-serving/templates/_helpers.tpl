{{/* The name of every object of this release. */}}
{{- define "neuron-serving.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What the Deployment and the Services select; never changes. */}}
{{- define "neuron-serving.selector" -}}
app.kubernetes.io/name: neuron-serving
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "neuron-serving.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "neuron-serving.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "neuron-serving.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "neuron-serving.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* Not empty where the operator may read nodes: by default only if it serves the whole cluster. */}}
{{- define "neuron-serving.readsNodes" -}}
{{- if kindIs "bool" .Values.rbac.nodes -}}
{{- ternary "true" "" .Values.rbac.nodes -}}
{{- else if not .Values.watchNamespaces -}}
true
{{- end -}}
{{- end -}}

{{- define "neuron-serving.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "neuron-serving.runtimeImage" -}}
{{- default (printf "docker.io/neuron-serving/runtime:%s" .Chart.AppVersion) .Values.runtime.image -}}
{{- end -}}
