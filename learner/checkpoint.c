// SPDX-License-Identifier: Apache-2.0
// Checkpoints: a Hugging Face directory of the served weights (bf16), and beside it what exact continuation needs: master
// weights and moments (raw little-endian f32 in layout order), a refreshed reference and trainer_state.json. With adapters the model's weights are the
// merged ones, the master weights those of the adapters (safetensors, with PEFT's names), and the base lies in a directory of its
// own, once a run; the state names its hash. Hashes of all files are in the manifest.
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/json.h"
#include "common/base/mem.h"
#include "common/ckpt/adapter.h"
#include "common/ckpt/hf.h"
#include "common/tensor/tensor.h"
#include "learner/learner.h"

static const char STATE_FILE[] = "trainer_state.json";
static const char REFERENCE_FILE[] = "reference.bf16";  // once grpo.reference_every refreshed it
static const char MASTER_FILE[] = "master.f32";
static const char *const MOMENT_FILES[] = {"adam_m.f32", "adam_v.f32"};
enum { N_MOMENTS = 2, MAX_EXTRA = N_MOMENTS + 6 };

// A reference that was refreshed lies in the checkpoint; otherwise it is that of the warm start, of step 0.
static bool keeps_reference(const learner_core *c) { return c->reference != NULL && AGRL_VERSION_STEP(agrl_weights_version(c->reference)) > 0; }

static void write_state(const learner_core *c, agrl_buf *out) {
  agrl_jw w;
  char hex[65];
  agrl_jw_init(&w, out);
  agrl_jw_obj(&w);
  agrl_jw_ku64(&w, "version", c->version);
  agrl_jw_ku64(&w, "step", AGRL_VERSION_STEP(c->version));
  agrl_jw_ku64(&w, "updates", c->optim.updates);
  agrl_jw_ku64(&w, "bad_steps", c->bad_steps);
  agrl_jw_ki64(&w, "sft_step", c->cursor.step);
  agrl_jw_ki64(&w, "sft_epoch", c->cursor.epoch);
  agrl_jw_ki64(&w, "sft_pos", c->cursor.pos);
  agrl_jw_kbool(&w, "reference", keeps_reference(c));
  if (c->lora != NULL) {
    const agrl_sha256 hash = agrl_weights_hash(c->optim.base);
    agrl_sha256_hex(&hash, hex);
    agrl_jw_kstr(&w, "lora_base", hex);
  }
  agrl_jw_end_obj(&w);
}

static agrl_rc load_state(const char *dir, agrl_json **out, agrl_error *err) {
  agrl_buf text = {0};
  agrl_rc rc = agrl_ckpt_read_extra(dir, STATE_FILE, &text, err);
  if (rc == AGRL_OK) rc = agrl_json_parse(text.data, text.len, STATE_FILE, out, err);
  agrl_buf_release(&text);
  return rc;
}

static agrl_rc read_state(learner_core *c, const agrl_json *j, const char *dir, agrl_error *err) {
  int64_t version, updates, bad;
  bool ok = agrl_json_i64(agrl_json_get(j, "version"), &version) && agrl_json_i64(agrl_json_get(j, "updates"), &updates) &&
            agrl_json_i64(agrl_json_get(j, "bad_steps"), &bad) && agrl_json_i64(agrl_json_get(j, "sft_step"), &c->cursor.step) &&
            agrl_json_i64(agrl_json_get(j, "sft_epoch"), &c->cursor.epoch) &&
            agrl_json_i64(agrl_json_get(j, "sft_pos"), &c->cursor.pos) && version >= 0 && updates >= 0 && bad >= 0;
  if (!ok) return agrl_fail(err, AGRL_EPARSE, "%s/%s: expected version, updates, bad_steps, sft_step, sft_epoch, sft_pos", dir, STATE_FILE);
  c->version = (uint64_t)version;
  c->optim.updates = (uint64_t)updates;
  c->bad_steps = (uint32_t)bad;
  return AGRL_OK;
}

