// SPDX-License-Identifier: Apache-2.0
// Drawing the progress view.
#include "deploy/ctl/view.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/file.h"

#define REDRAW_NS (500 * UINT64_C(1000000))
#define PLAIN_NS (5000 * UINT64_C(1000000))
#define RATE_WINDOW 20

void ctl_view_init(ctl_view *v, const agrl_config *config) {
  *v = (ctl_view){.config = config, .metrics_path = agrl_path_join(config->run.dir, "metrics.jsonl"),
                  .started_ns = agrl_mono_ns()};
  ctl_view_output_changed(v);
}

void ctl_view_output_changed(ctl_view *v) {
  v->terminal = isatty(STDOUT_FILENO) && getenv("TERM") && strcmp(getenv("TERM"), "dumb");
}

void ctl_view_release(ctl_view *v) {
  ctl_series_release(&v->series);
  free(v->metrics_path);
}

void ctl_view_refresh(ctl_view *v) { ctl_series_read(&v->series, v->metrics_path, NULL); }

double ctl_series_rate(const ctl_series *s) {
  const ctl_point *last = ctl_series_last(s);
  if (!last) return NAN;
  size_t i = s->n - 1;
  double busy = last->step_seconds;
  while (i > 0 && s->n - i < RATE_WINDOW && s->points[i - 1].rl == last->rl) busy += s->points[--i].step_seconds;
  double steps = last->step - s->points[i].step, wall = last->wall - s->points[i].wall;
  if (steps > 0 && wall > 0) return steps / wall;
  return busy > 0 ? (double)(s->n - i) / busy : NAN;
}

void ctl_duration_text(double seconds, char out[32]) {
  if (!(seconds >= 0) || seconds > 1e8) snprintf(out, 32, "?");
  else if (seconds < 60) snprintf(out, 32, "%.0fs", seconds);
  else if (seconds < 3600) snprintf(out, 32, "%dm%02ds", (int)seconds / 60, (int)seconds % 60);
  else snprintf(out, 32, "%dh%02dm", (int)seconds / 3600, (int)seconds / 60 % 60);
}

typedef struct phase {
  const char *name;
  double done, total;
  bool active;
} phase;

// Both phases as far as they are known.
static void phases(const ctl_view *v, phase out[2]) {
  const ctl_point *last = ctl_series_last(&v->series);
  out[0] = (phase){"SFT", 0, (double)v->config->sft.steps, false};
  out[1] = (phase){"RL", 0, (double)agrl_config_versions(v->config), false};
  for (size_t i = 0; i < v->series.n; i++) {
    const ctl_point *p = &v->series.points[i];
    phase *f = &out[p->rl];
    f->done = p->step;
    if (p->steps > 0) f->total = p->steps;
  }
  if (!last) return;
  out[last->rl].active = out[last->rl].done < out[last->rl].total;
  if (last->rl) out[0].done = out[0].total;
}

static void bar(agrl_buf *out, double share, int width) {
  static const char *const eighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  int filled = (int)(fmin(fmax(share, 0), 1) * width * 8), cells = filled / 8;
  for (int i = 0; i < cells; i++) agrl_buf_adds(out, "█");
  agrl_buf_adds(out, eighths[filled % 8]);
  for (int i = cells + (filled % 8 > 0); i < width; i++) agrl_buf_adds(out, "·");
}

static void number(agrl_buf *out, const char *name, double v, const char *fmt) {
  char text[32] = "-";
  if (isfinite(v)) snprintf(text, sizeof text, fmt, v);
  agrl_buf_addf(out, "%s \033[1m%s\033[0m   ", name, text);
}

static void pace(const ctl_view *v, const phase *p, agrl_buf *out) {
  char left[32];
  double rate = ctl_series_rate(&v->series);
  if (!p->active || !(rate > 0)) {
    agrl_buf_adds(out, p->total > 0 && p->done >= p->total ? "done" : "");
    return;
  }
  ctl_duration_text((p->total - p->done) / rate, left);
  agrl_buf_addf(out, rate >= 1 ? "%.1f/s, %s left" : "%.2f/s, %s left", rate, left);
}

