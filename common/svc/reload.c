// SPDX-License-Identifier: Apache-2.0
// SIGHUP: the same file and the same overrides are read again. Either every changed key may change while the daemon runs,
// or the first that may not is named and nothing changes. Only fields that may change are written: other threads read the
// rest. Replaced values are kept until the end, because modules borrow their strings.
#include <stdlib.h>

#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/svc/svc_impl.h"

void svc_reload(svc_private *p) {
  agrl_svc *s = &p->pub;
  agrl_config next;
  agrl_error err = {0};
  agrl_rc rc = svc_options_config(&p->options, &next, &err);
  if (rc == AGRL_OK) {
    rc = agrl_conf_reloadable(agrl_config_table, agrl_config_table_len, &s->config, &next, &err);
    if (rc != AGRL_OK) agrl_config_release(&next);
  }
  if (rc != AGRL_OK) {
    agrl_loge("reload refused, nothing changed: %s", err.msg);
    agrl_svc_event(s, "reload_refused", NULL);
    return;
  }
  p->retired = agrl_xreallocarray(p->retired, p->n_retired + 1, sizeof *p->retired);
  agrl_conf_swap_reloadable(agrl_config_table, agrl_config_table_len, &s->config, &next);
  p->retired[p->n_retired++] = next;
  agrl_log_init(s->name, (agrl_log_level)s->config.obs.log_level);
  if (s->def->reload != NULL) s->def->reload(s);
  agrl_logi("reloaded config=%s", p->options.config != NULL ? p->options.config : "defaults");
  agrl_svc_event(s, "reloaded", NULL);
}

void svc_reload_release(svc_private *p) {
  for (size_t i = 0; i < p->n_retired; i++) agrl_config_release(&p->retired[i]);
  free(p->retired);
}
