// SPDX-License-Identifier: Apache-2.0
// agrlctl replay ls|show|export: reads the replay store, also while the job runs.
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/json.h"
#include "common/base/num.h"
#include "common/conf/bind.h"
#include "deploy/ctl/ctl.h"
#include "replay/store.h"

static const char usage[] =
    "usage: agrlctl replay ls [--state NAME] [--limit N] [-o json]\n"
    "       agrlctl replay show GROUP\n"
    "       agrlctl replay export [--out FILE] [--state NAME] [--limit N]\n"
    "ls: groups, newest last. show: one group with its traces. export: every trace as one JSON object a line.\n"
    "States: open, climb, ready, leased, trained, retired. All take --run-dir DIR or --config FILE.\n";

typedef struct reader {
  replay_store *store;
  const char *state;  // NULL: all
  uint64_t limit, count, traces;
  size_t bad;  // records that do not decode
  FILE *out;
  agrl_jw *json;  // ls -o json
} reader;

static bool wanted(const reader *r, const replay_group_rec *g) {
  return !r->state || !strcmp(replay_state_name(g->state), r->state);
}

static bool json_group(void *user, const replay_group_rec *g) {
  reader *r = user;
  if (!wanted(r, g)) return true;
  agrl_jw *w = r->json;
  agrl_jw_obj(w);
  agrl_jw_ku64(w, "id", g->id);
  agrl_jw_kstr(w, "state", replay_state_name(g->state));
  if (g->state == REPLAY_RETIRED) agrl_jw_kstr(w, "cause", replay_cause_name(g->cause));
  agrl_jw_kf64(w, "accuracy", g->accuracy);
  agrl_jw_ku64(w, "level", g->level);
  agrl_jw_ku64(w, "plain", g->n_plain);
  agrl_jw_ku64(w, "chosen", g->n_chosen);
  agrl_jw_ku64(w, "min_version", g->min_version & UINT32_MAX);
  agrl_jw_ku64(w, "trained_version", g->trained_version & UINT32_MAX);
  agrl_jw_kstr(w, "prompt_id", g->prompt_id);
  agrl_jw_end_obj(w);
  return ++r->count < r->limit;
}

static bool print_group(void *user, const replay_group_rec *g) {
  reader *r = user;
  if (!wanted(r, g)) return true;
  fprintf(r->out, "%8" PRIu64 "  %-8s %-11s %8.3f %5u %7u %7u %9" PRIu64 " %9" PRIu64 "  %s\n", g->id,
          replay_state_name(g->state),
          g->state == REPLAY_RETIRED ? replay_cause_name(g->cause) : "-", g->accuracy, g->level, g->n_plain,
              g->n_chosen, g->min_version & UINT32_MAX,
          g->trained_version & UINT32_MAX, g->prompt_id);
  return ++r->count < r->limit;
}

static void put_scores(agrl_jw *w, const agrl_msg_scored *s) {
  agrl_jw_key(w, "scores");
  agrl_jw_arr(w);
  for (size_t i = 0; i < s->n_scores; i++) {
    agrl_jw_obj(w);
    agrl_jw_kstr(w, "criterion", s->scores[i].criterion);
    agrl_jw_kf64(w, "weight", s->scores[i].weight);
    if (s->scores[i].missing) agrl_jw_kstr(w, "missing", s->scores[i].cause);
    else agrl_jw_kf64(w, "value", s->scores[i].value);
    agrl_jw_end_obj(w);
  }
  agrl_jw_end_arr(w);
}

