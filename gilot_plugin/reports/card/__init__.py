"""The section about attributions in a model card."""
