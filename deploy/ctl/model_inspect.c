// SPDX-License-Identifier: Apache-2.0
// agrlctl model inspect: what a GGUF file or a Hugging Face directory holds, without loading its weights. Facts are gathered
// first, then shown as text or JSON.
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/file.h"
#include "common/base/json.h"
#include "common/base/mem.h"
#include "common/ckpt/gguf.h"
#include "common/ckpt/safetensors.h"
#include "common/text/chat.h"
#include "deploy/ctl/ctl.h"
#include "deploy/ctl/model.h"

typedef struct tensor {
  char *name;
  const char *dtype;
  size_t n_dims, shape[AGRL_ST_MAX_DIMS];  // outermost first
} tensor;

typedef struct facts {
  char format[32];
  agrl_spec spec;
  tensor *tensors;
  size_t n_tensors, elements;
  uint64_t bytes;        // of the file, or of all files in the directory
  agrl_buf tokenizer_json, chat_template;
  agrl_bpe *bpe;         // NULL: no tokenizer here
  const char *manifest;  // "ok", "none", "wrong"
  agrl_error why;        // manifest wrong
  agrl_error misfit;     // the weights are missing, or not of the shape
} facts;

static tensor *add_tensor(facts *f, const char *name, const char *dtype, size_t n_dims, size_t elements) {
  f->tensors = agrl_xreallocarray(f->tensors, f->n_tensors + 1, sizeof *f->tensors);
  tensor *t = &f->tensors[f->n_tensors++];
  *t = (tensor){.name = agrl_xstrdup(name), .dtype = dtype, .n_dims = n_dims};
  f->elements += elements;
  return t;
}

static agrl_rc gather_gguf(const char *path, facts *f, agrl_error *err) {
  agrl_map map;
  agrl_gguf g = {0};
  agrl_gguf_str chat = {0};
  agrl_rc rc = agrl_map_open(&map, path, err);
  if (rc) return rc;
  rc = agrl_gguf_parse(map.data, map.len, path, &g, err);
  if (!rc) rc = agrl_gguf_spec(&g, &f->spec, err);
  if (!rc) rc = agrl_gguf_tokenizer_json(&g, &f->tokenizer_json, err);
  for (size_t i = 0; !rc && i < g.n_tensors; i++) {
    const agrl_gguf_tensor *t = &g.tensors[i];
    tensor *mine = add_tensor(f, t->name, t->type->name, t->n_dims, t->elements);
    for (size_t k = 0; k < t->n_dims; k++) mine->shape[k] = t->shape[t->n_dims - 1 - k];
  }
  if (!rc && agrl_gguf_read_str(agrl_gguf_get(&g, "tokenizer.chat_template"), &chat)) agrl_buf_add(&f->chat_template, chat.s, chat.len);
  snprintf(f->format, sizeof f->format, "GGUF %u", g.version);
  f->bytes = map.len;
  f->manifest = "none";
  if (!rc) agrl_gguf_fits(&g, &f->spec, &f->misfit);
  agrl_gguf_release(&g);
  agrl_map_close(&map);
  return rc;
}

static agrl_rc gather_safetensors(const char *path, facts *f, agrl_error *err) {
  static const char *const names[] = {[AGRL_DTYPE_F32] = "F32", [AGRL_DTYPE_BF16] = "BF16", [AGRL_DTYPE_F16] = "F16"};
  agrl_map map;
  agrl_st st = {0};
  agrl_rc rc = agrl_map_open(&map, path, err);
  if (rc) return rc;
  rc = agrl_st_parse(map.data, map.len, path, &st, err);
  for (size_t i = 0; !rc && i < st.n; i++) {
    tensor *mine = add_tensor(f, st.tensors[i].name, names[st.tensors[i].dtype], st.tensors[i].n_dims, st.tensors[i].elements);
    memcpy(mine->shape, st.tensors[i].shape, st.tensors[i].n_dims * sizeof *mine->shape);
  }
  agrl_st_release(&st);
  agrl_map_close(&map);
  return rc;
}

// Every file counts towards the size; *.safetensors are read, in order of their names.
static agrl_rc gather_files(const char *dir, facts *f, agrl_error *err) {
  struct dirent **names = NULL;
  agrl_rc rc = AGRL_OK;
  const int n = scandir(dir, &names, NULL, alphasort);
  for (int i = 0; i < n; i++) {
    char *path = agrl_path_join(dir, names[i]->d_name);
    const char *dot = strrchr(names[i]->d_name, '.');
    struct stat st;
    if (stat(path, &st) == 0 && S_ISREG(st.st_mode)) f->bytes += (uint64_t)st.st_size;
    if (!rc && dot && !strcmp(dot, ".safetensors")) rc = gather_safetensors(path, f, err);
    free(path);
    free(names[i]);
  }
  free(names);
  return rc;
}

