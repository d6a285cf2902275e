#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# agrlctl traces and rules explain on a real store of at least 5,000 traces, some of them from prompts that are hostile to a page:
# written while the job runs and after it; in headless Chromium the page opens in under 2 s, its filters find what the export
# says, the keys work, every token is shown, a trace's criteria, gates, rules, guidance and mates are those that rules explain and
# the export tell, and no text becomes markup. The browser's part is skipped where there is none.
. "$(dirname "$0")/lib.sh"
make_data 5 3000 20
evil='</script><script>document.title="owned"</script><img src=x onerror="document.title=1"> "quotes'"'"' & \u003c/pre>'
jq -c --arg evil "$evil" 'if (input_line_number % 10) == 0 then .query += " " + $evil | .product.title = "<b>" + .product.title else . end' "$train" >"$work/evil.jsonl"
train=$work/evil.jsonl
start_job --no-eval --set grpo.versions=8 --set grpo.groups_per_step=40 --set model.context=256 --set sft.steps=400 --set obs.log_level=info
some_traces() { [ "$(agrlctl replay ls --run-dir "$run" --limit 300 2>/dev/null | wc -l)" -gt 250 ]; }
wait_for 120 'traces in the store' some_traces
agrlctl traces --run-dir "$run" -o "$work/running.html" >"$work/out" || { cat "$work/out"; die 'traces while the job runs'; }
grep -q '</html>' "$work/running.html" || die 'the page written while the job runs is not whole'
wait_for 150 'end of the job' job_over
agrlctl traces --run-dir "$run" >"$work/out" || { cat "$work/out"; die 'traces of a job that is over'; }
cat "$work/out"
page=$run/traces.html
agrlctl replay export --run-dir "$run" --out "$work/store.jsonl" >/dev/null
total=$(wc -l <"$work/store.jsonl")
[ "$total" -ge 5000 ] || die "only $total traces"
grep -q "$total of $total traces in " "$work/out" || die "not all of $total traces"
[ "$(grep -o '</script' "$page" | wc -l)" = 2 ] || die 'a text ends a script element'
grep -Eo '(src|href)=.?(https?:)?//|@import|url\(' "$page" && die 'the page asks for something from elsewhere'
agrlctl traces --run-dir "$run" --limit 100 -o "$work/few.html" | grep -Eq "^agrlctl: (9[0-9]|100|8[0-9]) of $total" || die '--limit 100'
agrlctl traces --run-dir "$run" --limit 1 -o "$work/one.html" >"$work/out" || { cat "$work/out"; die '--limit 1'; }
grep -Eq "^agrlctl: [1-9][0-9]* of $total traces" "$work/out" || { cat "$work/out"; die '--limit 1 writes no group'; }
got=0
agrlctl traces --run-dir "$run" -o "$work/no/such/dir.html" 2>"$work/out" >/dev/null || got=$?
[ $got = 66 ] && grep -q 'no/such' "$work/out" || die "a file that cannot be written: exit $got"
got=0
agrlctl traces --run-dir "$work/nowhere" 2>"$work/out" || got=$?
[ $got = 66 ] || die "a job without a store: exit $got"

# explain says of stored traces what was stored, whatever closed them
told=0
for pick in '.reward == 1' '.g_format == false' '.g_format and (.g_rule | not)' '.level > 0' '.reward > 0 and .reward < 0.5'; do
  id=$(jq -r "select($pick) | \"\(.group)/\(.member)\"" "$work/store.jsonl" | sed -n 1p)
  [ -n "$id" ] || { say "no trace has $pick"; continue; }
  told=$((told + 1))
  agrlctl rules explain "$id" --run-dir "$run" -o json >"$work/explained" || die "rules explain $id"
  is '.stored.differs == false and .stored.reward == .explanation.reward' <"$work/explained" || { cat "$work/explained"; die "$id, $pick"; }
done
[ "$told" -ge 3 ] || die "only $told of 5 kinds of traces are in the store: rules explain is not tested"

browser=$(command -v chromium-headless-shell || command -v chromium || true)
[ -n "$browser" ] || { say 'skipped: neither chromium-headless-shell nor chromium is installed'; exit 77; }
# dom FILE [WIDTH]
dom() { "$browser" --headless --no-sandbox --disable-gpu --user-data-dir="$work/profile" --window-size="${2:-1400}",900 --dump-dom "file://$1" 2>"$work/browser.log"; }
fastest=99999
for _ in 1 2 3; do
  dom "$page" >"$work/dom" || { cat "$work/browser.log"; die 'the browser fails'; }
  ready=$(grep -o 'data-ready="[0-9]*"' "$work/dom" | tr -dc 0-9)
  [ -n "$ready" ] || { head -c 2000 "$work/dom"; die 'the script did not come to its end'; }
  [ "$ready" -ge "$fastest" ] || fastest=$ready
  [ "$fastest" -ge 2000 ] || break
