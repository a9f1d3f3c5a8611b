{{- define "seqstep.selector" -}}
app.kubernetes.io/name: seqstep
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "seqstep.labels" -}}
{{ include "seqstep.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}

{{- define "seqstep.image" -}}
{{ .Values.image.repository }}{{ with .Values.image.digest }}@{{ . }}{{ else }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{/* What the pods of the Deployment and of the migration share. */}}
{{- define "seqstep.pod" -}}
automountServiceAccountToken: false
# Variables such as SEQSTEP_PORT, for a Service of that name, would look like settings.
enableServiceLinks: false
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile:
    type: RuntimeDefault
{{- end }}

{{- define "seqstep.container" -}}
name: seqstep
image: {{ include "seqstep.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end }}

{{/* A file of a Secret, in a projected volume. */}}
{{- define "seqstep.file" -}}
- secret:
    name: {{ .from.name }}
    items:
      - key: {{ .from.key }}
        path: {{ .path }}
{{- end }}
