"""Ways into an evaluation with attributions: commands, ``attach``, the model ``gilot``; loading a model."""
