// SPDX-License-Identifier: Apache-2.0
// The grading sheet: one page that works without a network, keeps its grades in the browser and gives them as JSON.
#include "deploy/ctl/html.h"
#include "deploy/ctl/sbs.h"

static const char css[] =
    "#bar{height:8px;background:#e4e9ef;border-radius:4px;overflow:hidden;margin:8px 0}#fill{height:100%;background:#2b8a3e;width:0}\n"
    "#pair{display:grid;grid-template-columns:1fr 1fr;gap:16px;margin:12px 0}\n"
    ".side{border:2px solid #a9b8c9;border-radius:6px;padding:12px;min-height:160px}.side.on{border-color:#1864ab;background:#eef5fc}\n"
    "button{font:inherit;padding:6px 14px;border:1px solid #a9b8c9;border-radius:4px;background:#fff;cursor:pointer}\n"
    "button.on{background:#1864ab;color:#fff}#query{font-size:18px;font-weight:600}\n";

static const char body[] =
    "<h1>Which answer is better?</h1>\n"
    "<p class=\"muted\">Two models judged how well a product fits a query, from tier 4 (best) to 1. Grade the whole answer, tier and "
    "reasons. Which model stands left changes from item to item.</p>\n"
    "<div class=\"bar\"><span id=\"count\"></span><span class=\"muted\" id=\"note\"></span></div><div id=\"bar\"><div id=\"fill\"></div></div>\n"
    "<p id=\"query\"></p><table id=\"product\"></table>\n"
    "<div id=\"pair\"><div class=\"side\" id=\"l\"><pre id=\"left\"></pre></div><div class=\"side\" id=\"r\"><pre id=\"right\"></pre></div></div>\n"
    "<div class=\"bar\"><button data-g=\"left\">left is better <kbd>1</kbd> <kbd>&larr;</kbd></button>"
    "<button data-g=\"same\">no difference <kbd>2</kbd> <kbd>&darr;</kbd></button>"
    "<button data-g=\"right\">right is better <kbd>3</kbd> <kbd>&rarr;</kbd></button>"
    "<button id=\"back\">back <kbd>Backspace</kbd></button><button id=\"next\">next <kbd>n</kbd></button>"
    "<button id=\"open\">first ungraded <kbd>u</kbd></button><button id=\"save\">export <kbd>e</kbd></button></div>\n";

