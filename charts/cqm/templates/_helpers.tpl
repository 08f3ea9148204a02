{{/*
The services that are enabled, each merged over `defaults`, as JSON by name. The only place where they are merged:
mergeOverwrite keeps false, 0 and "" of the service, where `default` would take them for absent.
*/}}
{{- define "cqm.services" -}}
{{- $services := dict }}
{{- range $name, $own := .Values.services }}
{{- $service := mergeOverwrite (deepCopy $.Values.defaults) $own }}
{{- if $service.enabled }}
{{- $services = merge $services (dict $name $service) }}
{{- end }}
{{- end }}
{{- toJson $services }}
{{- end }}

{{/*
Stands before every name. Short enough for the longest of them (-notifications-headless) within 63 characters; what is
cut off is replaced by a digest, so that two long release names do not meet.
*/}}
{{- define "cqm.fullname" -}}
{{- $name := printf "%s-cqm" .Release.Name }}
{{- if .Values.fullnameOverride }}
{{- $name = .Values.fullnameOverride }}
{{- else if contains "cqm" .Release.Name }}
{{- $name = .Release.Name }}
{{- end }}
{{- if gt (len $name) 40 }}
{{- $name = printf "%s-%s" (trunc 31 $name | trimSuffix "-") (sha256sum $name | trunc 8) }}
{{- end }}
{{- $name }}
{{- end }}

{{/* What selects the release's pods. */}}
{{- define "cqm.releaseLabels" -}}
app.kubernetes.io/name: {{ if .Values.nameOverride }}{{ .Values.nameOverride | quote }}{{ else }}{{ .Chart.Name }}{{ end }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{/* What selects one component's pods: (list root component). */}}
{{- define "cqm.selectorLabels" -}}
{{ include "cqm.releaseLabels" (index . 0) }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* (list root component); selectors come last and so cannot be replaced by `labels`. */}}
{{- define "cqm.labels" -}}
{{- $root := index . 0 }}
{{- $labels := dict "helm.sh/chart" (printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63)
  "app.kubernetes.io/version" $root.Chart.AppVersion
  "app.kubernetes.io/managed-by" $root.Release.Service
  "app.kubernetes.io/part-of" "cqm" }}
{{- mergeOverwrite $labels $root.Values.labels (include "cqm.selectorLabels" . | fromYaml) | toYaml }}
{{- end }}

{{/* (list root service) */}}
{{- define "cqm.image" -}}
{{- $root := index . 0 }}
{{- $service := index . 1 }}
{{- $image := printf "%s/%s" $root.Values.image.registry $service.image }}
{{- if $service.digest }}
{{- printf "%s@%s" $image $service.digest }}
{{- else if $root.Values.image.tag }}
{{- printf "%s:%s" $image $root.Values.image.tag }}
{{- else }}
{{- printf "%s:%s" $image $root.Chart.AppVersion }}
{{- end }}
{{- end }}

{{/* A variable's value as text. toJson writes 33554432 where quote would write 3.3554432e+07. */}}
{{- define "cqm.text" -}}
{{- if kindIs "string" . }}{{ quote . }}{{ else }}{{ toJson . | quote }}{{ end }}
{{- end }}

