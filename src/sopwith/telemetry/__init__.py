"""What monitoring reads: metrics as Prometheus has them, spans as OpenTelemetry has them. Both are optional extras."""
