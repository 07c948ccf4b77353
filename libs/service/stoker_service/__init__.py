"""What every service has: configuration, server, channels, errors, telemetry."""
