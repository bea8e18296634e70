"""The machinery behind :mod:`gilot_plugin.backends.vllm`: token ids in, the likeliest tokens out."""