static const tensor *find_tensor(const facts *f, const char *name) {
  for (size_t i = 0; i < f->n_tensors; i++)
    if (!strcmp(f->tensors[i].name, name)) return &f->tensors[i];
  return NULL;
}

// Every tensor of a model of this shape is there, and as large.
static agrl_rc check_shape(const char *dir, const facts *f, agrl_error *err) {
  agrl_layout *l = NULL;
  if (!f->n_tensors) return agrl_fail(err, AGRL_ENOENT, "%s: has no weights (*.safetensors)", dir);
  if ((size_t)f->spec.n_layers > f->n_tensors)  // before memory is taken for so many
    return agrl_fail(err, AGRL_EPARSE, "%s: config.json says %d layers, and there are %zu tensors", dir, f->spec.n_layers, f->n_tensors);
  agrl_rc rc = agrl_layout_new(&f->spec, &l, err);
  for (size_t i = 0; !rc && i < l->n_tensors; i++) {
    const agrl_tensor_desc *d = &l->tensors[i];
    const tensor *t = find_tensor(f, d->name);
    if (!t) rc = agrl_fail(err, AGRL_EPARSE, "%s: tensor %s is missing", dir, d->name);
    else if (t->n_dims != 1u + d->decay || t->shape[t->n_dims - 1] != d->cols || (d->decay && t->shape[0] != d->rows))
      rc = agrl_fail(err, AGRL_EPARSE, "%s: tensor %s has another shape than %zu x %zu of config.json", dir, d->name, d->rows, d->cols);
  }
  agrl_layout_free(l);
  return rc;
}

static agrl_rc gather_dir(const char *dir, facts *f, agrl_error *err) {
  snprintf(f->format, sizeof f->format, "Hugging Face");
  agrl_rc rc = agrl_ckpt_load_spec(dir, &f->spec, err);
  if (!rc) rc = gather_files(dir, f, err);
  if (!rc) rc = ctl_model_dir_texts(dir, &f->tokenizer_json, &f->chat_template, err);
  if (rc) return rc;
  ctl_model_note("%s: checking the manifest", dir);
  const agrl_rc check = agrl_ckpt_verify(dir, &f->why);
  ctl_model_note("%s", "");
  check_shape(dir, f, &f->misfit);
  f->manifest = check == AGRL_OK ? "ok" : check == AGRL_ENOENT ? "none" : "wrong";
  return AGRL_OK;
}

static const char *chat_name(const facts *f) {
  agrl_chat c;
  if (!f->chat_template.len) return "none";
  if (agrl_chat_recognise(f->chat_template.data, f->chat_template.len, "", &c, NULL)) return "not supported";
  const char *name = c.format == AGRL_CHAT_CHATML ? "ChatML" : "Llama 3";
  agrl_chat_release(&c);
  return name;
}

// A token as text; "" when there is no such token.
static void token_text(const facts *f, int32_t id, agrl_buf *out) {
  agrl_buf_clear(out);
  agrl_buf_adds(out, "");
  if (f->bpe && id >= 0) agrl_bpe_decode(f->bpe, &id, 1, true, out);
}

static void json_token(agrl_jw *w, const char *key, const facts *f, int32_t id) {
  agrl_buf text = {0};
  agrl_jw_key(w, key);
  if (id < 0) {
    agrl_jw_null(w);
    return;
  }
  token_text(f, id, &text);
  agrl_jw_obj(w);
  agrl_jw_ki64(w, "id", id);
  agrl_jw_key(w, "text");
  agrl_jw_strn(w, text.data, text.len);
  agrl_jw_end_obj(w);
  agrl_buf_release(&text);
}

// A float as it was meant: 1e-05, not 9.99999975e-06.
static double shown(float v) {
  char text[32];
  snprintf(text, sizeof text, "%.7g", (double)v);
  return strtod(text, NULL);
}

static void json_shape(agrl_jw *w, const agrl_spec *s) {
  agrl_jw_kstr(w, "architecture", s->arch);
  agrl_jw_ki64(w, "layers", s->n_layers);
  agrl_jw_ki64(w, "hidden", s->hidden);
  agrl_jw_ki64(w, "ffn", s->ffn);
  agrl_jw_ki64(w, "heads", s->n_heads);
  agrl_jw_ki64(w, "kv_heads", s->n_kv_heads);
  agrl_jw_ki64(w, "head_dim", s->head_dim);
  agrl_jw_ki64(w, "vocab", s->vocab);
  agrl_jw_ki64(w, "context", s->context);
  agrl_jw_kf64(w, "rope_theta", shown(s->rope_theta));
  agrl_jw_kf64(w, "rope_factor", s->rope.factor > 0.0f ? shown(s->rope.factor) : 1.0);
  agrl_jw_kf64(w, "norm_eps", shown(s->norm_eps));
  agrl_jw_kbool(w, "tied", s->tied);
}