// ---- saving

// What is served as f32: the master weights, whose rounding it is, or the merged weights widened. *owned: to be freed.
static agrl_rc served_block(const learner_core *c, const float **block, float **owned, agrl_error *err) {
  const size_t n = c->layout->n_elements;
  *owned = NULL;
  *block = c->optim.master;
  if (c->lora == NULL) return AGRL_OK;
  *owned = agrl_block_alloc(n * sizeof(float));
  if (*owned == NULL) return agrl_fail(err, AGRL_ENOMEM, "checkpoint: no memory for %zu merged weights", n);
  agrl_f32_from_bf16(*owned, c->optim.bf16, n);
  *block = *owned;
  return AGRL_OK;
}

static size_t tokenizer_files(const learner_core *c, agrl_ckpt_extra *extra) {
  size_t n = 0;
  if (c->tokenizer_config.len > 0)
    extra[n++] = (agrl_ckpt_extra){AGRL_CKPT_TOKENIZER_CONFIG, c->tokenizer_config.data, c->tokenizer_config.len};
  if (c->chat_template.len > 0) extra[n++] = (agrl_ckpt_extra){AGRL_CKPT_CHAT_TEMPLATE, c->chat_template.data, c->chat_template.len};
  return n;
}

// Absolute: readers of the adapters look for their base from wherever they run.
static void describe_adapters(const learner_core *c, agrl_buf *out) {
  char *path = c->base_dir != NULL ? realpath(c->base_dir, NULL) : NULL;
  agrl_adapter_write_config(c->lora, path != NULL ? path : c->base_dir != NULL ? c->base_dir : "", out);
  free(path);
}

agrl_rc learner_checkpoint_save(const learner_core *c, const char *dir, agrl_error *err) {
  const size_t bytes = c->optim.trained->n_elements * sizeof(float);
  agrl_ckpt_extra extra[MAX_EXTRA];
  size_t n = 0;
  agrl_buf state = {0}, config = {0}, adapters = {0};
  const float *block;
  float *owned;
  agrl_rc rc = served_block(c, &block, &owned, err);
  if (rc != AGRL_OK) return rc;
  write_state(c, &state);
  if (c->lora != NULL) {
    describe_adapters(c, &config);
    agrl_adapter_write(c->lora, c->optim.master, &adapters);
    extra[n++] = (agrl_ckpt_extra){AGRL_CKPT_ADAPTER_CONFIG, config.data, config.len};
    extra[n++] = (agrl_ckpt_extra){AGRL_CKPT_ADAPTER_MODEL, adapters.data, adapters.len};
  } else {
    extra[n++] = (agrl_ckpt_extra){MASTER_FILE, c->optim.master, bytes};
  }
  extra[n++] = (agrl_ckpt_extra){MOMENT_FILES[0], c->optim.m, bytes};
  extra[n++] = (agrl_ckpt_extra){MOMENT_FILES[1], c->optim.v, bytes};
  extra[n++] = (agrl_ckpt_extra){STATE_FILE, state.data, state.len};
  if (keeps_reference(c))
    extra[n++] = (agrl_ckpt_extra){REFERENCE_FILE, agrl_weights_block(c->reference), c->layout->n_elements * sizeof(uint16_t)};
  n += tokenizer_files(c, extra + n);
  rc = agrl_ckpt_save(dir, c->layout, block, AGRL_DTYPE_BF16, c->tokenizer_json.data, c->tokenizer_json.len, c->version, extra, n, err);
  agrl_buf_release(&state);
  agrl_buf_release(&config);
  agrl_buf_release(&adapters);
  if (owned != NULL) agrl_block_free(owned, c->layout->n_elements * sizeof *owned);
  return rc;
}

