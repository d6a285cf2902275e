// SPDX-License-Identifier: Apache-2.0
// Asking actors whether they are ready, off the loop thread.
#include "deploy/ctl/watch.h"

#include <stdlib.h>

#include "common/base/clock.h"
#include "common/base/mem.h"
#include "deploy/ctl/ctl.h"

#define EVERY_NS (2 * UINT64_C(1000000000))
#define ACTOR_PORT 10  // offset of actor 0 from the base

void ctl_watch_init(ctl_watch *w, uv_loop_t *loop, const char *host, int base_port, ctl_proc *procs, const size_t *n_procs) {
  *w = (ctl_watch){.loop = loop, .host = host, .base_port = base_port, .procs = procs, .n_procs = n_procs};
}

static void ask(uv_work_t *work) {
  ctl_watch *w = work->data;
  for (size_t i = 0; i < w->n && !atomic_load(&w->stop); i++) w->items[i].ready = ctl_probe_ready(w->host, w->items[i].port) == 1;
}

static void note(ctl_watch *w, const ctl_watch_item *item) {
  for (size_t i = 0; i < *w->n_procs; i++) {
    ctl_proc *p = &w->procs[i];
    if (p->pid != item->pid || p->state != CTL_PROC_RUNNING) continue;
    p->ready = item->ready;
    p->was_ready |= item->ready;
  }
}

static void answered(uv_work_t *work, int status) {
  ctl_watch *w = work->data;
  w->under_way = false;
  for (size_t i = 0; i < w->n && !status && !atomic_load(&w->stop); i++) note(w, &w->items[i]);
  free(w->items);
  w->items = NULL;
}

void ctl_watch_tick(ctl_watch *w) {
  uint64_t now = agrl_mono_ns();
  if (!w->base_port || w->under_way || atomic_load(&w->stop) || now - w->asked_ns < EVERY_NS) return;
  w->asked_ns = now;
  w->n = 0;
  w->items = agrl_xcalloc(*w->n_procs + 1, sizeof *w->items);
  for (size_t i = 0; i < *w->n_procs; i++) {
    const ctl_proc *p = &w->procs[i];
    if (p->kind == CTL_KIND_ACTOR && p->state == CTL_PROC_RUNNING)
      w->items[w->n++] = (ctl_watch_item){.port = w->base_port + ACTOR_PORT + p->index, .pid = p->pid};
  }
  w->work.data = w;
  w->under_way = w->n > 0 && !uv_queue_work(w->loop, &w->work, ask, answered);
  if (w->under_way) return;
  free(w->items);
  w->items = NULL;
}

void ctl_watch_stop(ctl_watch *w) { atomic_store(&w->stop, true); }
