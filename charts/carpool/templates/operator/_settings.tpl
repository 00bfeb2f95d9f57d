{{/* The operator's settings as variables of its container. */}}
{{- define "carpool.settings" -}}
{{- $operator := .Values.operator -}}
{{- $jobs := .Values.jobs -}}
{{- /* Rights and admission policy follow from these values, so no setting may say otherwise. */ -}}
{{- range $name, $value := dict "CARPOOL_NAMESPACES" "namespaces" "CARPOOL_NAMESPACE_SELECTOR" "namespaceSelector" -}}
{{- if hasKey $operator.settings $name -}}
{{- fail (printf "operator.settings: %s has a value of its own, from which rights and admission policy follow; set operator.%s" $name $value) -}}
{{- end -}}
{{- end }}
- {name: CARPOOL_LEASE_NAME, value: {{ include "carpool.operator" . }}}
- {name: CARPOOL_LEASE_NAMESPACE, value: {{ .Release.Namespace }}}
- {name: CARPOOL_LEASE_DURATION_SECONDS, value: {{ $operator.leaseDurationSeconds | quote }}}
{{- if $operator.namespaces }}
- {name: CARPOOL_NAMESPACES, value: {{ join "," $operator.namespaces | quote }}}
{{- else if $operator.namespaceSelector }}
- {name: CARPOOL_NAMESPACE_SELECTOR, value: {{ include "carpool.pairs" $operator.namespaceSelector | quote }}}
{{- end }}
{{- with $operator.maxRunningJobs }}
- {name: CARPOOL_MAX_RUNNING_JOBS, value: {{ . | quote }}}
{{- end }}
{{- with $operator.maxRunningJobsPerNamespace }}
- {name: CARPOOL_MAX_RUNNING_JOBS_PER_NAMESPACE, value: {{ . | quote }}}
{{- end }}
- {name: CARPOOL_JOB_IMAGE, value: {{ printf "%s:%s" $jobs.image.repository ($jobs.image.tag | default .Chart.AppVersion) | quote }}}
- {name: CARPOOL_JOB_IMAGE_PULL_POLICY, value: {{ $jobs.image.pullPolicy }}}
{{- with $jobs.imagePullSecrets }}
- {name: CARPOOL_JOB_IMAGE_PULL_SECRETS, value: {{ join "," . | quote }}}
{{- end }}
- {name: CARPOOL_JOB_SERVICE_ACCOUNT, value: {{ $jobs.serviceAccount.name }}}
{{- with $jobs.driver.nodeSelector }}
- {name: CARPOOL_DRIVER_NODE_SELECTOR, value: {{ include "carpool.pairs" . | quote }}}
{{- end }}
{{- with $jobs.driver.tolerations }}
- {name: CARPOOL_DRIVER_TOLERATIONS, value: {{ toJson . | quote }}}
{{- end }}
{{- with .Values.gpu.runtimeClass }}
- {name: CARPOOL_GPU_RUNTIME_CLASS, value: {{ . | quote }}}
{{- end }}
- {name: CARPOOL_GPU_NODE_LABELS, value: {{ include "carpool.pairs" .Values.gpu.nodeLabels | quote }}}
- {name: CARPOOL_PROGRESS_INTERVAL_SECONDS, value: {{ $operator.progressIntervalSeconds | quote }}}
- {name: CARPOOL_API_QPS, value: {{ $operator.apiQps | quote }}}
- {name: CARPOOL_LOG_FORMAT, value: {{ $operator.log.format }}}
- {name: CARPOOL_LOG_LEVEL, value: {{ $operator.log.level }}}
{{- range $name, $value := $operator.settings }}
- {name: {{ $name }}, value: {{ $value | toString | quote }}}
{{- end }}
{{- end }}
