#!/usr/bin/env bash
# The main job, offline: evaluate SmolLM2-135M-Instruct on two tasks of the example suite, explain three samples of each,
# and write the report. `make demo` installs what this needs and puts it on the PATH.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source examples/prepare_model.sh
output=output/demo

gilot run \
    --model hf --model_args "$model_args" --device cpu \
    --tasks gilot_short_answers,gilot_two_shot_choices --include_path examples/suite \
    --apply_chat_template --batch_size 8 --limit 8 --log_samples --output_path "$output" \
    --gilot examples/gilot.yaml

# The newest run of the folder.
gilot show "$output" --limit 2
gilot validate "$output"
echo
echo "All six explained samples:  .venv/bin/gilot show $output"
echo "The artifacts:"
find "$output" -type f -newer "$model" -name '*.json*' | sort | sed 's/^/    /'
echo "The report, for a browser:"
gilot report "$output" | sed 's/^/    /'
