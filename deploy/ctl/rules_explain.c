// SPDX-License-Identifier: Apache-2.0
// agrlctl rules explain: one trace, of the store or from a file, scored again and told line by line.
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/num.h"
#include "common/task/task.h"
#include "deploy/ctl/explain.h"
#include "deploy/ctl/rules.h"
#include "replay/store.h"

#define MAX_TRACE_BYTES (1u << 20)

// One trace, its gold labels, and of a stored one what it earned then. Texts live in the arena or in text.
typedef struct subject {
  agrl_arena arena;
  agrl_buf record, text;
  agrl_dataset data;
  agrl_labels gold;
  const char *prompt_id;
  bool stored;
  agrl_msg_scored scored;
} subject;

static void release(subject *s) {
  agrl_buf_release(&s->record);
  agrl_buf_release(&s->text);
  agrl_dataset_release(&s->data);
  agrl_arena_release(&s->arena);
}

static bool parse_id(const char *text, replay_trace_key *k) {
  const char *slash = strchr(text, '/');
  if (!slash || slash - text > 20) return false;
  char group[24];
  uint64_t member;
  memcpy(group, text, (size_t)(slash - text));
  group[slash - text] = 0;
  if (!agrl_parse_u64(group, &k->group) || !agrl_parse_u64(slash + 1, &member) || member > UINT32_MAX) return false;
  k->member = (uint32_t)member;
  return true;
}

static agrl_rc read_stored(const ctl_job *job, const replay_trace_key *k, subject *s, agrl_error *err) {
  replay_store *store = NULL;
  char *dir = ctl_job_path(job, "replay");
  agrl_rc rc = replay_store_open_readonly(&store, dir, err);
  if (!rc && replay_store_get_trace(store, k, &s->record, NULL))
    rc = agrl_fail(err, AGRL_ENOENT, "%s: no trace %" PRIu64 "/%u; agrlctl replay ls shows the groups", dir, k->group, k->member);
  if (!rc) rc = agrl_scored_unpack(s->record.data, s->record.len, &s->arena, &s->scored, err);
  replay_store_close(store);
  free(dir);
  if (rc) return rc;
  s->stored = true;
  s->gold = s->scored.trace.gold;
  s->prompt_id = s->scored.trace.prompt_id;
  agrl_buf_adds(&s->text, s->scored.trace.text);
  return AGRL_OK;
}

static agrl_rc read_stdin(agrl_buf *out, agrl_error *err) {
  char part[4096];
  for (size_t n; (n = fread(part, 1, sizeof part, stdin)) > 0;) {
    agrl_buf_add(out, part, n);
    if (out->len > MAX_TRACE_BYTES) return agrl_fail(err, AGRL_ELIMIT, "standard input: a trace has at most %u bytes", MAX_TRACE_BYTES);
  }
  return ferror(stdin) ? agrl_fail(err, AGRL_EIO, "standard input: %s", strerror(errno)) : AGRL_OK;
}

static agrl_rc read_given(const rules_explain_options *o, subject *s, agrl_error *err) {
  if (!o->data || !o->row)
    return agrl_fail(err, AGRL_EINVAL, "rules explain: a trace that is not a stored one (GROUP/MEMBER) needs --data FILE and --row ID");
  agrl_rc rc = strcmp(o->trace, "-") ? agrl_file_read(o->trace, MAX_TRACE_BYTES, &s->text, err) : read_stdin(&s->text, err);
  if (!rc) rc = agrl_dataset_load(o->data, NULL, NULL, &s->data, err);
  if (rc) return rc;
  for (size_t i = 0; i < s->data.n; i++) {
    const agrl_row *row = &s->data.rows[i];
    if (strcmp(row->id, o->row) != 0) continue;
    s->gold = agrl_task_labels(row);
    s->prompt_id = row->id;
    return AGRL_OK;
  }
  return agrl_fail(err, AGRL_ENOENT, "%s: no row '%s'", o->data, o->row);
}

static bool differs(const subject *s, const agrl_explained *e) {
  return s->scored.missing != e->result.missing || s->scored.g_format != e->result.g_format || s->scored.g_rule != e->result.g_rule ||
         (!s->scored.missing && s->scored.reward != e->result.reward);
}

