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

{{- define "carpool.selector" -}}
app.kubernetes.io/name: carpool-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "carpool.labels" -}}
{{ include "carpool.selector" . }}
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

{{/* Labels as the operator's settings read them: key=value,key=value. */}}
{{- define "carpool.pairs" -}}
{{- $pairs := list -}}
{{- range $key, $value := . }}{{ $pairs = append $pairs (printf "%s=%s" $key $value) }}{{ end -}}
{{- join "," $pairs -}}
{{- end }}
