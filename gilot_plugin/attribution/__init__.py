"""The method: tensors and token ids in, attributions out. Knows nothing of lm-eval, files or HTML."""
