#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# agrlctl rules: check tells what a file pays and what the data never uses, and names the rule and the rows where gold does not
# pass; explain tells a trace line by line. Text and JSON, exit codes.
. "$(dirname "$0")/lib.sh"
make_data 5 400 20
holds() { is "$1" <"$work/out" || { cat "$work/out"; die "not so: $1"; }; }
line_of() { grep -n -m 1 -F -e "$1" "$2" | cut -d: -f1; }

expect 0 'dominance: holds; a right tier earns at least 0.6, a wrong one at most 0.4' agrlctl rules check "$rules" --data "$train"
grep -q '400 rows, 400 checked (400 with a reference trace), 400 pass' "$work/out" || die 'the pass rate is not told'
[ "$(grep -c '^example ' "$work/out")" = 7 ] || die 'not seven examples: one a tier, three changed'
expect 0 '' agrlctl rules check "$rules" --data "$train" -o json
holds '.ok and .data.passed == 400 and (.data.failing | length) == 0'
holds '[.examples[].explanation | [.reward, .closed]] == [[1, null], [1, null], [1, null], [1, null], [0, "format"], [0, "agree"], [0, "table"]]'
holds '.examples[4].explanation | .absent[0].part == "verdict" and .earned == 1'
holds '[.uses[] | select(.kind == "value" and .unused == null)] | length == 7'
expect 0 '' agrlctl rules check "$root/deploy/etc/rules-esci.yaml" -o json
holds '[.examples[].explanation.closed] == [null, null, null, null, "format", "agree", null]'
holds '.examples[6].explanation.reward == 0'

# One rule that permits the wrong tier: the line of that rule, how many rows and their ids. A value and a rule that nothing uses.
sed -e 's/attribute: partial, permit: \[3\]/attribute: partial, permit: [2]/' -e 's/\[match, related, mismatch\]/[match, related, mismatch, twin]/' \
  -e 's/category: mismatch, attribute: any/category: [mismatch, twin], attribute: any/' \
  -e '/^gates:/i\  - {category: twin, attribute: none, permit: [1]}' "$rules" >"$work/wrong.yaml"
at=$(line_of 'partial, permit: [2]' "$work/wrong.yaml")
wrong=$(jq -s '[.[] | select(.gold.category == "match" and .gold.attribute == "partial")] | length' "$train")
first=$(jq -rs '[.[] | select(.gold.category == "match" and .gold.attribute == "partial")][0].id' "$train")
[ "$wrong" -gt 4 ] || die 'the data has too few such rows for this test'
expect 78 "wrong.yaml:$at: $wrong rows \($first, .*no rule permits tier 3 for category match, attribute partial; the rule: category match, attribute partial permits 2" \
  agrlctl rules check "$work/wrong.yaml" --data "$train"
grep -q "unused: $work/wrong.yaml:$(line_of 'name: category, prefix' "$work/wrong.yaml"): value category twin: in no gold label" "$work/out" || die 'the unused value is not named'
grep -q "unused: $work/wrong.yaml:$(line_of 'category: twin' "$work/wrong.yaml"): rule category twin, attribute none permits 1" "$work/out" || die 'the unused rule is not named'
agrlctl rules check "$work/wrong.yaml" --data "$train" -o json >"$work/out" 2>/dev/null && die 'an unsound file passes with -o json'
holds ".ok == false and .data.failing[0].line == $at and .data.failing[0].rows == $wrong and .data.failing[0].ids[0] == \"$first\""
sed 's/permit: \[1\]/permit: [2]/' "$rules" >"$work/never.yaml"
expect 78 "never.yaml:$(($(line_of 'rules:' "$work/never.yaml") + 1)):[0-9]+: rules: tier 1 is never permitted" agrlctl rules check "$work/never.yaml"
sed 's/weight: 0.6/weight: 0.2/; 0,/weight: 0.2, missing: reweight/s//weight: 0.6, missing: reweight/' "$rules" >"$work/weak.yaml"
expect 78 "weak.yaml:$(line_of 'name: tier, line' "$work/weak.yaml"):[0-9]+: .*tier's weight 0.2 must be greater" agrlctl rules check "$work/weak.yaml"
expect 66 'absent' agrlctl rules check "$rules" --data "$work/absent.jsonl"
expect 64 'expected: check FILE' agrlctl rules check

# explain: a trace from standard input or a file, against a row
id=$(jq -rs '[.[] | select(.gold.tier == 4 and .gold.attribute == "match")][0].id' "$train")
printf '4\n[Query] a\x1b[2J\n[Product] b\n[Category] match\n[Attribute] partial\n[Verdict] 4' >"$work/trace"
at=$(line_of 'category: match, attribute: partial' "$rules")
explain() { agrlctl rules explain "$1" --rules "$rules" --data "$train" --row "$id" "${@:2}"; }
expect 0 "table    closed: tier 4 is not permitted: $rules:$at: category match, attribute partial permits 3" explain "$work/trace"
grep -q 'attribute *0.100 of 0.2 *adjacent: read partial, gold match' "$work/out" || die 'the attribute is not adjacent'
grep -q 'reward 0: gate table is closed; the criteria would give 0.900' "$work/out" || die 'the reward is not told'
grep -qF '[Query] a\x1b[2J' "$work/out" || die 'a control character reaches the terminal'
explain - -o json <"$work/trace" >"$work/out"
holds '.explanation | .closed == "table" and .reward == 0 and .criteria[2].points == 0.1 and .lines[1].part == "query"'
explain - <"$work/trace" | grep -q 'trace of standard input, row '"$id" || die 'the row is not named'
expect 66 "no row 'nobody'" agrlctl rules explain "$work/trace" --rules "$rules" --data "$train" --row nobody
expect 64 'needs --data FILE and --row ID' agrlctl rules explain "$work/trace" --rules "$rules"
expect 66 'replay' agrlctl rules explain 1/0 --rules "$rules" --run-dir "$work/nowhere"
say ok
