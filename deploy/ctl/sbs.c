// SPDX-License-Identifier: Apache-2.0
// agrlctl sbs: a blind grading sheet of two checkpoints, and GSB from its grades.
#include "deploy/ctl/sbs.h"

#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/mem.h"
#include "common/base/num.h"
#include "common/ckpt/hf.h"
#include "deploy/ctl/ctl.h"

static const char usage[] =
    "usage: agrlctl sbs A B [--run-dir DIR | --config FILE] [options]\n"
    "       agrlctl sbs --grades FILE [--key FILE] [-o json]\n"
    "Side by side. A (the baseline) and B are checkpoints under RUN/checkpoints, scored first where RUN/eval has no items of\n"
    "them as they are now (under the labels of agrlctl eval), or items files of agrl-eval. Writes a page to grade in a\n"
    "browser, which does not say whose answer is whose, and its key beside it. With --grades: GSB of B over A,\n"
    "(good - bad)/(good + same + bad), from what the page exported.\n"
    "  --items N     items on the sheet, of those whose tiers differ (default 50)\n"
    "  --seed N      of items, order and sides (default 1)\n"
    "  --split NAME  whose items (default: that of the first file of data.eval)\n"
    "  --out FILE    the page (default: RUN/sbs-A-B.html, for items files sbs.html); the key is FILE with .key.json\n"
    "  --key FILE    the sheet's key (default: beside the grades, by the name that they give)\n"
    "  -o json       print GSB as JSON\n";

typedef struct request {
  const char *config, *run_dir, *a, *b, *split, *out, *grades, *key;
  uint64_t items, seed;
  bool json;
} request;

// --- the sheet ---

static bool is_file(const char *side) {
  size_t n = strlen(side);
  return n > 6 && !strcmp(side + n - 6, ".jsonl");
}

// RUN/eval/LABEL/SPLIT.end, where the results of the side lie.
static char *eval_path(const ctl_job *job, const char *side, const char *split, const char *end) {
  char *label = ctl_eval_label(side), *path = agrl_xasprintf("%s/eval/%s/%s.%s", job->config.run.dir, label, split, end);
  free(label);
  return path;
}

// Items of the checkpoint under that name, as it is now.
static agrl_rc load_items(const char *items, const char *result, const char *checkpoint, sbs_items *out, agrl_error *err) {
  agrl_rc rc = sbs_items_load(items, out, err);
  if (!rc && !sbs_items_belong(result, checkpoint, out->n))
    rc = agrl_fail(err, AGRL_EINVAL, "%s: the items are not those of %s, as the result beside them says", items, checkpoint);
  return rc;
}

// agrl-eval's exit code is the answer's kind: a checkpoint that is damaged is no wrong usage of sbs.
static agrl_rc evaluate(const ctl_job *job, const char *side, const char *checkpoint, agrl_error *err) {
  char *label = ctl_eval_label(side);
  int code = ctl_eval_run(&job->config, checkpoint, label, NULL);
  free(label);
  if (!code) return AGRL_OK;
  agrl_rc rc = AGRL_ESELFCHECK;
  for (agrl_rc k = AGRL_EUNSUPPORTED; k > AGRL_OK; k--)
    if (agrl_rc_exit(k) == code) rc = k;
  return agrl_fail(err, rc, "%s could not be scored", side);
}

// Evaluated first where there are no items of the checkpoint, or those of another.
static agrl_rc load_checkpoint(const ctl_job *job, const char *side, const char *checkpoint, const char *split, sbs_items *out, agrl_error *err) {
  char *items = eval_path(job, side, split, "items.jsonl"), *result = eval_path(job, side, split, "json");
  agrl_rc rc = AGRL_ENOENT;
  if (agrl_file_exists(items)) {
    rc = load_items(items, result, checkpoint, out, err);
    if (rc) fprintf(stderr, "agrlctl: the items in %s are not of %s as it is now; evaluating again\n", items, checkpoint);
  }
  if (rc) {
    sbs_items_release(out);
    rc = evaluate(job, side, checkpoint, err);
    if (!rc) rc = load_items(items, result, checkpoint, out, err);
  }
  free(items);
  free(result);
  return rc;
}

