// SPDX-License-Identifier: Apache-2.0
// The stall detector. It looks at work left, not at work in flight: a daemon wedged with nothing in flight is stalled too.
#include "common/svc/svc_impl.h"

svc_watch_change svc_watch_update(svc_watch *w, uint64_t now_ns, uint64_t value, bool work_left) {
  if (!w->started || value != w->last_value || !work_left) {
    bool was = w->stalled;
    *w = (svc_watch){.last_value = value, .moved_ns = now_ns, .started = true};
    return was ? SVC_WATCH_MOVES : SVC_WATCH_SAME;
  }
  if (w->stalled || now_ns - w->moved_ns < SVC_STALL_NS) return SVC_WATCH_SAME;
  w->stalled = true;
  return SVC_WATCH_STALLED;
}