static void trace_json(const replay_group_rec *g, const agrl_msg_scored *s, bool chosen, agrl_buf *out) {
  agrl_jw w;
  agrl_jw_init(&w, out);
  agrl_jw_obj(&w);
  agrl_jw_ku64(&w, "group", s->trace.id.group);
  agrl_jw_ku64(&w, "member", s->trace.id.member);
  agrl_jw_ku64(&w, "attempt", s->trace.id.attempt);
  agrl_jw_kstr(&w, "prompt_id", s->trace.prompt_id);
  agrl_jw_kstr(&w, "state", replay_state_name(g->state));
  agrl_jw_ku64(&w, "trained_version", g->trained_version & UINT32_MAX);
  agrl_jw_kbool(&w, "chosen", chosen);
  agrl_jw_ku64(&w, "level", s->trace.level);
  agrl_jw_kstr(&w, "actor", s->trace.actor);
  agrl_jw_ku64(&w, "tokens", s->trace.n_tokens);
  agrl_jw_ku64(&w, "first_version", s->trace.n_tokens ? s->trace.versions[0] & UINT32_MAX : 0);
  agrl_jw_ku64(&w, "last_version", s->trace.n_tokens ? s->trace.versions[s->trace.n_tokens - 1] & UINT32_MAX : 0);
  agrl_jw_ku64(&w, "gold_tier", s->trace.gold.tier);
  agrl_jw_ku64(&w, "tier", s->tier);
  agrl_jw_kf64(&w, "reward", s->missing ? NAN : s->reward);
  agrl_jw_kbool(&w, "missing", s->missing);
  agrl_jw_kbool(&w, "g_format", s->g_format);
  agrl_jw_kbool(&w, "g_rule", s->g_rule);
  agrl_jw_kbool(&w, "accurate", s->accurate);
  agrl_jw_kstr(&w, "rules_hash", s->rules_hash);
  put_scores(&w, s);
  agrl_jw_kstr(&w, "text", s->trace.text);
  agrl_jw_end_obj(&w);
}

static bool is_chosen(const replay_group_rec *g, uint32_t member) {
  for (size_t i = 0; i < g->n_chosen; i++)
    if (g->chosen[i] == member) return true;
  return false;
}

static void trace_text(const agrl_msg_scored *s, bool chosen, agrl_buf *out) {
  char reward[16] = "missing";
  if (!s->missing) snprintf(reward, sizeof reward, "%.3f", s->reward);
  agrl_buf_addf(out, "--- member %u%s  level %u  reward %s  tier %u (gold %u)  format %s  rules %s  tokens %zu  %s\n%s\n",
                s->trace.id.member,
                chosen ? " (chosen)" : "", s->trace.level, reward, s->tier, s->trace.gold.tier,
                s->g_format ? "ok" : "no", s->g_rule ? "ok" : "no",
                s->trace.n_tokens, s->trace.actor, s->trace.text);
}

typedef struct members {
  reader *r;
  const replay_group_rec *group;
  bool json;
} members;

static bool print_trace(void *user, const replay_trace_key *k, const void *data, size_t len) {
  members *m = user;
  agrl_arena arena;
  agrl_msg_scored s;
  agrl_buf out = {0};
  agrl_arena_init(&arena, 0);
  if (agrl_scored_unpack(data, len, &arena, &s, NULL)) {
    fprintf(stderr, "agrlctl: group %" PRIu64 " member %u does not decode\n", k->group, k->member);
    m->r->bad++;
  } else {
    if (m->json) trace_json(m->group, &s, is_chosen(m->group, k->member), &out);
    else trace_text(&s, is_chosen(m->group, k->member), &out);
    fputs(out.data, m->r->out);
    if (m->json) putc('\n', m->r->out);
    m->r->traces++;
  }
  agrl_buf_release(&out);
  agrl_arena_release(&arena);
  return !ferror(m->r->out);
}

// Ids are collected first: traces are read in transactions of their own.
typedef struct ids {
  reader *r;
  replay_group_rec *recs;
  size_t n, cap;
} ids;

static bool collect(void *user, const replay_group_rec *g) {
  ids *c = user;
  if (!wanted(c->r, g)) return true;
  if (c->n == c->cap) {
    c->cap = c->cap ? c->cap * 2 : 256;
    replay_group_rec *grown = realloc(c->recs, c->cap * sizeof *grown);
    if (!grown) return false;
    c->recs = grown;
  }
  c->recs[c->n++] = *g;
  return c->n < c->r->limit;
}