// The checkpoint of that name; NULL: there is none.
static char *checkpoint_path(const ctl_job *job, const char *side) {
  char *name = agrl_xasprintf("%s/checkpoints/%s", job->config.run.dir, side), *real = strchr(side, '/') || !*side ? NULL : realpath(name, NULL);
  free(name);
  return real;  // the one that latest is now, whatever a running job makes of it
}

// What can be told without evaluating anything.
static agrl_rc check_side(const ctl_job *job, const char *side, agrl_error *err) {
  if (!*side) return agrl_fail(err, AGRL_EINVAL, "sbs: A or B is empty; name a checkpoint or an items file");
  if (is_file(side)) return agrl_file_exists(side) ? AGRL_OK : agrl_fail(err, AGRL_ENOENT, "%s: there is no such items file", side);
  agrl_spec spec;
  char *dir = checkpoint_path(job, side);
  agrl_rc rc = dir ? agrl_ckpt_load_spec(dir, &spec, err)
                   : agrl_fail(err, AGRL_ENOENT, "'%s' is neither a checkpoint under %s/checkpoints nor an items file (.jsonl); of another run's checkpoint "
                               "agrlctl eval makes one, RUN/eval/LABEL/SPLIT.items.jsonl", side, job->config.run.dir);
  free(dir);
  return rc;
}

// Items that are not there are made of a file of data.eval.
static agrl_rc check_split(const ctl_job *job, const char *split, agrl_error *err) {
  bool found = false;
  const char *list = job->config.data.eval;
  for (char *file; (file = ctl_eval_next_file(&list)); free(file)) {
    char *name = ctl_eval_split(file);
    found |= !strcmp(name, split);
    free(name);
  }
  if (found) return AGRL_OK;
  if (!*job->config.data.eval) return agrl_fail(err, AGRL_ECONFIG, "%s: the job names no held-out rows (data.eval)", job->config.run.dir);
  return agrl_fail(err, AGRL_ENOENT, "--split: data.eval has no file '%s'; it is %s", split, job->config.data.eval);
}

static bool has_items(const ctl_job *job, const char *side, const char *split) {
  char *items = eval_path(job, side, split, "items.jsonl");
  bool has = is_file(side) || agrl_file_exists(items);
  free(items);
  return has;
}

static agrl_rc check_request(const ctl_job *job, const request *q, const char *split, agrl_error *err) {
  agrl_rc rc = check_side(job, q->a, err);
  if (!rc) rc = check_side(job, q->b, err);
  return rc || (has_items(job, q->a, split) && has_items(job, q->b, split)) ? rc : check_split(job, split, err);
}

static agrl_rc load_side(const ctl_job *job, const char *side, const char *split, sbs_items *out, agrl_error *err) {
  if (is_file(side)) return sbs_items_load(side, out, err);
  char *checkpoint = checkpoint_path(job, side);
  agrl_rc rc = checkpoint ? load_checkpoint(job, side, checkpoint, split, out, err)
                          : agrl_fail(err, AGRL_ENOENT, "%s/checkpoints/%s is no longer there", job->config.run.dir, side);
  free(checkpoint);
  return rc;
}

static char *key_path(const char *page) {
  size_t n = strlen(page);
  if (n > 5 && !strcmp(page + n - 5, ".html")) n -= 5;
  return agrl_xasprintf("%.*s.key.json", (int)n, page);
}

// A key of another sheet is somebody's grading under way.
static agrl_rc keep_other_key(const char *path, const char *sheet, agrl_error *err) {
  agrl_json *old = NULL;
  const char *id = "";
  if (!agrl_file_exists(path)) return AGRL_OK;
  agrl_rc rc = agrl_json_load(path, &old, err);
  agrl_json_str(agrl_json_get(old, "sheet"), &id, NULL);
  if (!rc && strcmp(id, sheet) != 0)
    rc = agrl_fail(err, AGRL_EEXIST, "%s is the key of another sheet, whose grades would be lost; give --out FILE or remove it", path);
  agrl_json_free(old);
  return rc;
}

