#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The bytes of a weight version against the learning rate, as a table and a figure: runs `agrl-bench weights_lr` (or reads
# its lines from FILE) and writes OUT/weights-lr.md and OUT/weights-lr.svg.
#   tests/bench/weights_lr.sh build/bin/agrl-bench deploy/doc [FILE]
set -eu
bench=$1 out=$2
lines=$(if [ $# -gt 2 ]; then cat "$3"; else "$bench" weights_lr; fi)
rows=$(printf '%s\n' "$lines" | jq -r 'select(.case == "weights_lr") |
  [.model, .parameters, .learning_rate, .changed_ratio, .full_bytes, .delta_bytes, .bits_per_changed_word] | @tsv')

{
  cat <<'TEXT'
# Bytes of a weight version against the learning rate

AdamW on real gradients (next-token prediction on drawn sequences, random weights, moments filled before the first version
counted), bf16 words served; mean of the versions measured. `tests/bench/weights_lr.sh build/bin/agrl-bench deploy/doc`
makes this page and [the figure](weights-lr.svg).

| model | learning rate | words changed | full bytes | delta bytes | delta / full | bits a changed word |
|---|---|---|---|---|---|---|
TEXT
  printf '%s\n' "$rows" | awk -F '\t' '{ printf "| %s (%.1f M) | %g | %.2f %% | %d | %d | %.2f %% | %.1f |\n", $1, $2 / 1e6, $3, 100 * $4, $5, $6, 100 * $6 / $5, $7 }'
} >"$out/weights-lr.md"

printf '%s\n' "$rows" | awk -F '\t' '
function lg(v) { return log(v) / log(10) }
function px(lr) { return 70 + (lg(lr) + 6) * 230 }          # 1e-6 to 1e-4
function py(share) { return 40 - lg(share) * 120 }          # 1 down to 0.01
function text(x, y, anchor, s, ink) { printf "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\" fill=\"%s\">%s</text>\n", x, y, anchor, ink == "" ? "#1f2933" : ink, s }
function rule(x1, y1, x2, y2) { printf "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"#d9dee3\"/>\n", x1, y1, x2, y2 }
BEGIN {
  print "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"620\" height=\"350\" font-family=\"sans-serif\" font-size=\"12\" fill=\"#1f2933\">"
  print "<rect width=\"620\" height=\"350\" fill=\"#ffffff\"/>"
  text(70, 24, "start", "Bytes of a version as a delta, share of the full bf16 weights, against the learning rate")
  split("1 0.3 0.1 0.03 0.01", y, " ")
  for (i = 1; i <= 5; i++) { rule(70, py(y[i]), 530, py(y[i])); text(64, py(y[i]) + 4, "end", 100 * y[i] " %") }
  split("1e-6 3e-6 1e-5 3e-5 1e-4", x, " ")
  for (i = 1; i <= 5; i++) { rule(px(x[i]), 40, px(x[i]), 280); text(px(x[i]), 298, "middle", x[i]) }
  text(300, 322, "middle", "learning rate")
  color["quickstart"] = "#1864ab"; color["135m"] = "#d9480f"
}
{
  if ($1 != last) { if (last != "") print "\"/>"; printf "<polyline fill=\"none\" stroke-width=\"2\" stroke=\"%s\" points=\"", color[$1] }
  printf "%.1f,%.1f ", px($3), py($6 / $5)
  last = $1; end[$1] = py($6 / $5); dots = dots sprintf("<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" fill=\"%s\"/>\n", px($3), py($6 / $5), color[$1])
}
END {
  print "\"/>"; printf "%s", dots
  for (m in end) text(538, end[m] + (m == "135m" ? -2 : 12), "start", m, color[m])
  print "</svg>"
}' >"$out/weights-lr.svg"
