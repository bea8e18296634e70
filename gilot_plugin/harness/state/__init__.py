"""What is known of an evaluation with attributions, phase by phase."""