static agrl_rc write_sheet(const request *q, const sbs_draw *d, const char *page, agrl_error *err) {
  agrl_buf key = {0}, html = {0};
  char sheet[17], *path = key_path(page);
  const char *name = strrchr(path, '/');
  sbs_key_json(d, q->a, q->b, sheet, &key);
  sbs_sheet_html(d, sheet, name ? name + 1 : path, &html);
  agrl_rc rc = keep_other_key(path, sheet, err);
  bool kept = agrl_file_exists(path);  // of this sheet, written before
  if (!rc) rc = agrl_file_write_atomic(path, key.data, key.len, err);
  if (!rc && (rc = agrl_file_write_atomic(page, html.data, html.len, err)) && !kept) unlink(path);
  if (!rc)
    printf("%zu of %zu items whose tiers differ (%zu are in both)\n  sheet  %s\n  key    %s (not for the grader)\n"
           "Grade in a browser, export, then: agrlctl sbs --grades FILE --key %s\n", d->n, d->differ, d->common, page, path, path);
  free(path);
  agrl_buf_release(&key);
  agrl_buf_release(&html);
  return rc;
}

static int make_sheet(const request *q) {
  agrl_error err = {0};
  ctl_job job;
  if (ctl_job_open(&job, q->config, q->run_dir, &err)) return ctl_fail(&err);
  sbs_items a = {0}, b = {0};
  sbs_draw d = {0};
  const char *list = job.config.data.eval;
  char *file = ctl_eval_next_file(&list), *split = q->split ? agrl_xstrdup(q->split) : ctl_eval_split(file ? file : "eval");
  char *page = q->out ? agrl_xstrdup(q->out)
               : is_file(q->a) || is_file(q->b) ? agrl_xstrdup("sbs.html") : agrl_xasprintf("%s/sbs-%s-%s.html", job.config.run.dir, q->a, q->b);
  agrl_rc rc = check_request(&job, q, split, &err);
  if (!rc) rc = load_side(&job, q->a, split, &a, &err);
  if (!rc) rc = load_side(&job, q->b, split, &b, &err);
  if (!rc) rc = sbs_draw_pairs(&a, &b, q->items, q->seed, &d, &err);
  if (!rc) rc = write_sheet(q, &d, page, &err);
  sbs_draw_release(&d);
  sbs_items_release(&a);
  sbs_items_release(&b);
  free(file);
  free(split);
  free(page);
  ctl_job_release(&job);
  return rc ? ctl_fail(&err) : 0;
}

// --- the grades ---

static void print_gsb(const sbs_gsb *g, bool json) {
  if (!json) {
    printf("GSB of %s over %s: ", g->b, g->a);
    if (isnan(g->gsb)) printf("-   (fewer than %d grades)\n", SBS_LEAST_GRADES);
    else printf("%+.3f   [%+.3f, %+.3f]\n", g->gsb, g->low, g->high);
    printf("  good %zu  same %zu  bad %zu", g->good, g->same, g->bad);
    if (g->missing) printf("  not graded %zu", g->missing);
    printf("\n  only items whose tiers differ were graded: %zu of %zu; on the others the two are the same in tier\n", g->differ, g->common);
    return;
  }
  agrl_buf out = {0};
  agrl_jw w;
  agrl_jw_init(&w, &out);
  agrl_jw_obj(&w);
  agrl_jw_kstr(&w, "a", g->a);
  agrl_jw_kstr(&w, "b", g->b);
  agrl_jw_ku64(&w, "good", g->good);
  agrl_jw_ku64(&w, "same", g->same);
  agrl_jw_ku64(&w, "bad", g->bad);
  agrl_jw_ku64(&w, "missing", g->missing);
  agrl_jw_ku64(&w, "differ", g->differ);
  agrl_jw_ku64(&w, "common", g->common);
  agrl_jw_kf64(&w, "gsb", g->gsb);
  agrl_jw_key(&w, "gsb_ci");
  agrl_jw_arr(&w);
  agrl_jw_f64(&w, g->low);
  agrl_jw_f64(&w, g->high);
  agrl_jw_end_arr(&w);
  agrl_jw_end_obj(&w);
  puts(out.data);
  agrl_buf_release(&out);
}