{{/*
The environment of a service that is no secret, as JSON: (list root name services). What the chart knows itself (the
addresses of those it calls, the drain) lies under what the user sets.
*/}}
{{- define "cqm.env" -}}
{{- $root := index . 0 }}
{{- $name := index . 1 }}
{{- $services := index . 2 }}
{{- $service := get $services $name }}
{{- $env := dict "CQM__SERVER__DRAIN__SETTLE" (printf "%ds" (int $service.drain.settle))
  "CQM__SERVER__DRAIN__TIMEOUT" (printf "%ds" (int $service.drain.timeout))
  "CQM__TELEMETRY__OTLP_ENDPOINT" $service.telemetry.endpoint
  "CQM__TELEMETRY__LISTEN" "0.0.0.0:9464" }}
{{- $env = merge $env (include "cqm.databaseEnv" (list $service "serving") | fromJson) (include "cqm.cacheEnv" (list $name $service) | fromJson) }}
{{- if $service.listens }}
{{- if $service.tls.existingSecret }}
{{- $env = merge $env (dict "CQM__SERVER__TLS__CERTIFICATE" "/etc/cqm/tls/tls.crt" "CQM__SERVER__TLS__KEY" "/etc/cqm/tls/tls.key") }}
{{- if $service.tls.mutual }}
{{- $env = merge $env (dict "CQM__SERVER__TLS__CLIENT_CA" "/etc/cqm/tls/ca.crt") }}
{{- end }}
{{- else }}
{{- $env = merge $env (dict "CQM__SERVER__PLAINTEXT" "true") }}
{{- end }}
{{- end }}
{{- range $other, $callee := $services }}
{{- if has $name $callee.callers }}
{{- $variable := printf "CQM__SERVICE__BACKENDS__%s" ($other | upper | replace "-" "_") }}
{{- /* The gateway balances over pods itself and needs their addresses. The coordinator does not: a client takes the first
       address it resolves, and resolvers sort them. */}}
{{- $suffix := ternary "-headless" "" (eq $name "gateway") }}
{{- $scheme := "http" }}
{{- if $callee.tls.existingSecret }}
{{- $scheme = "https" }}
{{- $env = merge $env (dict "CQM__SERVICE__BACKENDS__TLS__CA" "/etc/cqm/tls/ca.crt") }}
{{- if $callee.tls.mutual }}
{{- $env = merge $env (dict "CQM__SERVICE__BACKENDS__TLS__CERTIFICATE" "/etc/cqm/tls/tls.crt"
      "CQM__SERVICE__BACKENDS__TLS__KEY" "/etc/cqm/tls/tls.key") }}
{{- end }}
{{- end }}
{{- $address := printf "%s://%s-%s%s:50051" $scheme (include "cqm.fullname" $root) $other $suffix }}
{{- $env = merge $env (dict $variable $address) }}
{{- end }}
{{- end }}
{{- mergeOverwrite $env $service.env | toJson }}
{{- end }}

{{/* Secret variables: a map of {existingSecret, key} by name. */}}
{{- define "cqm.secretEnv" -}}
{{- range $variable, $secret := . }}
- name: {{ $variable }}
  valueFrom:
    secretKeyRef:
      name: {{ $secret.existingSecret | quote }}
      key: {{ $secret.key | quote }}
{{- end }}
{{- end }}

{{/* How Postgres is spoken to, for those who serve and those who migrate, as JSON: (list service use). */}}
{{- define "cqm.databaseEnv" -}}
{{- $use := index . 1 }}
{{- $env := dict }}
{{- with (index . 0).database }}
{{- if .enabled }}
{{- if .plaintext }}
{{- $env = merge $env (dict "CQM__DATABASE__TLS" "off") }}
{{- end }}
{{- if .authority.existingSecret }}
{{- $env = merge $env (dict "CQM__DATABASE__TLS" "verify" "CQM__DATABASE__CA" "/etc/cqm-database/ca.crt") }}
{{- end }}
{{- if (get . $use).certificate }}
{{- $env = merge $env (dict "CQM__DATABASE__CERTIFICATE" "/etc/cqm-database-certificate/tls.crt"
      "CQM__DATABASE__KEY" "/etc/cqm-database-certificate/tls.key") }}
{{- end }}
{{- end }}
{{- end }}
{{- $env | toJson }}
{{- end }}

