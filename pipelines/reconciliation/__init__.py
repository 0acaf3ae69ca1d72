"""Network reports against the registry."""