static int take_grades(const request *q) {
  agrl_error err = {0};
  agrl_json *grades = NULL, *key = NULL;
  sbs_gsb g = {0};
  const char *name = "";
  agrl_rc rc = agrl_json_load(q->grades, &grades, &err);
  agrl_json_str(agrl_json_get(grades, "key"), &name, NULL);
  char *dir = agrl_path_dir(q->grades), *beside = agrl_path_join(dir, name);
  if (!rc && !q->key && (!*name || strchr(name, '/') || !agrl_file_exists(beside)))
    rc = agrl_fail(&err, AGRL_ENOENT, "the sheet's key %.60s is not beside %s; give --key FILE", name, q->grades);
  if (!rc) rc = agrl_json_load(q->key ? q->key : beside, &key, &err);
  if (!rc) rc = sbs_grade(grades, key, &g, &err);
  if (!rc) print_gsb(&g, q->json);
  sbs_gsb_release(&g);
  agrl_json_free(grades);
  agrl_json_free(key);
  free(dir);
  free(beside);
  return rc ? ctl_fail(&err) : 0;
}

static int run(int argc, char **argv) {
  static const struct option longs[] = {{"config", 1, 0, 'c'}, {"run-dir", 1, 0, 'D'}, {"items", 1, 0, 'n'}, {"seed", 1, 0, 's'},
                                        {"split", 1, 0, 'S'},  {"out", 1, 0, 'O'},     {"grades", 1, 0, 'g'}, {"key", 1, 0, 'k'},
                                        {"help", 0, 0, 'h'},   {0, 0, 0, 0}};
  bool given[CTL_LETTERS] = {false};
  request q = {.items = 50, .seed = 1};
  for (int k; (k = getopt_long(argc, argv, "o:h", longs, NULL)) != -1; given[k] = true) switch (k) {
      case 'c': q.config = optarg; break;
      case 'D': q.run_dir = optarg; break;
      case 'n': if (!agrl_parse_u64(optarg, &q.items) || !q.items) return ctl_usage(&ctl_cmd_sbs, "--items: '%s' is no number of items", optarg); break;
      case 's': if (!agrl_parse_u64(optarg, &q.seed)) return ctl_usage(&ctl_cmd_sbs, "--seed: '%s' is not a number", optarg); break;
      case 'S': q.split = optarg; break;
      case 'O': q.out = optarg; break;
      case 'g': q.grades = optarg; break;
      case 'k': q.key = optarg; break;
      case 'o': q.json = !strcmp(optarg, "json"); if (!q.json && strcmp(optarg, "text")) return ctl_usage(&ctl_cmd_sbs, "-o: json or text"); break;
      case 'h': return ctl_help(&ctl_cmd_sbs);
      default: return ctl_bad_option(&ctl_cmd_sbs);
    }
  int code = ctl_only_options(&ctl_cmd_sbs, q.grades ? "sbs --grades" : "sbs A B", longs, given, q.grades ? "gko" : "nsSO");
  if (code) return code;
  if (q.grades) return optind == argc ? take_grades(&q) : ctl_usage(&ctl_cmd_sbs, "unexpected '%s' beside --grades", argv[optind]);
  if (argc - optind != 2) return ctl_usage(&ctl_cmd_sbs, "expected: A B, or --grades FILE");
  q.a = argv[optind];
  q.b = argv[optind + 1];
  return make_sheet(&q);
}

const ctl_command ctl_cmd_sbs = {"sbs", "grade two checkpoints side by side", usage, run};