static const char js[] =
    "'use strict';\n"
    "const data = JSON.parse(document.getElementById('data').textContent), items = data.items, store = 'agrl-sbs-' + data.sheet;\n"
    "const $ = id => document.getElementById(id);\n"
    "let grades = {}, at = 0;\n"
    "try { grades = JSON.parse(localStorage.getItem(store)) || {}; } catch (e) { $('note').textContent = 'This browser keeps nothing: export before you leave.'; }\n"
    "function firstOpen() { const i = items.findIndex(x => !grades[x.id]); return i < 0 ? items.length - 1 : i; }\n"
    "function keep() { try { localStorage.setItem(store, JSON.stringify(grades)); } catch (e) { $('note').textContent = 'This browser keeps nothing: export before you leave.'; } }\n"
    "function show() {\n"
    "  const x = items[at], done = items.filter(i => grades[i.id]).length;\n"
    "  $('count').textContent = 'Item ' + (at + 1) + ' of ' + items.length + ', ' + done + ' graded' + (done === items.length ? ': export the grades' : '');\n"
    "  $('fill').style.width = 100 * done / items.length + '%';\n"
    "  $('query').textContent = x.query;\n"
    "  $('product').replaceChildren(...Object.entries(x.product).map(([k, v]) => {\n"
    "    const tr = document.createElement('tr'), th = document.createElement('th'), td = document.createElement('td');\n"
    "    th.textContent = k; td.textContent = v; tr.append(th, td); return tr; }));\n"
    "  $('left').textContent = x.left; $('right').textContent = x.right;\n"
    "  const g = grades[x.id];\n"
    "  $('l').classList.toggle('on', g === 'left'); $('r').classList.toggle('on', g === 'right');\n"
    "  document.querySelectorAll('[data-g]').forEach(b => b.classList.toggle('on', b.dataset.g === g));\n"
    "}\n"
    "function go(i) { at = Math.max(0, Math.min(items.length - 1, i)); show(); }\n"
    "function grade(g) { grades[items[at].id] = g; keep(); go(at + 1); }\n"
    "function result() { return JSON.stringify({sheet: data.sheet, key: data.key, total: items.length,\n"
    "  grades: items.filter(x => grades[x.id]).map(x => ({id: x.id, grade: grades[x.id]}))}, null, 1); }\n"
    "function save() {\n"
    "  const a = document.createElement('a');\n"
    "  a.href = URL.createObjectURL(new Blob([result()], {type: 'application/json'}));\n"
    "  a.download = 'grades-' + data.sheet + '.json'; a.click(); URL.revokeObjectURL(a.href);\n"
    "}\n"
    "const keys = {'1': () => grade('left'), ArrowLeft: () => grade('left'), '2': () => grade('same'), ArrowDown: () => grade('same'),\n"
    "  '3': () => grade('right'), ArrowRight: () => grade('right'), Backspace: () => go(at - 1), n: () => go(at + 1), u: () => go(firstOpen()), e: save};\n"
    "document.addEventListener('keydown', e => { if (e.ctrlKey || e.metaKey || e.altKey || !Object.hasOwn(keys, e.key)) return; e.preventDefault(); if (!e.repeat) keys[e.key](); });\n"
    "document.querySelectorAll('[data-g]').forEach(b => b.addEventListener('click', () => grade(b.dataset.g)));\n"
    "$('back').onclick = keys.Backspace; $('next').onclick = keys.n; $('open').onclick = keys.u; $('save').onclick = save;\n"
    "at = firstOpen(); show();\n";

static void put_str(agrl_jw *w, const char *key, const agrl_json *row, const char *from) {
  const char *s = "";
  agrl_json_str(agrl_json_get(row, from), &s, NULL);
  agrl_jw_kstr(w, key, s);
}

static void put_item(agrl_jw *w, const sbs_pair *p) {
  const agrl_json *product = agrl_json_get(p->a, "product");
  agrl_jw_obj(w);
  put_str(w, "id", p->a, "id");
  put_str(w, "query", p->a, "query");
  agrl_jw_key(w, "product");
  agrl_jw_obj(w);
  for (void *it = agrl_json_first(product); it; it = agrl_json_next(product, it)) {
    const char *s = "";
    if (agrl_json_str(agrl_json_value(it), &s, NULL)) agrl_jw_kstr(w, agrl_json_key(it), s);
  }
  agrl_jw_end_obj(w);
  put_str(w, "left", p->b_left ? p->b : p->a, "text");
  put_str(w, "right", p->b_left ? p->a : p->b, "text");
  agrl_jw_end_obj(w);
}

void sbs_sheet_html(const sbs_draw *d, const char *sheet, const char *key_name, agrl_buf *out) {
  agrl_buf json = {0};
  agrl_jw w;
  agrl_jw_init(&w, &json);
  agrl_jw_obj(&w);
  agrl_jw_kstr(&w, "sheet", sheet);
  agrl_jw_kstr(&w, "key", key_name);
  agrl_jw_key(&w, "items");
  agrl_jw_arr(&w);
  for (size_t i = 0; i < d->n; i++) put_item(&w, &d->pairs[i]);
  agrl_jw_end_arr(&w);
  agrl_jw_end_obj(&w);
  html_begin(out, "agrl side by side", css);
  agrl_buf_adds(out, body);
  html_json(out, "data", json.data, json.len);
  html_script(out, js);
  html_end(out);
  agrl_buf_release(&json);
}