static agrl_rc told_bad(const reader *r, agrl_rc rc, agrl_error *err) {
  if (rc || !r->bad) return rc;
  return agrl_fail(err, AGRL_EPARSE, "%zu records of the store do not decode and were left out", r->bad);
}

static agrl_rc write_traces(reader *r, size_t *groups, agrl_error *err) {
  ids c = {.r = r};
  agrl_rc rc = replay_store_each_group(r->store, 0, collect, &c, &r->bad, err);
  for (size_t i = 0; i < c.n && !rc && !ferror(r->out); i++) {
    members m = {r, &c.recs[i], true};
    rc = replay_store_each_trace(r->store, c.recs[i].id, print_trace, &m, err);
  }
  *groups = c.n;
  free(c.recs);
  return rc;
}

static agrl_rc export_to(reader *r, const char *path, agrl_error *err) {
  agrl_replacing place;
  size_t groups;
  agrl_rc rc = agrl_replace_begin(&place, path, err);
  if (rc) return rc;
  int fd = dup(place.fd);
  r->out = fd < 0 ? NULL : fdopen(fd, "w");
  if (!r->out) {
    rc = agrl_fail(err, AGRL_EIO, "%s: %s", path, strerror(errno));
    if (fd >= 0) close(fd);
    return agrl_replace_end(&place, rc, err);
  }
  rc = write_traces(r, &groups, err);
  bool failed = ferror(r->out);
  failed |= fclose(r->out) != 0;
  if (!rc && failed) rc = agrl_fail(err, AGRL_EIO, "%s: write failed: %s", path, strerror(errno));
  rc = agrl_replace_end(&place, rc, err);
  if (!rc) printf("agrlctl: %zu groups, %" PRIu64 " traces in %s\n", groups, r->traces, path);
  return rc;
}

static agrl_rc export_all(reader *r, const char *path, agrl_error *err) {
  size_t groups;
  return told_bad(r, path ? export_to(r, path, err) : write_traces(r, &groups, err), err);
}

static agrl_rc show_group(reader *r, const char *text, agrl_error *err) {
  uint64_t id;
  replay_group_rec g;
  if (!agrl_parse_u64(text, &id)) return agrl_fail(err, AGRL_EINVAL, "replay show: '%s' is not a group id", text);
  agrl_rc rc = replay_store_get_group(r->store, id, &g, err);
  if (rc) return rc;
  printf("group %" PRIu64 "  prompt %s  %s%s%s  accuracy %.3f  level %u  plain %u  guided a level %u  chosen %u\n",
         g.id, g.prompt_id,
         replay_state_name(g.state), g.state == REPLAY_RETIRED ? ": " : "",
             g.state == REPLAY_RETIRED ? replay_cause_name(g.cause) : "", g.accuracy, g.level,
         g.n_plain, g.n_guided, g.n_chosen);
  members m = {r, &g, false};
  return told_bad(r, replay_store_each_trace(r->store, id, print_trace, &m, err), err);
}

static agrl_rc list_json(reader *r, agrl_error *err) {
  agrl_buf out = {0};
  agrl_jw w;
  size_t bad = 0;
  r->json = &w;
  agrl_jw_init(&w, &out);
  agrl_jw_obj(&w);
  agrl_jw_key(&w, "groups");
  agrl_jw_arr(&w);
  agrl_rc rc = replay_store_each_group(r->store, 0, json_group, r, &bad, err);
  agrl_jw_end_arr(&w);
  agrl_jw_ku64(&w, "undecodable", bad);
  agrl_jw_end_obj(&w);
  if (!rc) puts(out.data);
  agrl_buf_release(&out);
  return rc;
}

