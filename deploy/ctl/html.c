// SPDX-License-Identifier: Apache-2.0
// The page's frame, its shared look, and escaping.
#include "deploy/ctl/html.h"

#include <stdint.h>
#include <string.h>

static const char look[] =
    "body{margin:0 auto;padding:24px;max-width:1280px;color:#1f2933;background:#fff;"
    "font:14px/1.5 \"DejaVu Sans\",\"Segoe UI\",Helvetica,Arial,sans-serif}\n"
    "h1{font-size:22px;margin:0 0 4px}h2{font-size:17px;margin:28px 0 8px}h3{font-size:14px;margin:18px 0 6px}\n"
    "table{border-collapse:collapse;margin:6px 0}th,td{padding:3px 10px;text-align:left;border-bottom:1px solid #e4e9ef}\n"
    "th{color:#616e7c;font-weight:600}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}\n"
    ".muted{color:#616e7c}.note{background:#f5f7fa;border-left:3px solid #a9b8c9;padding:6px 12px}\n"
    ".bar{display:flex;gap:8px;align-items:center;flex-wrap:wrap}\n"
    "kbd{border:1px solid #a9b8c9;border-radius:3px;padding:0 5px;background:#f5f7fa;font:12px monospace}\n"
    "pre{white-space:pre-wrap;overflow-wrap:anywhere;margin:0;font:13px/1.5 \"DejaVu Sans Mono\",monospace}\n"
    "svg{max-width:100%;height:auto}\n";

void html_begin(agrl_buf *out, const char *title, const char *css) {
  agrl_buf_adds(out,
                "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                "<meta name=\"viewport\" content=\"width=device-width\">\n"
                "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
                "script-src 'unsafe-inline'; img-src data: blob:\">\n<title>");
  html_text(out, title);
  agrl_buf_addf(out, "</title>\n<style>\n%s%s</style>\n</head>\n<body>\n", look, css ? css : "");
}

void html_end(agrl_buf *out) { agrl_buf_adds(out, "</body>\n</html>\n"); }

// Length of the well-formed UTF-8 character at s, 0: none.
static size_t character(const unsigned char *s, size_t left) {
  size_t n = s[0] < 0x80 ? 1 : s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : s[0] >= 0xe0 && s[0] < 0xf0 ? 3 : s[0] >= 0xf0 && s[0] < 0xf5 ? 4 : 0;
  if (n == 0 || n > left) return 0;
  for (size_t i = 1; i < n; i++)
    if ((s[i] & 0xc0) != 0x80) return 0;
  if (s[0] == 0xe0 && s[1] < 0xa0) return 0;  // longer than need be
  if (s[0] == 0xed && s[1] > 0x9f) return 0;  // a surrogate
  if (s[0] == 0xf0 && s[1] < 0x90) return 0;
  if (s[0] == 0xf4 && s[1] > 0x8f) return 0;  // past U+10FFFF
  return n;
}

void html_textn(agrl_buf *out, const char *s, size_t len) {
  for (size_t i = 0, n; i < len; i += n ? n : 1) {
    const unsigned char c = (unsigned char)s[i];
    n = character((const unsigned char *)s + i, len - i);
    if (n == 0 || (c < 32 && c != '\t' && c != '\n') || c == 127) agrl_buf_adds(out, "\xef\xbf\xbd");
    else if (c == '&') agrl_buf_adds(out, "&amp;");
    else if (c == '<') agrl_buf_adds(out, "&lt;");
    else if (c == '>') agrl_buf_adds(out, "&gt;");
    else if (c == '"') agrl_buf_adds(out, "&quot;");
    else if (c == '\'') agrl_buf_adds(out, "&#39;");
    else agrl_buf_add(out, s + i, n);
  }
}

void html_text(agrl_buf *out, const char *s) { html_textn(out, s, strlen(s)); }

void html_json(agrl_buf *out, const char *id, const char *json, size_t len) {
  agrl_buf_addf(out, "<script type=\"application/json\" id=\"%s\">", id);
  for (size_t i = 0, start = 0; i <= len; i++) {
    if (i < len && json[i] != '<') continue;
    agrl_buf_add(out, json + start, i - start);
    if (i < len) agrl_buf_adds(out, "\\u003c");
    start = i + 1;
  }
  agrl_buf_adds(out, "</script>\n");
}

void html_script(agrl_buf *out, const char *js) { agrl_buf_addf(out, "<script>\n%s</script>\n", js); }
