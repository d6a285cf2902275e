#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# agrlctl model: a GGUF file (the fuzz seed, a whole tiny llama) is imported, inspected, exported in both dtypes and imported
# again with the same weights; what cannot be done is refused by name and with the exit code of its kind.
. "$(dirname "$0")/lib.sh"
seed=$root/tests/fuzz/corpus/ckpt_gguf/llama

# refused CODE WORDS COMMAND...
refused() {
  local code=$1 words=$2 got=0
  shift 2
  "$@" >"$work/out" 2>&1 || got=$?
  [ "$got" = "$code" ] || die "$*: exit code $got, expected $code: $(cat "$work/out")"
  grep -qF -e "$words" "$work/out" || die "$*: '$(cat "$work/out")' lacks '$words'"
}

agrlctl model import "$seed" "$work/a" >"$work/out" || die "import failed"
grep -q 'llama, 492 parameters in bf16' "$work/out" || die "import says: $(cat "$work/out")"
agrlctl model inspect "$seed" -o json | is '.format == "GGUF 3" and .parameters == 492 and .manifest == "none" and
  (.tensors[] | select(.name == "blk.0.attn_v.weight") | .dtype == "F16" and .shape == [4, 4])' || die "inspect of the GGUF file"
agrlctl model inspect "$work/a" -o json | is '.architecture == "llama" and .parameters == 492 and .manifest == "ok" and
  .end.text == "<|e|>" and .start == null and .chat_template == "none" and (.tensors | length) == 11' || die "inspect of the directory"
agrlctl model export "$work/a" "$work/f32" --dtype f32 >/dev/null
agrlctl model inspect "$work/f32" | grep -q ' F32 ' || die "export --dtype f32 wrote no F32"
agrlctl model import "$work/f32" "$work/b" >/dev/null
cmp "$work/a/model.safetensors" "$work/b/model.safetensors" || die "weights changed on the way through f32"
cmp "$work/a/tokenizer.json" "$work/b/tokenizer.json" || die "the tokenizer changed on the way"

cp -r "$work/f32" "$work/plain"  # as another program leaves it
rm "$work/plain/agrl_manifest.json"
printf '{"chat_template": "{{ messages[0] }}", "padding_side": "left"}' >"$work/plain/tokenizer_config.json"
agrlctl model import "$work/plain" "$work/kept" >/dev/null
cmp "$work/plain/tokenizer_config.json" "$work/kept/tokenizer_config.json" || die "tokenizer_config.json changed on the way"
[ "$(cat "$work/kept/chat_template.jinja")" = '{{ messages[0] }}' ] || die "the chat template of tokenizer_config.json was lost"

refused 73 'exists already' agrlctl model import "$seed" "$work/a"
refused 66 'No such file' agrlctl model import "$work/none.gguf" "$work/c"
refused 65 'more than the file can hold' agrlctl model import "$root/tests/fuzz/corpus/ckpt_gguf/huge_count" "$work/c"
refused 78 'arrays of arrays' agrlctl model inspect "$root/tests/fuzz/corpus/ckpt_gguf/nested"
refused 78 'has no chat template' agrlctl model chat "$work/a" hello
refused 64 'expected bf16 or f32' agrlctl model import "$seed" "$work/c" --dtype q4
refused 64 'expected: import' agrlctl model
# What config.json says, the tensors must bear out.
cp -r "$work/plain" "$work/bare" && rm "$work/bare/model.safetensors"
refused 66 'has no weights' agrlctl model inspect "$work/bare"
cp -r "$work/plain" "$work/misfit"
jq '.intermediate_size += 4' "$work/plain/config.json" >"$work/misfit/config.json"
refused 65 'has another shape than' agrlctl model inspect "$work/misfit"
jq '.num_hidden_layers += 1' "$work/plain/config.json" >"$work/misfit/config.json"
refused 65 'is missing' agrlctl model inspect "$work/misfit"
jq '.num_attention_heads = 100000' "$work/plain/config.json" >"$work/misfit/config.json"
for verb in inspect "import" "export"; do
  # shellcheck disable=SC2046
  refused 65 'config.json: model: heads' agrlctl model $verb "$work/misfit" $([ $verb = inspect ] || echo "$work/c")
done
LC_ALL=C sed 's/llama.feed_forward_length\(....\)\x02/llama.feed_forward_length\1\x04/' "$seed" >"$work/misfit.gguf"
refused 65 'is not the' agrlctl model inspect "$work/misfit.gguf"
# The architecture is told before the tokenizer, which is none that is read either.
sed 's/general.architecture\(.\{12\}\)llama/general.architecture\1mamba/; s/tokenizer.ggml.pre/tokenizer.ggml.per/' "$seed" >"$work/mamba.gguf"
refused 78 'general.architecture mamba is not one of' agrlctl model import "$work/mamba.gguf" "$work/c"
# Beside others that are at work, and what they left: theirs stays, one of them gets the place.
mkdir -p "$work/d.tmp" && touch "$work/d.tmp/precious"
for i in 1 2 3 4; do agrlctl model import "$seed" "$work/d" >"$work/import.$i" 2>&1 & done
made=0
for job in $(jobs -p); do
  code=0
  wait "$job" || code=$?
  case $code in 0) made=$((made + 1)) ;; 73) ;; *) cat "$work"/import.*; die "exit $code of an import beside others" ;; esac
done
[ $made = 1 ] || { cat "$work"/import.*; die "$made of four imports took one place"; }
agrlctl model inspect "$work/d" >/dev/null || die 'imported beside others, and not whole'
[ -e "$work/d.tmp/precious" ] || die "an import removed another's d.tmp"
[ "$(find "$work" -maxdepth 1 -name 'd.*' | wc -l)" = 1 ] || die 'an import left its temporary directory'
got=0
(ulimit -f 1 && trap '' XFSZ && agrlctl model export "$work/d" "$work/e" --dtype f32) >"$work/out" 2>&1 || got=$?
[ $got = 74 ] && ! grep -F .tmp "$work/out" && [ ! -e "$work/e" ] || die "a full disk: exit code $got, $(cat "$work/out")"
[ ! -e "$work/c" ] || die "a refused import left $work/c"
printf x >>"$work/a/tokenizer.json"
refused 65 'the manifest says' agrlctl model inspect "$work/a"
say ok