{{/* The files behind it: volumes, and where they are mounted. Not below /etc/cqm, whose names are the user's. */}}
{{- define "cqm.databaseVolumes" -}}
{{- $use := index . 1 }}
{{- with (index . 0).database }}
{{- if .enabled }}
{{- if .authority.existingSecret }}
- name: database-authority
  secret:
    secretName: {{ .authority.existingSecret | quote }}
    items: [{key: {{ .authority.key | quote }}, path: ca.crt}]
    defaultMode: 0440
{{- end }}
{{- with (get . $use).certificate }}
- name: database-certificate
  secret:
    secretName: {{ quote . }}
    defaultMode: 0440
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- define "cqm.databaseMounts" -}}
{{- $use := index . 1 }}
{{- with (index . 0).database }}
{{- if .enabled }}
{{- if .authority.existingSecret }}
- name: database-authority
  mountPath: /etc/cqm-database
  readOnly: true
{{- end }}
{{- if (get . $use).certificate }}
- name: database-certificate
  mountPath: /etc/cqm-database-certificate
  readOnly: true
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* How Redis is believed, as JSON: (name service). The gateway shares quotas there, whoever has a database caches. */}}
{{- define "cqm.cacheEnv" -}}
{{- $name := index . 0 }}
{{- $service := index . 1 }}
{{- if and $service.cache.existingSecret $service.cache.authority.existingSecret (or (eq $name "gateway") $service.database.enabled) }}
{{- $section := ternary "SERVICE__QUOTA" "CACHE" (eq $name "gateway") }}
{{- dict (printf "CQM__%s__REDIS_TLS__CA" $section) "/etc/cqm-cache/ca.crt" | toJson }}
{{- else }}
{{- dict | toJson }}
{{- end }}
{{- end }}

{{/* The file behind it: a volume, and where it is mounted. */}}
{{- define "cqm.cacheVolume" -}}
- name: cache-authority
  secret:
    secretName: {{ .cache.authority.existingSecret | quote }}
    items: [{key: {{ .cache.authority.key | quote }}, path: ca.crt}]
    defaultMode: 0440
{{- end }}
{{- define "cqm.cacheMount" -}}
- name: cache-authority
  mountPath: /etc/cqm-cache
  readOnly: true
{{- end }}

{{/* Of a pod: as the Pod Security level `restricted` wants it, with no value that could weaken it. */}}
{{- define "cqm.podSecurity" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile:
    type: RuntimeDefault
{{- end }}

{{/* Of a container. */}}
{{- define "cqm.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end }}

{{/* What pods of a service and of its migration share: (list root service). */}}
{{- define "cqm.podPlacement" -}}
{{- $root := index . 0 }}
{{- $service := index . 1 }}
{{- with $root.Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ quote . }}
{{- end }}
{{- end }}
{{- if $service.priorityClassName }}
priorityClassName: {{ $service.priorityClassName | quote }}
{{- end }}
{{- with $service.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $service.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* One rule's peers, nothing when anybody may: {namespaceLabels, podLabels, cidrs}. */}}
{{- define "cqm.peers" -}}
{{- if .cidrs }}
{{- range .cidrs }}
- ipBlock:
    cidr: {{ quote . }}
{{- end }}
{{- else if or .namespaceLabels .podLabels }}
{{- /* Without labels of a namespace its own would be meant. */}}
- namespaceSelector: {{- if .namespaceLabels }}{{ dict "matchLabels" .namespaceLabels | toYaml | nindent 4 }}{{ else }} {}{{ end }}
  {{- if .podLabels }}
  podSelector: {{- dict "matchLabels" .podLabels | toYaml | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}

{{/* A rule that lets out to {port, namespaceLabels, podLabels, cidrs}. */}}
{{- define "cqm.egressRule" -}}
- ports:
    - port: {{ int .port }}
      protocol: TCP
  {{- with include "cqm.peers" . | trim }}
  to: {{- . | nindent 4 }}
  {{- end }}
{{- end }}

{{/* Names are asked for everywhere; node-local resolvers have no labels to select. */}}
{{- define "cqm.egressDns" -}}
- ports:
    - port: 53
      protocol: UDP
    - port: 53
      protocol: TCP
{{- end }}