static void show_json(const facts *f) {
  agrl_buf out = {0};
  agrl_jw w;
  agrl_jw_init(&w, &out);
  agrl_jw_obj(&w);
  agrl_jw_kstr(&w, "format", f->format);
  json_shape(&w, &f->spec);
  agrl_jw_ku64(&w, "parameters", f->elements);
  agrl_jw_ku64(&w, "bytes", f->bytes);
  agrl_jw_ku64(&w, "tokens", f->bpe ? agrl_bpe_vocab(f->bpe) : 0);
  json_token(&w, "start", f, f->spec.start_id);
  json_token(&w, "end", f, f->spec.end_id);
  agrl_jw_key(&w, "stops");  // ends besides
  agrl_jw_arr(&w);
  for (int32_t i = 0; i < f->spec.n_stops; i++) agrl_jw_i64(&w, f->spec.stop_ids[i]);
  agrl_jw_end_arr(&w);
  agrl_jw_kstr(&w, "chat_template", chat_name(f));
  agrl_jw_kstr(&w, "manifest", f->manifest);
  agrl_jw_key(&w, "tensors");
  agrl_jw_arr(&w);
  for (size_t i = 0; i < f->n_tensors; i++) {
    agrl_jw_obj(&w);
    agrl_jw_kstr(&w, "name", f->tensors[i].name);
    agrl_jw_kstr(&w, "dtype", f->tensors[i].dtype);
    agrl_jw_key(&w, "shape");
    agrl_jw_arr(&w);
    for (size_t k = 0; k < f->tensors[i].n_dims; k++) agrl_jw_u64(&w, f->tensors[i].shape[k]);
    agrl_jw_end_arr(&w);
    agrl_jw_end_obj(&w);
  }
  agrl_jw_end_arr(&w);
  agrl_jw_end_obj(&w);
  puts(out.data);
  agrl_buf_release(&out);
}

static void text_token(const char *label, const facts *f, int32_t id) {
  agrl_buf text = {0};
  token_text(f, id, &text);
  if (id < 0) printf("%-13s none\n", label);
  else printf("%-13s %d %s\n", label, id, text.data);
  agrl_buf_release(&text);
}

static void show_text(const facts *f) {
  const agrl_spec *s = &f->spec;
  printf("%-13s %s, %" PRIu64 " bytes\n%-13s %s\n", "format", f->format, f->bytes, "architecture", s->arch);
  printf("%-13s %d layers, hidden %d, ffn %d, %d heads of %d (%d for keys and values)\n", "shape", s->n_layers, s->hidden, s->ffn, s->n_heads,
         s->head_dim, s->n_kv_heads);
  printf("%-13s vocabulary %d, context %d, rope theta %g, norm epsilon %g, %s embeddings\n", "", s->vocab, s->context, (double)s->rope_theta,
         (double)s->norm_eps, s->tied ? "tied" : "untied");
  printf("%-13s %zu in %zu tensors\n", "parameters", f->elements, f->n_tensors);
  if (f->bpe) printf("%-13s byte-level BPE, %zu tokens\n", "tokenizer", agrl_bpe_vocab(f->bpe));
  else printf("%-13s none\n", "tokenizer");
  text_token("start token", f, s->start_id);
  text_token("end token", f, s->end_id);
  for (int32_t i = 0; i < s->n_stops; i++) text_token("stops too", f, s->stop_ids[i]);
  if (s->rope.factor > 0.0f)
    printf("%-13s llama3, factor %g over %d positions\n", "rope scaling", (double)s->rope.factor, s->rope.original_context);
  printf("%-13s %s\n%-13s %s\n", "chat template", chat_name(f), "manifest", f->manifest);
  for (size_t i = 0; i < f->n_tensors; i++) {
    printf("  %-52s %-5s", f->tensors[i].name, f->tensors[i].dtype);
    for (size_t k = 0; k < f->tensors[i].n_dims; k++) printf("%s%zu", k ? " x " : " ", f->tensors[i].shape[k]);
    putchar('\n');
  }
}

int ctl_model_inspect(const char *path, bool json) {
  facts f = {.manifest = "none"};
  agrl_error err = {0};
  agrl_rc rc = ctl_model_is_gguf(path) ? gather_gguf(path, &f, &err) : gather_dir(path, &f, &err);
  if (!rc && f.tokenizer_json.len) rc = agrl_bpe_parse(f.tokenizer_json.data, f.tokenizer_json.len, path, &f.bpe, &err);
  if (!rc && json) show_json(&f);
  else if (!rc) show_text(&f);
  int code = rc ? ctl_fail(&err) : 0;
  if (!rc && f.misfit.code) code = ctl_fail(&f.misfit);
  if (!rc && f.why.code && f.why.code != AGRL_ENOENT) code = ctl_fail(&f.why);
  for (size_t i = 0; i < f.n_tensors; i++) free(f.tensors[i].name);
  free(f.tensors);
  agrl_buf_release(&f.tokenizer_json);
  agrl_buf_release(&f.chat_template);
  agrl_bpe_free(f.bpe);
  return code;
}
