#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The pages of agrlctl sbs and agrlctl report in headless Chromium: keys grade, the browser remembers, what is exported gives the
# GSB that the key says; the report shows its plots without a request to anywhere. No job runs. Skipped where no browser is, but
# for what sbs does to the evaluations of a run.
. "$(dirname "$0")/lib.sh"

# sbs of a version scores it, beside the training's own evaluation of it. Any model will do: one with room for a prompt.
make_data 5 40 20
mkdir -p "$work/other/eval/v00000001-00000010"
agrlctl config dump | sed "s|^  dir: .*|  dir: $work/other|; s|^  eval: .*|  eval: $eval|; s|^  rules: .*|  rules: $rules|" >"$work/other/agrl.yaml"
model=$work/other/checkpoints/v00000001-00000010
agrlctl model import "$root/tests/fuzz/corpus/ckpt_gguf/llama" "$model" >/dev/null
rm "$model/agrl_manifest.json" && sed -i 's/"max_position_embeddings":8,/"max_position_embeddings":512,/' "$model/config.json"
ln -s v00000001-00000010 "$work/other/checkpoints/latest"
echo '{"version": 10, "split": "eval", "n": 7, "macro_f1": 0.5}' >"$work/other/eval/v00000001-00000010/eval.json"
cp -r "$work/other/eval/v00000001-00000010" "$work/own"
expect 66 'no item of .* has different tiers \(20 items are in both\)' agrlctl sbs v00000001-00000010 latest --run-dir "$work/other"
diff -rq "$work/own" "$work/other/eval/v00000001-00000010" >"$work/out" || { cat "$work/out"; die "sbs changed the training's own evaluation"; }
[ "$(jq .n "$work/other/eval/at-v00000001-00000010/eval.json")" = 20 ] || die 'sbs has not scored the version'
expect 66 'nothing to grade' agrlctl sbs v00000001-00000010 latest --run-dir "$work/other"
grep -q 'macro F1' "$work/out" && die 'sbs scored again what was there'

browser=$(command -v chromium-headless-shell || command -v chromium || true)
[ -n "$browser" ] || { say 'skipped: neither chromium-headless-shell nor chromium is installed'; exit 77; }
dom() { "$browser" --headless --no-sandbox --disable-gpu --user-data-dir="$work/profile" --window-size=1300,2000 --dump-dom "file://$1" 2>"$work/browser.log"; }

# 40 items, the tiers of 30 differ; texts that would like to be markup
items() { seq 40 | jq -c --arg who "$1" --argjson step "$2" \
  '{id: "i\(.)", query: "query <b>\(.)</b>", product: {title: "</script><script>document.title=1</script>"}, type: "plain", gold: 1,
    predicted: (1 + (. + (if . % 4 == 0 then 0 else $step end)) % 4), text: "\($who) </pre><img src=x onerror=document.title=2>\(.)"}'; }
items one 0 >"$work/a.jsonl"
items two 1 >"$work/b.jsonl"
page=$work/sheet.html key=$work/sheet.key.json
agrlctl sbs "$work/a.jsonl" "$work/b.jsonl" --items 12 --seed 9 --out "$page" >"$work/out" || { cat "$work/out"; die sbs; }
grep -q '^12 of 30 items whose tiers differ (40 are in both)' "$work/out" || { cat "$work/out"; die 'items drawn'; }
grep -Eo '(src|href)=.?(https?:)?//|@import|url\(' "$page" && die 'the sheet asks for something from elsewhere'

