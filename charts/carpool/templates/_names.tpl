{{/* Names and labels that several templates share. */}}

{{- define "carpool.name" -}}
{{- if contains "carpool" .Release.Name }}{{ .Release.Name | trunc 53 | trimSuffix "-" }}{{ else }}{{ printf "%s-carpool" (.Release.Name | trunc 45 | trimSuffix "-") }}{{ end }}
{{- end }}

{{- define "carpool.operator" -}}
{{ include "carpool.name" . }}-operator
{{- end }}

{{- define "carpool.operatorAccount" -}}
{{ .Values.operator.serviceAccount.name | default (include "carpool.operator" .) }}
{{- end }}

{{- define "carpool.agent" -}}
{{ include "carpool.name" . }}-agent
{{- end }}

{{/* The agent's namespace, which no job may share: its containers see every GPU of their node. */}}
{{- define "carpool.agentNamespace" -}}
{{- $name := .Values.agent.namespace | default (include "carpool.agent" .) -}}
{{- if and .Values.admissionPolicy.enabled (has $name (include "carpool.guardedNamespaces" . | fromJson).names) -}}
{{- fail (printf "agent.namespace: %s is a namespace of jobs, where the admission policy lets no container see all GPUs; give the agent one of its own" $name) -}}
{{- end -}}
{{- $name -}}
{{- end }}

{{- define "carpool.agentAccount" -}}
{{ .Values.agent.serviceAccount.name | default (include "carpool.agent" .) }}
{{- end }}

{{- define "carpool.agentSelector" -}}
app.kubernetes.io/name: carpool-agent
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "carpool.agentLabels" -}}
{{ include "carpool.agentSelector" . }}
{{ include "carpool.releaseLabels" . }}
{{- end }}

{{- define "carpool.selector" -}}
app.kubernetes.io/name: carpool-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "carpool.labels" -}}
{{ include "carpool.selector" . }}
{{ include "carpool.releaseLabels" . }}
{{- end }}

{{- define "carpool.releaseLabels" -}}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: carpool
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "carpool.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* The namespaces of jobs, as a JSON object with the key `names`. */}}
{{- define "carpool.jobNamespaces" -}}
{{- $names := .Values.jobs.namespaces | default .Values.operator.namespaces | default (list .Release.Namespace) -}}
{{- dict "names" ($names | uniq | sortAlpha) | toJson -}}
{{- end }}

{{/* The namespaces whose names say that jobs run there, or that drivers have an account there. */}}
{{- define "carpool.guardedNamespaces" -}}
{{- $names := concat .Values.operator.namespaces (include "carpool.jobNamespaces" . | fromJson).names -}}
{{- dict "names" ($names | uniq | sortAlpha) | toJson -}}
{{- end }}

{{/* Labels as the operator's settings read them: key=value,key=value. */}}
{{- define "carpool.pairs" -}}
{{- $pairs := list -}}
{{- range $key, $value := . }}{{ $pairs = append $pairs (printf "%s=%s" $key $value) }}{{ end -}}
{{- join "," $pairs -}}
{{- end }}