agrl_rc learner_base_save(const learner_core *c, agrl_error *err) {
  const size_t n = c->layout->n_elements;
  float *block = agrl_block_alloc(n * sizeof *block);
  if (block == NULL) return agrl_fail(err, AGRL_ENOMEM, "%s: no memory for %zu weights", c->base_dir, n);
  agrl_f32_from_bf16(block, agrl_weights_block(c->optim.base), n);
  agrl_ckpt_extra extra[2];
  const size_t n_extra = tokenizer_files(c, extra);
  agrl_rc rc = agrl_ckpt_save(c->base_dir, c->layout, block, AGRL_DTYPE_BF16, c->tokenizer_json.data, c->tokenizer_json.len, 0, extra, n_extra, err);
  agrl_block_free(block, n * sizeof *block);
  return rc;
}

// ---- loading

static agrl_rc read_block(const char *dir, const char *name, float *to, size_t n, agrl_error *err) {
  agrl_buf b = {0};
  agrl_rc rc = agrl_ckpt_read_extra(dir, name, &b, err);
  if (rc == AGRL_OK && b.len != n * sizeof *to)
    rc = agrl_fail(err, AGRL_EPARSE, "%s/%s: %zu bytes, expected %zu", dir, name, b.len, n * sizeof *to);
  if (rc == AGRL_OK) memcpy(to, b.data, b.len);
  agrl_buf_release(&b);
  return rc;
}

// A run goes on as it began: with adapters or without.
static agrl_rc check_kind(const learner_core *c, const char *dir, bool with_adapters, agrl_error *err) {
  if (with_adapters == (c->config->lora.rank > 0)) return AGRL_OK;
  return agrl_fail(err, AGRL_ECONFIG, "%s was trained %s adapters, and lora.rank is %lld: set it as it was, or begin a new run with model.init: %s",
                   dir, with_adapters ? "with" : "without", (long long)c->config->lora.rank, dir);
}

// The adapters of the checkpoint must be those of the configuration, on the same base.
static agrl_rc load_adapters(learner_core *c, const char *dir, const char *base_hex, agrl_error *err) {
  agrl_buf b = {0};
  agrl_lora *was = NULL;
  char hex[65];
  const agrl_sha256 hash = agrl_weights_hash(c->optim.base);
  agrl_sha256_hex(&hash, hex);
  if (strcmp(hex, base_hex) != 0)
    return agrl_fail(err, AGRL_ECHECKSUM, "%s: holds other weights than those that the adapters of %s were trained on", c->base_dir, dir);
  agrl_rc rc = agrl_ckpt_read_extra(dir, AGRL_CKPT_ADAPTER_CONFIG, &b, err);
  if (rc == AGRL_OK) rc = agrl_adapter_parse_config(b.data, b.len, AGRL_CKPT_ADAPTER_CONFIG, c->layout, &was, err);
  if (rc == AGRL_OK && (was->rank != c->lora->rank || was->alpha != c->lora->alpha || was->targets != c->lora->targets))
    rc = agrl_fail(err, AGRL_ECONFIG, "%s/%s: rank %zu, alpha %g or the targets differ from lora.rank, lora.alpha and lora.targets: set them as they were, or begin "
                   "a new run with model.init: %s", dir, AGRL_CKPT_ADAPTER_CONFIG, was->rank, was->alpha, dir);
  agrl_buf_clear(&b);
  if (rc == AGRL_OK) rc = agrl_ckpt_read_extra(dir, AGRL_CKPT_ADAPTER_MODEL, &b, err);
  if (rc == AGRL_OK) rc = agrl_adapter_read(c->lora, b.data, b.len, AGRL_CKPT_ADAPTER_MODEL, c->optim.master, err);
  agrl_lora_free(was);
  agrl_buf_release(&b);
  return rc;
}