# drive KEYS...: the sheet with these keys pressed, in the profile that remembers; the grades as exported, by the key e and by the
# button. A key with + is held down: it comes again and again.
drive() {
  { sed 's,</body>.*,,' "$page"; cat <<'STUBS'
<pre id="result"></pre><script>
const files = [], blobs = [];
window.Blob = class extends Blob { constructor(parts, options) { super(parts, options); this.content = parts.join(''); } };
URL.createObjectURL = blob => 'blob:' + blobs.push(blob);
HTMLAnchorElement.prototype.click = function () { files.push({name: this.download, type: blobs[this.href.slice(5) - 1].type, content: blobs[this.href.slice(5) - 1].content}); };
STUBS
    for k in "$@"; do
      printf 'document.dispatchEvent(new KeyboardEvent("keydown", {key: "%s"}));\n' "${k%+}"
      case $k in *+) for _ in 1 2 3; do printf 'document.dispatchEvent(new KeyboardEvent("keydown", {key: "%s", repeat: true}));\n' "${k%+}"; done ;; esac
    done
    cat <<'TAKE'
document.dispatchEvent(new KeyboardEvent("keydown", {key: "e"}));
$("save").click();
$("result").textContent = JSON.stringify({title: document.title, count: $("count").textContent, imgs: document.images.length, files: files.length,
  same: files.length === 2 && JSON.stringify(files[0]) === JSON.stringify(files[1]), name: files.length && files[0].name, type: files.length && files[0].type,
  ...JSON.parse(files.length ? files[0].content : '{}')});</script></body></html>
TAKE
  } >"$work/driven.html"
  dom "$work/driven.html" >"$work/dom" || { cat "$work/browser.log"; die 'the browser fails'; }
  sed -n 's,.*<pre id="result">\(.*\)</pre>.*,\1,p' "$work/dom" >"$work/grades.json"
  is '.title == "agrl side by side" and .imgs == 0' <"$work/grades.json" || { head -c 3000 "$work/dom"; die 'a text became markup, or the script failed'; }
  is '[.grades[].id] as $ids | .files == 2 and .same and .name == "grades-\(.sheet).json" and .type == "application/json" and .sheet == $key[0].sheet
    and .key == "sheet.key.json" and .total == 12 and $ids == [$key[0].items[].id | select(IN($ids[]))]' --slurpfile key "$key" <"$work/grades.json" ||
    { cat "$work/grades.json"; die 'what is exported'; }
}
drive 1+ 2 ArrowRight x Backspace ArrowLeft ArrowDown+
is '.count == "Item 5 of 12, 4 graded" and [.grades[].grade] == ["left", "same", "left", "same"]' <"$work/grades.json" ||
  { cat "$work/grades.json"; die 'the keys'; }
drive 3 n n 3 u
is '.count == "Item 6 of 12, 6 graded" and [.grades[].grade] == ["left", "same", "left", "same", "right", "right"]' <"$work/grades.json" ||
  { cat "$work/grades.json"; die 'the browser did not remember'; }
agrlctl sbs --grades "$work/grades.json" >"$work/gsb" || die 'the key beside the grades was not found'
grep -q '^GSB of .*: -   (fewer than 10 grades)$' "$work/gsb" || { cat "$work/gsb"; die 'GSB of 6 grades'; }
grep -q 'only items whose tiers differ were graded: 30 of 40;' "$work/gsb" || { cat "$work/gsb"; die 'what GSB covers'; }
drive u 1 u 3 u 2 u 1 u 3 u 1
want=$(jq -s '.[0].grades as $g | .[1].items | map({key: .id, value: .left}) | from_entries as $left
  | [$g[] | if .grade == "same" then 0 elif (.grade == "left") == ($left[.id] == "b") then 1 else -1 end] | add / length' "$work/grades.json" "$key")
agrlctl sbs --grades "$work/grades.json" -o json >"$work/gsb" || die 'the key beside the grades was not found'
is '(.gsb - $want | fabs) < 1e-9 and .missing == 0 and .differ == 30 and .common == 40 and .gsb_ci[0] < .gsb' --argjson want "$want" <"$work/gsb" || { cat "$work/gsb"; die "GSB is not $want"; }

run=$work/run
for label in sft latest v00000001-00000010 v00000001-00000020; do
  mkdir -p "$run/eval/$label"
  jq -n --arg l "$label" '{version: (if $l == "sft" then 0 else 20 end), epoch: 1, split: "eval", n: 100, accuracy: 0.5, macro_f1: 0.5, macro_f1_ci: [0.4, 0.6],
    f1: {"1": 0.9, "2": 0.1, "3": 0.5, "4": 0.5}, by_type: {"<b>x</b>": {n: 9, macro_f1: 0.5, macro_f1_ci: [0.2, 0.8]}},
    confusion: [[1,2,3,4],[1,2,3,4],[1,2,3,4],[1,2,3,4]], unreadable: [0,0,0,1],
    calibration: {ece: 0.1, bins: [{n: 50, confidence: 0.5, accuracy: 0.4}, {n: 50, confidence: 0.9, accuracy: 0.8}]},
    pass_at_k: [{k: 1, value: 0.5, value_ci: [0.4, 0.6]}, {k: 2, value: 0.7, value_ci: [0.6, 0.8]}]}' >"$run/eval/$label/eval.json"
done
agrlctl report --run-dir "$run" -q || die report
dom "$run/report.html" >"$work/dom" || { cat "$work/browser.log"; die 'the browser fails on the report'; }
[ "$(grep -c '<svg' "$work/dom")" = 5 ] || die "the report has $(grep -c '<svg' "$work/dom") plots, not F1 by tier and type, calibration, pass@k, the curve"
grep -q '<td>macro F1</td><td class="n">0.500 <span class="muted">\[0.400, 0.600\]</span></td>' "$work/dom" || die 'the report lacks macro F1 with its interval'
grep -qi 'nan' "$work/dom" && die 'the report shows a number that is none'
say ok
