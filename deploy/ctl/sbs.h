// SPDX-License-Identifier: Apache-2.0
// Side by side: two models' answers to the same items, judged by a person who does not see which is whose. A is the
// baseline, B the candidate. sbs_items.c reads and draws, sbs_html.c writes the sheet, sbs_gsb.c takes the grades back.
#ifndef AGRL_CTL_SBS_H
#define AGRL_CTL_SBS_H

#include <stdbool.h>

#include "common/base/buf.h"
#include "common/base/json.h"

typedef struct sbs_items {  // SPLIT.items.jsonl of agrl-eval
  char *path;
  agrl_json **rows;  // sorted by id
  size_t n;
} sbs_items;

// AGRL_EPARSE names file:line of a row that lacks id, query, predicted or text, or whose id was given before.
agrl_rc sbs_items_load(const char *path, sbs_items *out, agrl_error *err);
void sbs_items_release(sbs_items *s);

const char *sbs_text(const agrl_json *row, const char *key);  // the member where it is a string, else NULL; borrowed
// Are the n items of RUN/eval/LABEL/SPLIT.items.jsonl those of the checkpoint? The result beside them (SPLIT.json) says: the same
// directory, and as many rows.
bool sbs_items_belong(const char *result, const char *checkpoint, size_t n);

typedef struct sbs_pair {  // one item of the sheet; borrowed
  const agrl_json *a, *b;
  bool b_left;  // on the sheet
} sbs_pair;

typedef struct sbs_draw {
  sbs_pair *pairs;
  size_t n, common, differ;  // drawn; items in both; of these, those with another tier
  uint64_t seed;
} sbs_draw;

// At most `wanted` of the items whose tiers differ, in random order, sides at random; the same seed draws the same.
// AGRL_EPARSE when an id has another query in the other file; AGRL_ENOENT when nothing differs.
agrl_rc sbs_draw_pairs(const sbs_items *a, const sbs_items *b, size_t wanted, uint64_t seed, sbs_draw *out, agrl_error *err);
void sbs_draw_release(sbs_draw *d);

// The key: whose answer stands where. sheet receives its id, which binds sheet, grades and key together.
void sbs_key_json(const sbs_draw *d, const char *a, const char *b, char sheet[17], agrl_buf *out);
// The sheet says nothing of A and B, gold labels or tiers' models. key_name is the key's file name, for the way back.
void sbs_sheet_html(const sbs_draw *d, const char *sheet, const char *key_name, agrl_buf *out);

enum { SBS_LEAST_GRADES = 10 };
typedef struct sbs_gsb {
  size_t good, same, bad;  // B better, neither, A better
  size_t missing;          // on the sheet and not graded
  size_t differ, common;   // what the sheet was drawn from: items whose tiers differ, of so many in both
  double gsb, low, high;   // (good - bad) / (good + same + bad), 95 % interval (Bonett and Price); NaN below SBS_LEAST_GRADES
  char *a, *b;             // as the key names them; owned
} sbs_gsb;

// AGRL_EPARSE when grades and key are of different sheets, an id is not on it or graded twice, or a grade is no grade.
agrl_rc sbs_grade(const agrl_json *grades, const agrl_json *key, sbs_gsb *out, agrl_error *err);
void sbs_gsb_release(sbs_gsb *g);

#endif
