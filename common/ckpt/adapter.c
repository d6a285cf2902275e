// SPDX-License-Identifier: Apache-2.0
// See adapter.h.
#include "common/ckpt/adapter.h"

#include <string.h>

#include "common/base/json.h"
#include "common/ckpt/safetensors.h"
#include "common/conf/targets.h"

void agrl_adapter_write_config(const agrl_lora *l, const char *base, agrl_buf *out) {
  agrl_jw w;
  agrl_jw_init(&w, out);
  agrl_jw_obj(&w);
  agrl_jw_kstr(&w, "peft_type", "LORA");
  agrl_jw_kstr(&w, "task_type", "CAUSAL_LM");
  agrl_jw_kstr(&w, "base_model_name_or_path", base);
  agrl_jw_ku64(&w, "r", l->rank);
  agrl_jw_kf64(&w, "lora_alpha", l->alpha);
  agrl_jw_kf64(&w, "lora_dropout", 0);
  agrl_jw_key(&w, "target_modules");
  agrl_jw_arr(&w);
  for (int i = 0; i < AGRL_TARGETS; i++)
    if (l->targets >> i & 1) agrl_jw_str(&w, agrl_target_names[i]);
  agrl_jw_end_arr(&w);
  agrl_jw_kstr(&w, "bias", "none");
  agrl_jw_kbool(&w, "fan_in_fan_out", false);
  agrl_jw_kbool(&w, "inference_mode", true);
  agrl_jw_end_obj(&w);
}

static agrl_rc read_targets(const agrl_json *list, unsigned *mask, agrl_error *err) {
  agrl_buf text = {0};
  const char *word;
  for (size_t i = 0; i < agrl_json_len(list); i++)
    if (agrl_json_str(agrl_json_at(list, i), &word, NULL)) agrl_buf_addf(&text, "%s%s", i ? "," : "", word);
  agrl_buf_addc(&text, '\0');
  agrl_rc rc = agrl_targets_parse(text.data, mask, err);
  agrl_buf_release(&text);
  return rc;
}

agrl_rc agrl_adapter_parse_config(const char *text, size_t len, const char *name, const agrl_layout *model, agrl_lora **out, agrl_error *err) {
  agrl_json *j = NULL;
  const char *type;
  int64_t rank;
  double alpha;
  unsigned targets;
  *out = NULL;
  agrl_rc rc = agrl_json_parse(text, len, name, &j, err);
  if (rc != AGRL_OK) return rc;
  if (!agrl_json_str(agrl_json_get(j, "peft_type"), &type, NULL) || strcmp(type, "LORA") != 0 || !agrl_json_i64(agrl_json_get(j, "r"), &rank) ||
      rank < 1 || !agrl_json_f64(agrl_json_get(j, "lora_alpha"), &alpha))
    rc = agrl_fail(err, AGRL_EPARSE, "%s: expected peft_type LORA, r, lora_alpha and target_modules", name);
  if (rc == AGRL_OK) rc = read_targets(agrl_json_get(j, "target_modules"), &targets, err);
  if (rc == AGRL_OK) rc = agrl_lora_new(model, (size_t)rank, alpha, targets, out, err);
  agrl_json_free(j);
  return rc;
}

void agrl_adapter_write(const agrl_lora *l, const float *block, agrl_buf *out) { agrl_st_append(l->layout, block, out); }

agrl_rc agrl_adapter_read(const agrl_lora *l, const void *data, size_t len, const char *name, float *block, agrl_error *err) {
  agrl_st st;
  agrl_rc rc = agrl_st_parse(data, len, name, &st, err);
  if (rc != AGRL_OK) return rc;
  if (st.n != l->layout->n_tensors) rc = agrl_fail(err, AGRL_EPARSE, "%s: %zu tensors, expected %zu", name, st.n, l->layout->n_tensors);
  for (size_t i = 0; rc == AGRL_OK && i < l->layout->n_tensors; i++) {
    const agrl_tensor_desc *d = &l->layout->tensors[i];
    const agrl_st_tensor *t = agrl_st_find(&st, d->name);
    if (t != NULL && t->n_dims == 2 && t->shape[0] == d->rows && t->shape[1] == d->cols) agrl_st_to_f32(t, block + d->offset);
    else rc = agrl_fail(err, AGRL_EPARSE, "%s: no tensor %s of %zu x %zu", name, d->name, d->rows, d->cols);
  }
  agrl_st_release(&st);
  return rc;
}
