// SPDX-License-Identifier: Apache-2.0
// The viewer's page: reads the embedded data once, filters in memory, and makes elements only for what is on the screen.
// Text reaches the document as text nodes only.
'use strict';
(() => {
const D = JSON.parse(document.getElementById('data').textContent);
const $ = id => document.getElementById(id);
const N = D.t.g.length, T = D.t, G = D.g, P = D.p;
const GATES = ['format', 'agree', 'table', 'outcome'];
const FORMAT = 1, RULE = 2, RIGHT = 4, CHOSEN = 8, MISSING = 16;  // bits of T.f
const JUDGED = {equal: 'ok', adjacent: 'muted', 'left out in this mode': 'muted', 'no gold label': 'muted'};  // all else is bad
const ROW = 24;

function bytes(base64) {
  const s = atob(base64), out = new Uint8Array(s.length);
  for (let i = 0; i < s.length; i++) out[i] = s.charCodeAt(i);
  return out;
}
const raw = bytes(D.tokens), probs = bytes(D.logprobs);
const tokens = D.wide ? new Uint32Array(raw.buffer) : new Uint16Array(raw.buffer);
const first = new Uint32Array(N + 1);  // of each trace's tokens
for (let i = 0; i < N; i++) first[i + 1] = first[i] + T.n[i];

// a tier's name, a log-prob (quantised by its square root), a percentage
const tierName = t => t ? t + (D.tiers[t] ? ' ' + D.tiers[t] : '') : 'none';
const logprob = q => -20 * (q / 255) * (q / 255);
const percent = lp => (100 * Math.exp(lp)).toPrecision(3) + ' %';
const reward = i => T.f[i] & MISSING ? 'missing' : (T.r[i] / 10000).toFixed(3);

function el(tag, cls, text, parent) {
  const e = document.createElement(tag);
  if (cls) e.className = cls;
  if (text !== undefined && text !== null) e.textContent = text;
  if (parent) parent.append(e);
  return e;
}

// The closed gates of each explanation, as bits of GATES; bit 4: the rules, of traces whose rule file is not here. Where the format
// is broken, nothing is said of agree and table.
const gates = (x, counting) => x.g.reduce((bits, [gate, counts, open]) => open || counting && !counts ? bits : bits | 1 << gate, 0);
const formatFirst = bits => bits & 1 ? bits & ~6 : bits;
const closedOf = D.x.map(x => formatFirst(gates(x, false))), countsOf = D.x.map(x => formatFirst(gates(x, true)));
function closed(i, counting) {
  const x = D.x[T.x[i]];
  if (x.g.length) return counting ? countsOf[T.x[i]] : closedOf[T.x[i]];
  const f = T.f[i];
  return (f & FORMAT ? 0 : 1) | (f & FORMAT && !(f & RULE) ? 16 : 0) | (!counting && !(f & RIGHT) ? 8 : 0);
}
const gateName = bits => bits & 1 ? 'format' : bits & 2 ? 'agree' : bits & 4 ? 'table' : bits & 16 ? 'rules' : bits & 8 ? 'outcome' : '';

// versions: [v] or [v0, at1, v1, ...]: from token at1 on v1
const lastVersion = i => { const v = D.v[T.v[i]]; return v[v.length - 1]; };
const firstVersion = i => D.v[T.v[i]][0];
function versionAt(i, k) {
  const v = D.v[T.v[i]];
  let now = v[0];
  for (let j = 1; j + 1 < v.length && v[j] <= k; j += 2) now = v[j + 1];
  return now;
}

// --- filters ---
const lower = P.map(p => (p.id + '\n' + p.text).toLowerCase());
let shown = [], at = -1, colour = 'p', address = 0;

function number(id) {
  const v = $(id).value.trim();
  return v === '' ? null : Number(v);
}
function filter() {
  const before = at >= 0 ? shown[at] : -1;
  const q = $('q').value.toLowerCase(), hit = lower.map(s => s.includes(q));
  const v0 = number('v0'), v1 = number('v1'), r0 = number('r0'), r1 = number('r1');
  const tier = $('tier').value, gold = $('gold').value, level = $('level').value, gate = $('gate').value, state = $('state').value;
  shown = [];
  for (let i = 0; i < N; i++) {
    const g = T.g[i];
    if (!hit[G.p[g]]) continue;
    if (v0 !== null && lastVersion(i) < v0 || v1 !== null && firstVersion(i) > v1) continue;
    if (tier && T.t[i] !== +tier || gold && P[G.p[g]].gold[0] !== +gold || level && T.l[i] !== +level) continue;
    if ((r0 !== null || r1 !== null || gate === 'missing') && (gate === 'missing') !== !!(T.f[i] & MISSING)) continue;
    if (r0 !== null && T.r[i] < r0 * 10000 - 0.5 || r1 !== null && T.r[i] > r1 * 10000 + 0.5) continue;
    if (state && (state === 'chosen' ? !(T.f[i] & CHOSEN) : D.states[G.s[g]] !== state)) continue;
    if (gate === 'open' && closed(i, true) || gate === 'closed' && !closed(i, true)) continue;
    if (gate === 'rules' && !(closed(i) & 22)) continue;
    if (GATES.includes(gate) && !(closed(i) >> GATES.indexOf(gate) & 1)) continue;
    shown.push(i);
  }
  at = shown.length ? Math.max(0, shown.indexOf(before)) : -1;
  $('count').textContent = shown.length + ' of ' + N + ' traces' + (D.total > N ? ' (the newest of ' + D.total + ')' : '');
  $('rows').style.height = shown.length * ROW + 'px';
  reveal();
  detail();
}

// --- the list: rows of what is on the screen ---
// What all prompts begin with is the template's and says nothing there; whole words only, and no half of a character.
function commonStart() {
  const texts = P.map(p => p.text).filter(text => text);
  let start = texts.length > 1 ? texts[0] : '';
  for (const text of texts) while (!text.startsWith(start)) start = start.slice(0, -1);
  start = start.replace(/[\p{L}\p{N}\p{M}\uD800-\uDBFF]+$/u, '');
  return texts.every(text => text.length > start.length) ? start.length : 0;
}
const start = commonStart();
function draw() {
  const list = $('list'), from = Math.max(0, Math.floor(list.scrollTop / ROW) - 4);
  const to = Math.min(shown.length, from + Math.ceil((list.clientHeight || 800) / ROW) + 8);
  const rows = [];
  for (let k = from; k < to; k++) {
    const i = shown[k], g = T.g[i], p = P[G.p[g]];
    const row = el('div', 'row' + (k === at ? ' on' : ''));
    row.style.top = k * ROW + 'px';
    row.setAttribute('role', 'option');
    row.setAttribute('aria-selected', k === at);
    row.dataset.k = k;
    el('span', 'i', G.id[g] + '/' + T.m[i], row);
    el('span', 't ' + (T.f[i] & RIGHT ? 'ok' : 'bad'), (T.t[i] || '-') + ' / ' + p.gold[0], row);
    el('span', 'r', T.f[i] & MISSING ? '-' : (T.r[i] / 10000).toFixed(2), row);
    el('span', 'l muted', T.l[i] ? 'L' + T.l[i] : '', row);
    el('span', 'gate bad', gateName(closed(i, true)), row);
    el('span', 'p', p.text.slice(start).replace(/\s+/g, ' '), row);
    rows.push(row);
  }
  $('rows').replaceChildren(...rows);
}
function reveal() {
  const list = $('list'), top = at * ROW, height = (list.clientHeight || 800) - ROW;  // the head row stays above
  if (at >= 0 && top < list.scrollTop) list.scrollTop = top;
  else if (at >= 0 && top + ROW > list.scrollTop + height) list.scrollTop = top + ROW - height;
  draw();
}
function select(k) {
  if (k < 0 || k >= shown.length) return;
  at = k;
  reveal();
  detail();
  clearTimeout(address);
  address = setTimeout(() => history.replaceState(null, '', '#' + G.id[T.g[shown[k]]] + '/' + T.m[shown[k]]), 300);  // browsers limit how often
}
function nextGroup(step) {
  if (at < 0) return;
  const group = T.g[shown[at]];
  let k = at;
  while (shown[k] !== undefined && T.g[shown[k]] === group) k += step;
  if (shown[k] === undefined) return;
  if (step < 0) while (k > 0 && T.g[shown[k - 1]] === T.g[shown[k]]) k--;
  select(k);
}

// --- one trace ---
// Its tokens as text, each in a span of its own. A character that several tokens make belongs to the last of them.
function tokenText(i, parent) {
  const out = el('pre', 'text', null, parent), decoder = new TextDecoder();
  for (let k = first[i]; k < first[i + 1]; k++) {
    const piece = D.pieces[tokens[k]], end = T.s[i] === 0 && k === first[i + 1] - 1;
    const part = new Uint8Array(piece.length);
    for (let j = 0; j < piece.length; j++) part[j] = piece.charCodeAt(j);
    const text = end ? piece : decoder.decode(part, {stream: true});
    const lp = logprob(probs[k]), v = versionAt(i, k - first[i]);
    const level = Math.min(9, Math.ceil(3 * -lp));
    const span = el('span', (end ? 'end ' : '') + (colour === 'p' ? 'l' + (lp < -0.02 ? level : 0) : colour === 'v' ? 'v' + v % 6 : ''), null, out);
    span.append(text);
    span.title = 'log-prob ' + lp.toFixed(3) + ' (' + percent(lp) + '), version ' + v;
  }
  const rest = decoder.decode();
  if (rest) out.append(rest);
  return out;
}
function legend(i, parent) {
  const bar = el('div', 'legend muted', null, parent);
  if (colour === 'p') {
    bar.append('log-prob: ');
    for (let k = 0; k < 10; k++) el('span', 'l' + k, k === 9 ? '< -2.7' : (-k / 3).toFixed(1), bar);
    el('span', '', 'each within 0.08', bar);
  } else if (colour === 'v') {
    const seen = D.v[T.v[i]].filter((_, j) => j % 2 === 0);
    bar.append('weights of version: ');
    for (const v of seen) el('span', 'v' + v % 6, v, bar);
  } else bar.append('no colours');
}
function table(parent, cls, head, rows) {
  const t = el('table', cls, null, parent), h = el('tr', '', null, t);
  for (const c of head) el('th', '', c, h);
  for (const cells of rows) {
    const r = el('tr', '', null, t);
    for (const c of cells) el('td', typeof c === 'number' ? 'n' : c && c.cls || '', c && c.cls ? c.text : c, r);
  }
}
// the rule file's line and, where an entry goes on, the next ones
function ruleText(where) {
  if (!where || !D.rules.lines[where - 1]) return '';
  let text = '', depth = 0;
  for (let k = where - 1; k < D.rules.lines.length; k++) {
    const line = D.rules.lines[k].trim();
    text += (text ? ' ' : '') + line;
    for (const c of line) depth += c === '{' || c === '[' ? 1 : c === '}' || c === ']' ? -1 : 0;
    if (depth <= 0) break;
  }
  return D.rules.file.replace(/.*\//, '') + ':' + where + '  ' + text.replace(/^- /, '');
}
function components(i, main) {
  const x = D.x[T.x[i]];
  el('h3', '', 'Reward ' + reward(i), main);
  table(main, 'criteria', ['criterion', 'read', 'gold', '', 'points', 'of', 'rule'],
    x.c.map(([name, where, points, weight, read, gold, judged]) =>
      [name, read, gold, {cls: JUDGED[judged] || 'bad', text: judged}, points.toFixed(3), weight.toFixed(3), {cls: 'muted rule', text: ruleText(where)}]));
  if (!x.g.length) {
    el('p', 'note', 'Scored by a rule file that is not here (hash ' + D.hashes[T.h[i]].slice(0, 12) + '): format ' + (T.f[i] & FORMAT ? 'holds' : 'broken') +
      ', rules ' + (T.f[i] & RULE ? 'hold' : 'broken') + '.', main);
    return;
  }
  table(main, 'gates', ['gate', '', 'why', 'rule'], x.g.map(([gate, counts, open, where, why]) =>
    [GATES[gate], {cls: open ? 'ok' : counts ? 'bad' : 'muted', text: open ? 'open' : counts ? 'closed' : 'closed, does not count'},
      why || (gate === 2 && x.r.length ? 'permitted' : ''), {cls: 'muted rule', text: gate === 2 && open ? x.r.map(ruleText).join('\n') : open ? '' : ruleText(where)}]));
}
function detail() {
  const main = $('main');
  main.replaceChildren();
  if (at < 0) { el('p', 'note', 'No trace passes the filters.', main); return; }
  const i = shown[at], g = T.g[i], p = P[G.p[g]], state = D.states[G.s[g]];
  el('h2', '', 'Trace ' + G.id[g] + '/' + T.m[i], main).style.marginTop = '0';
  el('div', 'muted', p.id + ' · tier ' + tierName(T.t[i]) + ', gold ' + tierName(p.gold[0]) + (p.gold[1] ? ', category ' + p.gold[1] : '') +
    (p.gold[2] ? ', attribute ' + p.gold[2] : '') + ' · ' + (T.l[i] ? 'guided, level ' + T.l[i] : 'plain') + ' · version ' + firstVersion(i) +
    (lastVersion(i) !== firstVersion(i) ? ' to ' + lastVersion(i) : '') + ' · ' + T.n[i] + ' tokens, ' + D.stops[T.s[i]] + ' · ' + D.actors[T.a[i]] + ', ' +
    T.d[i] + ' ms', main);
  el('div', 'muted', 'group: ' + state + (G.c[g] ? ' (' + D.causes[G.c[g]] + ')' : '') + (G.v[g] ? ' in version ' + G.v[g] : '') +
    (G.a[g] === null ? '' : ', plain accuracy ' + G.a[g]) + (T.f[i] & CHOSEN ? '; this trace is in the final group' : '; this trace is not in the final group'), main);
  el('h3', '', 'Prompt', main);
  el('pre', 'text', p.text, main);
  if (T.l[i]) {
    el('h3', '', 'Guidance of level ' + T.l[i] + ' (the policy is trained on the prompt without it)', main);
    const given = p.guide[T.l[i]];
    el('pre', 'text', given === undefined ? 'The row or the rule file is not here any more.' : given, main);
  }
  el('h3', '', 'Trace', main);
  tokenText(i, main);
  legend(i, main);
  components(i, main);
  el('h3', '', 'Group mates', main);
  const mates = el('div', 'mates', null, main);
  for (let k = i; k >= 0 && T.g[k] === g; k--) mates.prepend(mate(k, i));
  for (let k = i + 1; k < N && T.g[k] === g; k++) mates.append(mate(k, i));
  const on = mates.querySelector('.on');
  mates.scrollLeft = on.offsetLeft - mates.offsetLeft - 280;
}
function mate(k, current) {
  const card = el('div', 'mate' + (k === current ? ' on' : ''));
  const head = el('div', '', 'member ' + T.m[k] + ' · reward ' + reward(k) + ' ', card);
  el('span', T.f[k] & RIGHT ? 'ok' : 'bad', 'tier ' + (T.t[k] || 'none'), head);
  const gate = gateName(closed(k, true));
  el('div', 'muted', [T.l[k] ? 'level ' + T.l[k] : 'plain', T.f[k] & CHOSEN ? 'in the group' : 'left out', gate && 'gate ' + gate].filter(Boolean).join(' · '), card);
  tokenText(k, card).className = '';
  card.dataset.trace = k;
  card.onclick = () => {
    const j = shown.indexOf(k);
    if (j >= 0) select(j);
    else { clear(); select(shown.indexOf(k)); }
  };
  return card;
}

// --- controls ---
function clear() {
  for (const e of document.querySelectorAll('header input, header select')) if (e.id !== 'colour') e.value = '';
  filter();
}
function options(id, entries) {
  const s = $(id);
  el('option', '', 'any', s).value = '';
  for (const [value, text] of entries) el('option', '', text, s).value = value;
}
const distinct = a => [...new Set(a)].sort((x, y) => x - y);
$('about').textContent = D.about;
options('tier', distinct(T.t).map(t => [t, tierName(t)]));
options('gold', distinct(P.map(p => p.gold[0])).map(t => [t, tierName(t)]));
options('level', distinct(T.l).map(l => [l, l ? l : 'plain']));
options('gate', [['open', 'none: the reward counts'], ['closed', 'any that counts'], ['format', 'format'], ['agree', 'agree (format holds)'], ['table', 'table (format holds)'],
  ['rules', 'agree or table (format holds)'], ['outcome', 'outcome (wrong tier)'], ['missing', 'reward missing']]);
options('state', [['chosen', 'in a final group'], ...distinct(G.s).map(s => [D.states[s], D.states[s]])]);
for (const e of document.querySelectorAll('header input, header select')) e.oninput = e.id === 'colour' ? () => { colour = e.value; detail(); } : filter;
$('clear').onclick = () => { clear(); $('list').focus(); };
$('list').onscroll = draw;
window.onresize = draw;
$('rows').onclick = e => {
  const row = e.target.closest('.row');
  if (row) select(+row.dataset.k);
};
document.onkeydown = e => {
  if (e.ctrlKey || e.altKey || e.metaKey) return;
  const field = /^(INPUT|SELECT)$/.test(document.activeElement.tagName);
  if (e.key === 'Escape') { document.activeElement.blur(); $('list').focus(); return; }
  if (field) return;
  const act = {
    j: () => select(at + 1), ArrowDown: () => select(at + 1), k: () => select(at - 1), ArrowUp: () => select(at - 1),
    l: () => nextGroup(1), ArrowRight: () => nextGroup(1), h: () => nextGroup(-1), ArrowLeft: () => nextGroup(-1),
    PageDown: () => select(Math.min(shown.length - 1, at + 20)), PageUp: () => select(Math.max(0, at - 20)),
    Home: () => select(0), End: () => select(shown.length - 1),
    '/': () => { $('q').focus(); $('q').select(); }, x: clear,
    c: () => { $('colour').value = colour = {p: 'v', v: 'n', n: 'p'}[colour]; detail(); },
  }[e.key];
  if (act) { e.preventDefault(); act(); }
};
function byHash() {
  const [id, member] = decodeURIComponent(location.hash.slice(1)).split('/');
  const k = shown.findIndex(i => String(G.id[T.g[i]]) === id && (member === undefined || String(T.m[i]) === member));
  if (k >= 0) select(k);
}
window.onhashchange = byHash;
filter();
byHash();
$('list').focus({preventScroll: true});
document.documentElement.dataset.ready = Math.round(performance.now());
})();