static agrl_rc list(reader *r, agrl_error *err) {
  replay_store_stat st;
  size_t bad = 0;
  printf("%8s  %-8s %-11s %8s %5s %7s %7s %9s %9s  %s\n", "GROUP", "STATE", "CAUSE", "ACCURACY", "LEVEL", "PLAIN",
         "CHOSEN", "VERSION", "TRAINED", "PROMPT");
  agrl_rc rc = replay_store_each_group(r->store, 0, print_group, r, &bad, err);
  if (!rc) rc = replay_store_get_stat(r->store, &st, err);
  if (!rc)
    printf("%" PRIu64 " groups, %" PRIu64 " traces, %.1f MiB in use%s\n", st.groups, st.traces,
           (double)st.used_bytes / 1048576, bad ? "; some records do not decode" : "");
  return rc;
}

static bool is_state(const char *name, const char **near) {
  enum { N = REPLAY_RETIRED - REPLAY_OPEN + 1 };
  const char *names[N];
  for (uint32_t i = 0; i < N; i++) names[i] = replay_state_name(REPLAY_OPEN + i);
  *near = agrl_conf_nearest(name, names, N);
  return *near && !strcmp(*near, name);
}

static int run(int argc, char **argv) {
  static const struct option longs[] = {{"config", 1, 0, 'c'}, {"run-dir", 1, 0, 'D'}, {"state", 1, 0, 's'},
                                        {"limit", 1, 0, 'l'},
                                        {"out", 1, 0, 'O'},    {"help", 0, 0, 'h'},    {0, 0, 0, 0}};
  const char *config = NULL, *run_dir = NULL, *out = NULL;
  const char *near;
  bool json = false, given[CTL_LETTERS] = {false};
  reader r = {.limit = UINT64_MAX, .out = stdout};
  for (int k; (k = getopt_long(argc, argv, "o:h", longs, NULL)) != -1; given[k] = true) switch (k) {
      case 'c': config = optarg; break;
      case 'D': run_dir = optarg; break;
      case 's':
        r.state = optarg;
        if (!is_state(optarg, &near)) return ctl_usage(&ctl_cmd_replay, "--state: no state '%s'%s%s", optarg, near ? "; nearest: " : "", near ? near : "");
        break;
      case 'O': out = optarg; break;
      case 'o':
        if (strcmp(optarg, "json") && strcmp(optarg, "text"))
          return ctl_usage(&ctl_cmd_replay, "-o %s: expected json or text", optarg);
        json = !strcmp(optarg, "json");
        break;
      case 'l':
        if (!agrl_parse_u64(optarg, &r.limit) || !r.limit)
          return ctl_usage(&ctl_cmd_replay, "--limit: '%s' is not a number above 0", optarg);
        break;
      case 'h': return ctl_help(&ctl_cmd_replay);
      default: return ctl_bad_option(&ctl_cmd_replay);
    }
  const char *verb = optind < argc ? argv[optind] : "", *arg = optind + 1 < argc ? argv[optind + 1] : NULL;
  bool show = !strcmp(verb, "show"), export = !strcmp(verb, "export");
  if ((strcmp(verb, "ls") && !export && !show) || argc - optind != 1 + show)
    return ctl_usage(&ctl_cmd_replay, "expected: ls, show GROUP, or export");
  int code = ctl_only_options(&ctl_cmd_replay, show ? "replay show" : export ? "replay export" : "replay ls", longs, given,
                              show ? "" : export ? "slO" : "slo");
  if (code) return code;
  agrl_error err = {0};
  ctl_job job;
  if (ctl_job_open(&job, config, run_dir, &err)) return ctl_fail(&err);
  char *dir = ctl_job_path(&job, "replay");
  agrl_rc rc = replay_store_open_readonly(&r.store, dir, &err);
  if (!rc && show) rc = show_group(&r, arg, &err);
  else if (!rc && export) rc = export_all(&r, out, &err);
  else if (!rc) rc = json ? list_json(&r, &err) : list(&r, &err);
  replay_store_close(r.store);
  free(dir);
  ctl_job_release(&job);
  return rc ? ctl_fail(&err) : 0;
}

const ctl_command ctl_cmd_replay = {"replay", "look into the replay store", usage, run};
