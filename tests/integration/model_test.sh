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
agrlctl model inspect "$seed" -o json | jq -e '.format == "GGUF 3" and .parameters == 492 and .manifest == "none" and
  (.tensors[] | select(.name == "blk.0.attn_v.weight") | .dtype == "F16" and .shape == [4, 4])' >/dev/null || die "inspect of the GGUF file"
agrlctl model inspect "$work/a" -o json | jq -e '.architecture == "llama" and .parameters == 492 and .manifest == "ok" and
  .end.text == "<|e|>" and .start == null and .chat_template == "none" and (.tensors | length) == 11' >/dev/null || die "inspect of the directory"
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
[ ! -e "$work/c" ] || die "a refused import left $work/c"
printf x >>"$work/a/tokenizer.json"
refused 65 'the manifest says' agrlctl model inspect "$work/a"
say ok