void ctl_view_block(const ctl_view *v, int width, agrl_buf *out) {
  char up[32];
  phase ph[2];
  phases(v, ph);
  ctl_duration_text(agrl_since_s(v->started_ns), up);
  agrl_buf_addf(out, "\033[1magrl\033[0m  %s  seed %lld  up %s%s\n", v->config->run.dir,
                (long long)v->config->run.seed, up,
                v->stopping ? "  \033[33mstopping\033[0m" : "");
  for (int i = 0; i < 2; i++) {
    if (ph[i].total <= 0) continue;
    agrl_buf_addf(out, "  %-3s %s", ph[i].name, ph[i].active ? "\033[36m" : ph[i].done > 0 ? "\033[32m" : "\033[2m");
    bar(out, ph[i].done / ph[i].total, width > 90 ? 40 : width > 60 ? 24 : 10);
    agrl_buf_addf(out, "\033[0m %5.0f/%-5.0f ", ph[i].done, ph[i].total);
    pace(v, &ph[i], out);
    agrl_buf_addc(out, '\n');
  }
  const ctl_point *p = ctl_series_last(&v->series);
  agrl_buf_adds(out, "  ");
  number(out, "loss", p ? p->loss : NAN, "%.4f");
  if (p && p->rl) {
    number(out, "reward", p->reward_mean, "%.3f");
    number(out, "accuracy", p->accuracy, "%.3f");
    number(out, "guided", 100 * p->guided_ratio, "%.0f %%");
    number(out, "staleness", p->staleness_mean, "%.2f");
  }
  number(out, "tokens/s", p ? p->tokens_per_second : NAN, "%.0f");
  agrl_buf_addf(out, "\n  actors \033[1m%zu/%zu\033[0m running   restarts \033[1m%u\033[0m\n", v->actors_running,
                v->actors_wanted, v->restarts);
}

void ctl_view_line(const ctl_view *v, agrl_buf *out) {
  phase ph[2];
  phases(v, ph);
  const ctl_point *p = ctl_series_last(&v->series);
  if (!p) {
    agrl_buf_addf(out, "phase=starting actors=%zu/%zu restarts=%u", v->actors_running, v->actors_wanted, v->restarts);
    return;
  }
  const phase *f = &ph[p->rl];
  double rate = ctl_series_rate(&v->series);
  char left[32];
  ctl_duration_text((f->total - f->done) / rate, left);
  agrl_buf_addf(out, "phase=%s step=%.0f/%.0f rate=%.2f/s left=%s loss=%.4f", p->rl ? "rl" : "sft", f->done, f->total,
                rate, left, p->loss);
  if (p->rl)
    agrl_buf_addf(out, " reward=%.3f accuracy=%.3f guided=%.3f staleness=%.2f", p->reward_mean, p->accuracy,
                  p->guided_ratio, p->staleness_mean);
  agrl_buf_addf(out, " tokens_per_second=%.0f actors=%zu/%zu restarts=%u", p->tokens_per_second, v->actors_running,
                v->actors_wanted, v->restarts);
}

static void erase(ctl_view *v) {
  if (v->lines) printf("\033[%zuA\r\033[J", v->lines);
  v->lines = 0;
}

static void draw_block(ctl_view *v) {
  struct winsize w = {0};
  agrl_buf text = {0};
  int width = ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) || !w.ws_col ? 80 : w.ws_col;
  ctl_view_block(v, width, &text);
  erase(v);
  printf("\033[?7l%s\033[?7h", text.data);  // long lines are cut at the edge, not wrapped
  for (const char *s = text.data; *s; s++) v->lines += *s == '\n';
  agrl_buf_release(&text);
}

void ctl_view_quiet(ctl_view *v) { v->quiet = true; }

void ctl_view_draw(ctl_view *v, bool at_once) {
  uint64_t now = agrl_mono_ns();
  if (v->quiet) return;
  if (!at_once && now - v->drawn_ns < (v->terminal ? REDRAW_NS : PLAIN_NS)) return;
  v->drawn_ns = now;
  ctl_view_refresh(v);
  if (v->terminal) {
    draw_block(v);
  } else {
    agrl_buf text = {0};
    ctl_view_line(v, &text);
    puts(text.data);
    agrl_buf_release(&text);
  }
  fflush(stdout);
}

void ctl_view_say(ctl_view *v, const char *fmt, ...) {
  va_list ap;
  if (v->terminal) erase(v);
  fputs("agrlctl: ", stdout);
  va_start(ap, fmt);
  vprintf(fmt, ap);
  va_end(ap);
  putchar('\n');
  if (v->terminal) draw_block(v);
  fflush(stdout);
}