agrl_rc learner_checkpoint_load(learner_core *c, const char *dir, agrl_error *err) {
  agrl_layout *layout = NULL;
  float *block = NULL;
  agrl_json *state = NULL;
  const char *base_hex = NULL;
  agrl_rc rc = load_state(dir, &state, err);
  if (rc == AGRL_OK) agrl_json_str(agrl_json_get(state, "lora_base"), &base_hex, NULL);
  if (rc == AGRL_OK) rc = check_kind(c, dir, base_hex != NULL, err);
  if (rc == AGRL_OK) rc = agrl_ckpt_load(base_hex != NULL ? c->base_dir : dir, &layout, &block, NULL, err);
  if (rc == AGRL_OK) {
    const size_t n = layout->n_elements;
    rc = learner_core_adopt(c, layout, block, err);
    agrl_block_free(block, n * sizeof *block);
  }
  const size_t n = rc == AGRL_OK ? c->optim.trained->n_elements : 0;
  if (rc == AGRL_OK) rc = base_hex != NULL ? load_adapters(c, dir, base_hex, err) : read_block(dir, MASTER_FILE, c->optim.master, n, err);
  if (rc == AGRL_OK) rc = read_block(dir, MOMENT_FILES[0], c->optim.m, n, err);
  if (rc == AGRL_OK) rc = read_block(dir, MOMENT_FILES[1], c->optim.v, n, err);
  if (rc == AGRL_OK) rc = read_state(c, state, dir, err);
  if (rc == AGRL_OK) learner_optim_reserve(&c->optim, c->pool);
  agrl_json_free(state);
  return rc;
}

agrl_rc learner_reference_load(learner_core *c, const char *dir, agrl_error *err) {
  agrl_layout *layout = NULL;
  float *block = NULL;
  uint64_t version;
  agrl_rc rc = agrl_ckpt_load(dir, &layout, &block, &version, err);
  if (rc != AGRL_OK) return rc;
  if (layout->n_elements == c->layout->n_elements) {
    c->reference = agrl_weights_from_f32(c->layout, block, version);
    agrl_weights_pack(c->reference, c->pool);
  } else {
    rc = agrl_fail(err, AGRL_EPARSE, "%s: the reference has %zu parameters, the model %zu", dir, layout->n_elements, c->layout->n_elements);
  }
  agrl_block_free(block, layout->n_elements * sizeof(float));
  agrl_layout_free(layout);
  return rc;
}

static agrl_rc read_kept(const char *dir, bool *kept, agrl_error *err) {
  agrl_json *state = NULL;
  agrl_rc rc = load_state(dir, &state, err);
  if (rc == AGRL_OK && !agrl_json_bool(agrl_json_get(state, "reference"), kept))
    rc = agrl_fail(err, AGRL_EPARSE, "%s/%s: expected reference, true or false; a checkpoint that lacks it is an older version's: go on with that, or start another run from it "
                   "by model.init", dir, STATE_FILE);
  agrl_json_free(state);
  return rc;
}

agrl_rc learner_reference_resume(learner_core *c, const char *dir, const char *sft_dir, agrl_error *err) {
  bool kept = false;
  agrl_rc rc = read_kept(dir, &kept, err);
  if (rc != AGRL_OK) return rc;
  if (!kept) return learner_reference_load(c, sft_dir, err);
  char *path = agrl_path_join(dir, REFERENCE_FILE);
  if (!agrl_file_exists(path))
    rc = agrl_fail(err, AGRL_ENOENT, "%s: is missing, and this run's reference was refreshed, so that the warm start's is another: restore the file, or remove "
                   "%s to resume from the checkpoint before", path, dir);
  free(path);
  if (rc != AGRL_OK) return rc;
  agrl_buf b = {0};
  rc = agrl_ckpt_read_extra(dir, REFERENCE_FILE, &b, err);
  if (rc == AGRL_OK && b.len != c->layout->n_elements * sizeof(uint16_t))
    rc = agrl_fail(err, AGRL_EPARSE, "%s/%s: %zu bytes, expected %zu", dir, REFERENCE_FILE, b.len, c->layout->n_elements * sizeof(uint16_t));
  if (rc == AGRL_OK) {
    c->reference = agrl_weights_new(c->layout, (const uint16_t *)(const void *)b.data, c->version);
    agrl_weights_pack(c->reference, c->pool);
  }
  agrl_buf_release(&b);
  return rc;
}