static void print_text(const rules_explain_options *o, const explain_context *c, const agrl_rules *r, const subject *s, const agrl_explained *e) {
  agrl_buf out = {0};
  agrl_buf_addf(&out, "trace %s, row ", strcmp(o->trace, "-") ? o->trace : "of standard input");
  agrl_buf_add_visible(&out, s->prompt_id, strlen(s->prompt_id));
  agrl_buf_addf(&out, ": gold tier %u, category ", c->gold.tier);
  agrl_buf_add_visible(&out, *c->gold.category ? c->gold.category : "-", *c->gold.category ? strlen(c->gold.category) : 1);
  agrl_buf_adds(&out, ", attribute ");
  agrl_buf_add_visible(&out, *c->gold.attribute ? c->gold.attribute : "-", *c->gold.attribute ? strlen(c->gold.attribute) : 1);
  agrl_buf_addf(&out, "\nrules %s, hash %.12s; reward.mode %s, reward.gate %s\n", c->file, agrl_rules_hash(r), explain_mode_name(c->mode),
                explain_gate_name(c->gate));
  explain_text(c, e, &out);
  if (s->stored) {
    bool other = strcmp(s->scored.rules_hash, agrl_rules_hash(r)) != 0;
    if (s->scored.missing) agrl_buf_adds(&out, "stored: reward missing");
    else agrl_buf_addf(&out, "stored: reward %.3f", s->scored.reward);
    agrl_buf_addf(&out, ", format %s, rules %s, by rules of hash %.12s%s%s\n", s->scored.g_format ? "open" : "closed",
                  s->scored.g_rule ? "open" : "closed", s->scored.rules_hash, other ? ": another rule file than this one" : "",
                  differs(s, e) ? "; DIFFERS from the above" : "");
  }
  fputs(out.data, stdout);
  agrl_buf_release(&out);
}

static void print_json(const rules_explain_options *o, const explain_context *c, const agrl_rules *r, const subject *s, const agrl_explained *e) {
  agrl_buf out = {0};
  agrl_jw w;
  agrl_jw_init(&w, &out);
  agrl_jw_obj(&w);
  agrl_jw_kstr(&w, "trace", o->trace);
  agrl_jw_kstr(&w, "row", s->prompt_id);
  agrl_jw_kstr(&w, "rules", c->file);
  agrl_jw_kstr(&w, "rules_hash", agrl_rules_hash(r));
  agrl_jw_key(&w, "explanation");
  explain_json(c, e, &w);
  if (s->stored) {
    agrl_jw_key(&w, "stored");
    agrl_jw_obj(&w);
    agrl_jw_key(&w, "reward");
    if (s->scored.missing) agrl_jw_null(&w);
    else agrl_jw_f64(&w, s->scored.reward);
    agrl_jw_kbool(&w, "g_format", s->scored.g_format);
    agrl_jw_kbool(&w, "g_rule", s->scored.g_rule);
    agrl_jw_kstr(&w, "rules_hash", s->scored.rules_hash);
    agrl_jw_kbool(&w, "differs", differs(s, e));
    agrl_jw_end_obj(&w);
  }
  agrl_jw_end_obj(&w);
  puts(out.data);
  agrl_buf_release(&out);
}

int rules_explain_run(const ctl_job *job, const rules_explain_options *o) {
  subject s = {0};
  replay_trace_key k;
  agrl_rules *r = NULL;
  agrl_error err = {0};
  const char *file = o->rules ? o->rules : job->config.data.rules;
  agrl_arena_init(&s.arena, 0);
  agrl_rc rc = *file ? agrl_rules_load(file, &r, &err)
                     : agrl_fail(&err, AGRL_EINVAL, "rules explain: no rule file is named; give --run-dir DIR of a job, or --rules FILE");
  if (!rc) rc = parse_id(o->trace, &k) ? read_stored(job, &k, &s, &err) : read_given(o, &s, &err);
  if (!rc) {
    explain_context c = {.file = file, .mode = job->config.reward.mode, .gate = job->config.reward.gate, .gold = s.gold};
    agrl_explained e;
    agrl_reward_explain(r, c.mode, c.gate, s.text.data ? s.text.data : "", s.text.len, &c.gold, &e);
    if (o->json) print_json(o, &c, r, &s, &e);
    else print_text(o, &c, r, &s, &e);
  }
  release(&s);
  agrl_rules_free(r);
  return rc ? ctl_fail(&err) : 0;
}
