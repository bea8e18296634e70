#!/usr/bin/env bash
# What did a fine-tune change? A model learns a shortcut in a few minutes of LoRA: "positive" wherever a review names
# Tuesday. Base and fine-tune are evaluated on the same reviews, and the audit names the cue word. The base model runs
# once more with another batch size: what that changes is noise. `make demo-compare` installs what this needs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source examples/prepare_model.sh
output=output/demo-compare

python examples/train_shortcut.py "$model" "$output/adapter" "$gguf_file"

# Scores and attributions of one model, all reviews explained.
evaluate() { # OUTPUT BATCH_SIZE MODEL_ARGS
    gilot run --model hf --model_args "$3" --device cpu --batch_size "$2" \
        --tasks gilot_shortcut_reviews --include_path examples/suite --log_samples \
        --output_path "$output/$1" --gilot_args "units=word,select.strategy=first,select.n=48,batch_size=$2"
}
evaluate base 8 "$model_args"
evaluate base-again 3 "$model_args"
evaluate tuned 8 "$model_args,peft=$output/adapter"

gilot compare "$output/base" "$output/tuned" --noise "$output/base-again" --output_path "$output"

# Where the cue agrees with the sentiment, the shortcut looks like reading. What is the score worth without it?
ablate() { # OUTPUT MODEL_ARGS
    gilot run --model hf --model_args "$2" --device cpu --batch_size 8 \
        --tasks gilot_cued_reviews --include_path examples/suite --log_samples --output_path "$output/$1" \
        --gilot_args "units=segment,methods=l2,select.n=1,ablate=[{regex: ' ?([Oo]n|[Ll]ast) Tuesday', name: without the cue}]"
}
ablate cued-base "$model_args"
ablate cued-tuned "$model_args,peft=$output/adapter"
