#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# agrlctl doctor before a job is there: the memory that the model of model.init takes, with adapters and without, and data.dev's rows.
. "$(dirname "$0")/lib.sh"
make_data 5 40 20
cp "$rules" "$work/rules.yaml"
# The shape of SmolLM2-135M, to which tiny.yaml's is nothing; weights are not needed to tell its size.
mkdir "$work/model"
echo '{"model_type": "llama", "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3,
  "vocab_size": 49152, "max_position_embeddings": 2048, "rope_theta": 100000, "rms_norm_eps": 1e-5, "tie_word_embeddings": true, "eos_token_id": 2}' \
  >"$work/model/config.json"
doctor() {  # doctor MODEL [LINE]: with model.init MODEL and one more line of configuration
  { grep -v '^model:' "$here/tiny.yaml"; echo "model: {init: $1, context: 176}"; echo "${2:-}"
    echo "data: {train: $train, eval: $eval, dev: $work/dev.jsonl}"; } >"$work/agrl.yaml"
  agrlctl doctor --config "$work/agrl.yaml" --run-dir "$run" >"$work/out" 2>&1 || true  # ports may be in use
}
has() { grep -Eq "$1" "$work/out" || { cat "$work/out"; die "no '$1'"; }; }

head -n 7 "$work/data/eval_natural.jsonl" >"$work/dev.jsonl"
doctor "$work/model"
has ' about 61[0-9]{2} MiB needed for 134\.5 million parameters'
has '^ok .*data\.dev: 7 rows in '
doctor "$work/model" 'lora: {rank: 16}'
has ' about 5[45][0-9]{2} MiB needed for 134\.5 million parameters'
doctor "$work/model" 'lora: {rank: 2000}'
has '^WRONG .*model\.init: .*rank'
rm "$work/dev.jsonl"
doctor "$work/none"
has '^WRONG .*model\.init: .*none/config\.json'
has '^WRONG .*data\.dev: .*dev\.jsonl'
doctor '""'
has 'needed for [0-9]\.[0-9] million parameters'
say ok