done
[ "$fastest" -lt 2000 ] || die "the page needs $fastest ms"

# Of one plain, one guided and two gate-closed traces, all that the page is to show: the explanation, the guidance by the rule
# file's templates, the group. One of the last two kinds may be missing in a store that the timing decides.
known() {
  local trace=$1 id
  id=$(jq -r '"\(.group)/\(.member)"' <<<"$trace")
  agrlctl rules explain "$id" --run-dir "$run" -o json >"$work/explained" || die "rules explain $id"
  jq -cs --argjson t "$trace" --slurpfile e "$work/explained" --slurpfile rows "$train" '
    def list: if length > 0 then join(", ") else "none" end;
    ($rows[] | select(.id == $t.prompt_id)) as $row
    | {id: "\($t.group)/\($t.member)", trace: $t, explained: $e[0].explanation, mates: (map(select(.group == $t.group)) | sort_by(.member) | map([.member, .text])),
       guidance: (["Must: \($row.must | list). Not: \($row.not | list).\n", "Category: \($row.gold.category).\n", "Attribute: \($row.gold.attribute).\n",
         "Tier: \($row.gold.tier).\n"][:$t.level] | add // "")}' "$work/store.jsonl" >>"$work/known.jsonl"
}
picked=0
for pick in '.level == 0 and .reward > 0' '.level > 0' '.g_format and (.g_rule | not)' '.g_format == false'; do
  trace=$(jq -cs "map(select($pick)) | max_by(.level) // empty" "$work/store.jsonl")
  [ -n "$trace" ] || { [ "${pick#*g_}" != "$pick" ] && say "no trace has $pick" && continue; die "no trace has $pick"; }
  known "$trace"
  picked=$((picked + 1))
  [ "$(wc -l <"$work/known.jsonl")" = $picked ] || { jq -c .id "$work/known.jsonl"; die "not one row of $train is that of the trace with $pick: $(jq -r .prompt_id <<<"$trace")"; }
done
[ $picked -ge 3 ] || die "only $picked of 4 kinds of traces are in the store: what the page shows is not tested"

# The page drives itself: sets filters, presses keys, and compares with what the export says.
count() { jq -s "map(select($1)) | length" "$work/store.jsonl"; }
prompts=$(jq -r --arg evil "$evil" 'select(.query | contains($evil)) | .id' "$train" | jq -Rs 'split("\n")')
cat >"$work/want.json" <<WANT
{"total": $total, "tier": $(count '.tier == 4'), "gold": $(count '.gold_tier == 2'), "level": $(count '.level == 1'),
 "reward": $(count '.missing == false and .reward >= 0.55 and .reward <= 0.95'), "format": $(count '.g_format | not'),
 "rules": $(count '.g_format and (.g_rule | not)'), "outcome": $(count '.accurate | not'),
 "closed": $(count '.g_rule | not'), "chosen": $(count '.chosen'), "version": $(count '.first_version <= 4 and .last_version >= 3'),
 "last": $(jq -s 'map([.group, .member]) | max | map(tostring) | join("/")' "$work/store.jsonl"),
 "evil": $(jq -s --argjson ids "$prompts" 'map(select(.prompt_id | IN($ids[]))) | length' "$work/store.jsonl"),
 "known": $(jq -s . "$work/known.jsonl"), "lines": $(jq -Rs 'split("\n")' "$rules"),
 "texts": $(jq -sc '[range(0; length; 97) as $i | .[$i] | ["\(.group)/\(.member)", .text]]' "$work/store.jsonl")}
WANT
is '.evil > 0 and .level > 0 and .closed > 0 and .reward > 0' <"$work/want.json" || { jq -c 'del(.texts, .known, .lines)' "$work/want.json"; die 'the store lacks what the filters are to find'; }
{ sed 's,</body>.*,,' "$page"; printf '<script type="application/json" id="want">'; sed 's,<,\\u003c,g' "$work/want.json"; cat <<'DRIVER'
</script><pre id="result"></pre><script>
(() => {
  const want = JSON.parse(document.getElementById('want').textContent), $ = id => document.getElementById(id), wrong = [];
  const check = (what, got, wanted) => { if (got !== wanted) wrong.push(what + ': ' + JSON.stringify(got) + ', wanted ' + JSON.stringify(wanted)); };
  const shown = () => +$('count').textContent.split(' ')[0];
  const set = (id, value) => { $(id).value = value; $(id).dispatchEvent(new Event('input')); };
  const find = (what, fields) => {
    for (const id in fields) set(id, fields[id]);
    check(what, shown(), want[what]);
    press('x');
    check('all after ' + what, shown(), want.total);
  };
  const press = key => document.dispatchEvent(new KeyboardEvent('keydown', {key}));
  const on = () => document.querySelector('.row.on .i').textContent;
  find('tier', {tier: 4}); find('gold', {gold: 2}); find('level', {level: 1}); find('reward', {r0: 0.55, r1: 0.95});
  find('format', {gate: 'format'}); find('rules', {gate: 'rules'}); find('outcome', {gate: 'outcome'}); find('closed', {gate: 'closed'});
  find('chosen', {state: 'chosen'}); find('version', {v0: 3, v1: 4}); find('evil', {q: '<' + '/script><script>document.title="OWNED"'});
  set('q', 'no prompt says this'); check('nothing', shown(), 0); press('j'); press('x');
  if (document.querySelectorAll('.row').length > 150) wrong.push('rows are not lazy');
  const first = on();
  press('j'); press('j'); const third = on(); press('k'); press('ArrowDown');
  check('j k', on(), third); check('row moved', third !== first, true);
  press('End'); check('End', on(), want.last); press('Home'); check('Home', on(), first);
  press('l'); check('next group', on().split('/')[0] !== first.split('/')[0], true); press('h'); check('previous group', on(), first);
  press('c'); check('c', !!document.querySelector('main .text .v0, main .text .v1, main .text .v2, main .text .v3, main .text .v4, main .text .v5'), true);
  press('c'); press('c'); check('c again', !!document.querySelector('main .text .l0'), true);
  press('/'); check('/', document.activeElement.id, 'q'); document.activeElement.blur(); press('Escape'); check('Esc', document.activeElement.id, 'list');
  for (const [id, text] of want.texts) {
    location.hash = '#' + id; window.onhashchange();
    check('selected', on(), id);
    const pre = [...document.querySelectorAll('main > pre.text')].pop();
    for (const end of pre.querySelectorAll('.end')) end.remove();
    check('text of ' + id, pre.textContent, text);
    if (!document.querySelector('.mate.on')) wrong.push(id + ' is not among its mates');
  }
  const same = (what, got, wanted) => check(what, JSON.stringify(got), JSON.stringify(wanted));
  const table = (cls, n) => [...document.querySelectorAll('main .' + cls + ' tr')].slice(1).map(r => [...r.children].slice(0, n).map(c => c.textContent));
  const rules = cls => [...document.querySelectorAll('main .' + cls + ' td.rule')].map(c => c.textContent);
  const rule = place => { const n = +place.split(':').pop(); return 'rules.yaml:' + n + '  ' + want.lines[n - 1].trim().replace(/^- /, ''); };
  const block = head => { const h = [...document.querySelectorAll('main h3')].find(e => e.textContent.startsWith(head)); return h ? h.nextSibling.textContent : ''; };
  const data = JSON.parse($('data').textContent), quantised = atob(data.logprobs);
  // the log-prob of token k of a trace, as the page has it: 255 steps of a square root
  function logprob(trace, k) {
    let at = k;
    for (let i = 0; data.g.id[data.t.g[i]] !== trace.group || data.t.m[i] !== trace.member; i++) at += data.t.n[i];
    return -20 * (quantised.charCodeAt(at) / 255) ** 2;
  }
  let unsure = 0;
  for (const {id, trace, explained, mates, guidance} of want.known) {
    location.hash = '#' + id; window.onhashchange();
    check('reward of ' + id, [...document.querySelectorAll('main h3')].filter(e => e.textContent === 'Reward ' + trace.reward.toFixed(3)).length, 1);
    same('criteria of ' + id, table('criteria', 6), explained.criteria.map(c => [c.name, c.read, c.gold, c.judged, c.points.toFixed(3), c.weight.toFixed(3)]));
    explained.criteria.forEach((c, k) => check('rule of ' + c.name + ' of ' + id, (rules('criteria')[k] || '').startsWith(rule(c.rule)), true));
    same('gates of ' + id, table('gates', 3), explained.gates.map(g => [g.name, g.open ? 'open' : g.counts ? 'closed' : 'closed, does not count',
      g.why || (g.name === 'table' && explained.matched_rules.length ? 'permitted' : '')]));
    explained.gates.forEach((g, k) => { if (!g.open) check('rule of ' + g.name + ' of ' + id, (rules('gates')[k] || '').startsWith(rule(g.rule)), true);
      else same('rules of ' + g.name + ' of ' + id, rules('gates')[k], g.name === 'table' ? explained.matched_rules.map(rule).join('\n') : ''); });
    check('guidance of ' + id, block('Guidance of level ' + (trace.level || '')), guidance);
    same('mates of ' + id, [...document.querySelectorAll('.mate')].map(m => {
      const pre = m.querySelector('pre').cloneNode(true);
      for (const end of pre.querySelectorAll('.end')) end.remove();
      return [+m.firstChild.textContent.split(' ')[1], pre.textContent];
    }), mates);
    const spans = [...document.querySelectorAll('main > pre.text')].pop().children;
    check('tokens of ' + id, spans.length, trace.tokens);
    [...spans].forEach((s, k) => {
      const [, lp, percent, version] = /^log-prob (-?[0-9.]+) \(([-+0-9.e]+) %\), version ([0-9]+)$/.exec(s.title) || [], is = logprob(trace, k);
      check('title of token ' + k + ' of ' + id + ', ' + s.title, Math.abs(lp - is) < 0.001 && Math.abs(percent / 100 / Math.exp(is) - 1) < 0.01 &&
        version >= trace.first_version && version <= trace.last_version, true);
      unsure += is < -0.1;
    });
  }
  check('tokens that were not sure', unsure > 0, true);
  check('title', document.title, 'agrl traces');
  check('elements from text', document.querySelectorAll('img, b:not(#count), #main script').length, 0);
  $('result').textContent = wrong.length ? 'WRONG ' + wrong.slice(0, 10).join('; ') : 'RIGHT';
})();
</script></body></html>
DRIVER
} >"$work/driven.html"
dom "$work/driven.html" >"$work/dom"
grep -q '<pre id="result">RIGHT</pre>' "$work/dom" || { grep -o '<pre id="result">.*' "$work/dom"; tail -n 5 "$work/browser.log"; die 'the page does not do what it should'; }

# A narrow window, and one prompt without a text: each rule stands below its row, the list has room for prompts, and still leaves
# out what the others begin with.
cat >"$work/empty" <<'EMPTY'
<script>
const data = document.getElementById('data'), changed = JSON.parse(data.textContent), full = changed.p.slice(1).map(p => p.text);
changed.p[0].text = '';
data.textContent = JSON.stringify(changed);
</script>
EMPTY
{ awk -v empty="$work/empty" '/^<script>$/ && !done { while ((getline line <empty) > 0) print line; done = 1 } { print }' "$page" | sed 's,</body>.*,,'
  cat <<'DRIVER'
<pre id="result"></pre><script>
(() => {
  const of = selector => document.querySelector(selector), wrong = [];
  const check = (what, holds) => { if (!holds) wrong.push(what); };
  check('room for prompts', of('.row:not(.head) .p').clientWidth >= 80);
  check('the table as blocks', getComputedStyle(of('main .criteria')).display === 'block');
  const row = [...document.querySelectorAll('main .criteria tr')].find(r => r.lastChild.className.includes('rule') && r.lastChild.textContent);
  check('the rule below its row', row && row.lastChild.getBoundingClientRect().top >= row.firstChild.getBoundingClientRect().bottom - 1);
  check('one prompt without a text, no more', full.every(text => text));
  const shown = [...document.querySelectorAll('#rows .p')].map(e => e.textContent).filter(text => text);
  check('prompts without their common start', shown.length && !shown.some(text => full.some(whole => whole.replace(/\s+/g, ' ') === text)));
  document.getElementById('result').textContent = wrong.length ? 'WRONG ' + wrong.join('; ') : 'RIGHT';
})();
</script></body></html>
DRIVER
} >"$work/narrow.html"
dom "$work/narrow.html" 1000 >"$work/dom"
grep -q '<pre id="result">RIGHT</pre>' "$work/dom" || { grep -o '<pre id="result">.*' "$work/dom"; tail -n 5 "$work/browser.log"; die 'the page does not do what it should in a narrow window'; }
say "$total traces, ready after $fastest ms, $(jq -c 'del(.texts, .known, .lines)' "$work/want.json")"
say ok
