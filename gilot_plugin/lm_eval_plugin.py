"""Import this module to attach: samples of lm-eval's evaluations are explained until the process ends.

For ``lm_eval run --plugins gilot_plugin.lm_eval_plugin`` (lm-eval 0.4.14 and later), or before calling
lm-eval's command in any other way. Settings come from the environment variables ``GILOT`` (a YAML file) and
``GILOT_ARGS`` (``key=value,...``); artifacts go beside lm-eval's samples.
"""

from __future__ import annotations

from gilot_plugin.harness.entry.process import attach_process, environment_settings

#: What is known of the evaluations so far.
attachment = attach_process(environment_settings())
