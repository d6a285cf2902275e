// SPDX-License-Identifier: Apache-2.0
// One self-contained HTML page, appended to a buffer: no server, nothing loaded from elsewhere (the page's own policy
// forbids it). What comes from data passes html_text or html_json, so that no text can become markup or script.
// Pure functions.
#ifndef AGRL_CTL_HTML_H
#define AGRL_CTL_HTML_H

#include <stddef.h>

#include "common/base/buf.h"

// Head and opening body: UTF-8, the shared look (class names in html.c), then `css` (trusted, may be NULL).
// Styles of the shared look: table, th, td.n (a number), .muted, .bar, .note, kbd, pre.
void html_begin(agrl_buf *out, const char *title, const char *css);
void html_end(agrl_buf *out);

// Text for an element's content or a quoted attribute. len bytes; control characters but tab and newline are shown as
// U+FFFD, bytes that are not UTF-8 too.
void html_textn(agrl_buf *out, const char *s, size_t len);
void html_text(agrl_buf *out, const char *s);

// <script type="application/json" id="ID">: data for the page's script, read by JSON.parse(document.getElementById(ID).textContent).
// json must be one JSON text (agrl_jw writes it); '<' is written \u003c, so a string cannot end the element.
void html_json(agrl_buf *out, const char *id, const char *json, size_t len);
void html_script(agrl_buf *out, const char *js);  // trusted text without "</script"

#endif
