"""The plugin manager, and what plugins offer to the settings."""
