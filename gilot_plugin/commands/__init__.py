"""Commands of ``gilot`` that are too long for :mod:`gilot_plugin.cli`, and what all commands share."""
