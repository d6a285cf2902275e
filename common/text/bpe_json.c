// SPDX-License-Identifier: Apache-2.0
// tokenizer.json, the Hugging Face form of a byte-level BPE. What would make encoding differ and is not supported
// here is refused by name. Not applied: post_processor, truncation and padding (callers place their own special tokens
// and limits).
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/json.h"
#include "common/base/mem.h"
#include "common/text/bpe_impl.h"
#include "common/text/utf8.h"

enum { max_file_bytes = 64 << 20, max_hole = 65536, max_token_bytes = 65536 };

uint32_t agrl_bpe_byte_to_cp(unsigned char b) {
  if ((b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE) return b;
  if (b <= 0x20) return 0x100u + b;              // 0..32: the first 33 that are not printable
  if (b <= 0xA0) return 0x100u + b - 0x7F + 33;  // 127..160: the next 34
  return 0x143;                                  // 173
}

int agrl_bpe_cp_to_byte(uint32_t cp) {
  if (cp > 0x143) return -1;
  if (cp < 0x100) return agrl_bpe_byte_to_cp((unsigned char)cp) == cp ? (int)cp : -1;
  if (cp <= 0x120) return (int)(cp - 0x100);
  return cp == 0x143 ? 0xAD : (int)(cp - 0x121 + 0x7F);
}

// Token text as the file shows it -> bytes. Text outside of the alphabet is kept as it is, and said to be raw.
static bool from_alphabet(const char *s, size_t len, agrl_buf *out) {
  agrl_buf_clear(out);
  for (size_t i = 0; i < len;) {
    uint32_t cp = 0;
    size_t k = agrl_utf8_decode(s + i, len - i, &cp);
    int b = k == 0 ? -1 : agrl_bpe_cp_to_byte(cp);
    if (b < 0) {
      agrl_buf_clear(out);
      agrl_buf_add(out, s, len);
      return true;
    }
    agrl_buf_addc(out, (char)b);
    i += k;
  }
  return false;
}

static void to_alphabet(const agrl_bpe *t, int32_t id, agrl_buf *out) {
  const bpe_token *k = &t->tokens[id];
  const char *s = t->bytes.data + k->off;
  if (k->raw) {
    agrl_buf_add(out, s, k->len);
    return;
  }
  char b[4];
  for (uint32_t i = 0; i < k->len; i++)
    agrl_buf_add(out, b, agrl_utf8_encode(agrl_bpe_byte_to_cp((unsigned char)s[i]), b));
}

static agrl_rc parse_vocab(agrl_bpe *t, const agrl_json *vocab, size_t n_added, const char *name, agrl_error *err) {
  if (agrl_json_typeof(vocab) != AGRL_JSON_OBJECT)
    return agrl_fail(err, AGRL_EPARSE, "%s: model.vocab is not an object of token: id", name);
  int64_t max_id = (int64_t)(agrl_json_len(vocab) + n_added) + max_hole;
  agrl_buf bytes = {0};
  agrl_rc rc = AGRL_OK;
  for (void *it = agrl_json_first(vocab); it != NULL && rc == AGRL_OK; it = agrl_json_next(vocab, it)) {
    const char *key = agrl_json_key(it);
    int64_t id = -1;
    size_t len = strlen(key);
    if (!agrl_json_i64(agrl_json_value(it), &id) || id < 0 || id >= max_id || len > max_token_bytes) {
      rc = agrl_fail(err, AGRL_EPARSE, "%s: model.vocab: token \"%.40s\" has no id in 0..%lld", name, key,
                     (long long)max_id - 1);
    } else if ((size_t)id < t->n_ids && t->tokens[id].known) {
      rc = agrl_fail(err, AGRL_EPARSE, "%s: model.vocab: id %lld is given twice, second token \"%.40s\"", name,
                     (long long)id, key);
    } else {
      bool raw = from_alphabet(key, len, &bytes);
      agrl_bpe_set_token(t, (int32_t)id, bytes.data ? bytes.data : "", bytes.len, raw, true);
    }
  }
  agrl_buf_release(&bytes);
  return rc;
}

static int32_t vocab_id(const agrl_json *vocab, const char *s) {
  int64_t id = -1;
  return agrl_json_i64(agrl_json_get(vocab, s), &id) ? (int32_t)id : -1;
}

// Both forms of a merge: "a b" and ["a", "b"].
static agrl_rc parse_merge(agrl_bpe *t, const agrl_json *vocab, const agrl_json *j, agrl_buf *text, size_t i,
                           const char *name, agrl_error *err) {
  const char *a = NULL, *b = NULL;
  size_t len = 0;
  agrl_buf_clear(text);
  if (agrl_json_str(j, &a, &len)) {
    agrl_buf_add(text, a, len);
    char *space = strchr(text->data, ' ');
    if (space == NULL || strchr(space + 1, ' ') != NULL)
      return agrl_fail(err, AGRL_EPARSE, "%s: model.merges[%zu] is not \"left right\"", name, i);
    *space = '\0';
    a = text->data;
    b = space + 1;
  } else if (agrl_json_len(j) != 2 || !agrl_json_str(agrl_json_at(j, 0), &a, NULL) ||
             !agrl_json_str(agrl_json_at(j, 1), &b, NULL)) {
    return agrl_fail(err, AGRL_EPARSE, "%s: model.merges[%zu] is neither \"left right\" nor [left, right]", name, i);
  }
  int32_t left = vocab_id(vocab, a), right = vocab_id(vocab, b);
  agrl_buf whole = {0};
  agrl_buf_adds(&whole, a);
  agrl_buf_adds(&whole, b);
  int32_t id = vocab_id(vocab, whole.data);
  agrl_buf_release(&whole);
  if (left < 0 || right < 0 || id < 0) {
    return agrl_fail(err, AGRL_EPARSE,
                     "%s: model.merges[%zu]: \"%.40s\" + \"%.40s\" or their union is not in model.vocab", name, i, a,
                     b);
  }
  agrl_bpe_add_merge(t, left, right, id);
  return AGRL_OK;
}

static agrl_rc parse_model(agrl_bpe *t, const agrl_json *m, size_t n_added, const char *name, agrl_error *err) {
  const char *s = NULL;
  if (agrl_json_str(agrl_json_get(m, "type"), &s, NULL) && strcmp(s, "BPE") != 0) {
    return agrl_fail(err, AGRL_EUNSUPPORTED, "%s: model type \"%s\", only BPE is supported", name, s);
  }
  static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
  for (size_t i = 0; i < 2; i++) {
    if (agrl_json_str(agrl_json_get(m, affixes[i]), &s, NULL) && s[0] != '\0') {
      return agrl_fail(err, AGRL_EUNSUPPORTED, "%s: model.%s \"%s\" is not supported", name, affixes[i], s);
    }
  }
  bool fallback = false;
  double dropout = 0;
  agrl_json_bool(agrl_json_get(m, "byte_fallback"), &fallback);
  agrl_json_f64(agrl_json_get(m, "dropout"), &dropout);
  if (fallback) return agrl_fail(err, AGRL_EUNSUPPORTED, "%s: model.byte_fallback is not supported", name);
  if (dropout > 0) return agrl_fail(err, AGRL_EUNSUPPORTED, "%s: model.dropout is not supported", name);
  agrl_json_bool(agrl_json_get(m, "ignore_merges"), &t->ignore_merges);
  const agrl_json *vocab = agrl_json_get(m, "vocab"), *merges = agrl_json_get(m, "merges");
  agrl_rc rc = parse_vocab(t, vocab, n_added, name, err);
  if (rc == AGRL_OK && agrl_json_typeof(merges) != AGRL_JSON_ARRAY)
    rc = agrl_fail(err, AGRL_EPARSE, "%s: model.merges is not an array", name);
  agrl_buf text = {0};
  agrl_buf_reserve(&text, 64);
  for (size_t i = 0; i < agrl_json_len(merges) && rc == AGRL_OK; i++) {
    rc = parse_merge(t, vocab, agrl_json_at(merges, i), &text, i, name, err);
  }
  agrl_buf_release(&text);
  return rc;
}

static agrl_rc parse_added(agrl_bpe *t, const agrl_json *j, size_t i, int64_t max_id, const char *name,
                           agrl_error *err) {
  const char *text = NULL;
  size_t len = 0;
  int64_t id = -1;
  bool special = false, normalized = false;
  if (!agrl_json_str(agrl_json_get(j, "content"), &text, &len) || len == 0 || len > max_token_bytes ||
      !agrl_json_i64(agrl_json_get(j, "id"), &id) || id < 0 || id >= max_id) {
    return agrl_fail(err, AGRL_EPARSE, "%s: added_tokens[%zu] needs content and an id in 0..%lld", name, i,
                     (long long)max_id - 1);
  }
  static const char *const flags[] = {"single_word", "lstrip", "rstrip"};
  for (size_t f = 0; f < 3; f++) {
    bool on = false;
    agrl_json_bool(agrl_json_get(j, flags[f]), &on);
    if (on)
      return agrl_fail(err, AGRL_EUNSUPPORTED, "%s: added token \"%.40s\" with %s is not supported", name, text,
                       flags[f]);
  }
  agrl_json_bool(agrl_json_get(j, "special"), &special);
  agrl_json_bool(agrl_json_get(j, "normalized"), &normalized);
  for (size_t k = 0; k < t->n_added; k++) {
    if (t->added[k].id == id)
      return agrl_fail(err, AGRL_EPARSE, "%s: added_tokens[%zu]: id %lld is given twice", name, i, (long long)id);
  }
  if ((size_t)id < t->n_ids && t->tokens[id].known) {
    agrl_buf shown = {0};
    to_alphabet(t, (int32_t)id, &shown);
    bool same = shown.len == len && memcmp(shown.data, text, len) == 0;
    agrl_buf_release(&shown);
    if (!same)
      return agrl_fail(err, AGRL_EPARSE, "%s: added token \"%.40s\" has the id %lld of another token", name, text,
                       (long long)id);
  }
  bool in_model = (size_t)id < t->n_ids && t->tokens[id].known;
  // An added token that is one plain byte stays what the byte alphabet calls it.
  if (!in_model || t->tokens[id].len > 1 || t->tokens[id].raw)
    agrl_bpe_set_token(t, (int32_t)id, text, len, true, in_model);
  agrl_bpe_add_added(t, (int32_t)id, special, normalized);
  return AGRL_OK;
}

static agrl_rc parse_normalizer(agrl_bpe *t, const agrl_json *j, const char *name, agrl_error *err) {
  const char *type = NULL;
  if (!agrl_json_str(agrl_json_get(j, "type"), &type, NULL)) return AGRL_OK;
  if (strcmp(type, "NFC") == 0) {
    t->nfc = true;
    return AGRL_OK;
  }
  const agrl_json *list = agrl_json_get(j, "normalizers");
  if (strcmp(type, "Sequence") != 0)
    return agrl_fail(err, AGRL_EUNSUPPORTED, "%s: normalizer \"%s\", only NFC is supported", name, type);
  for (size_t i = 0; i < agrl_json_len(list); i++) {
    const agrl_json *k = agrl_json_at(list, i);
    const char *inner = "";
    agrl_json_str(agrl_json_get(k, "type"), &inner, NULL);
    if (strcmp(inner, "NFC") != 0)
      return agrl_fail(err, AGRL_EUNSUPPORTED, "%s: normalizer \"%s\", only NFC is supported", name, inner);
    t->nfc = true;
  }
  return AGRL_OK;
}

static agrl_rc parse_all(agrl_bpe *t, const agrl_json *root, const char *name, agrl_error *err) {
  const agrl_json *added = agrl_json_get(root, "added_tokens"), *model = agrl_json_get(root, "model");
  if (agrl_json_typeof(root) != AGRL_JSON_OBJECT || model == NULL)
    return agrl_fail(err, AGRL_EPARSE, "%s: not a tokenizer.json: no \"model\"", name);
  const char *decoder = NULL;
  if (agrl_json_str(agrl_json_get(agrl_json_get(root, "decoder"), "type"), &decoder, NULL) &&
      strcmp(decoder, "ByteLevel") != 0) {
    return agrl_fail(err, AGRL_EUNSUPPORTED, "%s: decoder \"%s\", only ByteLevel is supported", name, decoder);
  }
  agrl_rc rc = parse_normalizer(t, agrl_json_get(root, "normalizer"), name, err);
  if (rc == AGRL_OK) rc = agrl_pretok_parse(agrl_json_get(root, "pre_tokenizer"), name, &t->pretok, err);
  if (rc == AGRL_OK) rc = parse_model(t, model, agrl_json_len(added), name, err);
  int64_t max_id = (int64_t)(agrl_json_len(agrl_json_get(model, "vocab")) + agrl_json_len(added)) + max_hole;
  for (size_t i = 0; i < agrl_json_len(added) && rc == AGRL_OK; i++)
    rc = parse_added(t, agrl_json_at(added, i), i, max_id, name, err);
  return rc == AGRL_OK ? agrl_bpe_finish(t, name, err) : rc;
}

agrl_rc agrl_bpe_parse(const char *json, size_t len, const char *name, agrl_bpe **out, agrl_error *err) {
  agrl_json *root = NULL;
  agrl_rc rc = agrl_json_parse(json, len, name, &root, err);
  if (rc != AGRL_OK) return rc;
  agrl_bpe *t = agrl_bpe_new();
  rc = parse_all(t, root, name, err);
  agrl_json_free(root);
  if (rc != AGRL_OK) agrl_bpe_free(t);
  else *out = t;
  return rc;
}

agrl_rc agrl_bpe_load(const char *path, agrl_bpe **out, agrl_error *err) {
  agrl_buf text = {0};
  agrl_rc rc = agrl_file_read(path, max_file_bytes, &text, err);
  if (rc == AGRL_OK) rc = agrl_bpe_parse(text.data ? text.data : "", text.len, path, out, err);
  agrl_buf_release(&text);
  return rc;
}

static void write_added(const agrl_bpe *t, agrl_jw *w) {
  agrl_jw_key(w, "added_tokens");
  agrl_jw_arr(w);
  for (size_t id = 0; id < t->n_ids; id++) {  // the file lists them by id
    for (size_t i = 0; i < t->n_added; i++) {
      if (t->added[i].id != (int32_t)id) continue;
      agrl_jw_obj(w);
      agrl_jw_ki64(w, "id", (int64_t)id);
      agrl_jw_key(w, "content");
      agrl_jw_strn(w, t->bytes.data + t->tokens[id].off, t->tokens[id].len);
      agrl_jw_kbool(w, "single_word", false);
      agrl_jw_kbool(w, "lstrip", false);
      agrl_jw_kbool(w, "rstrip", false);
      agrl_jw_kbool(w, "normalized", t->added[i].normalized);
      agrl_jw_kbool(w, "special", t->added[i].special);
      agrl_jw_end_obj(w);
    }
  }
  agrl_jw_end_arr(w);
}

// "left right" is the form every version of the library reads; it cannot show a token that holds a space.
static bool any_spaced_merge(const agrl_bpe *t) {
  for (size_t i = 0; i < t->n_merges; i++) {
    const bpe_token *k[2] = {&t->tokens[t->merges[i].left], &t->tokens[t->merges[i].right]};
    for (int side = 0; side < 2; side++) {
      if (k[side]->raw && memchr(t->bytes.data + k[side]->off, ' ', k[side]->len) != NULL) return true;
    }
  }
  return false;
}

static void write_model(const agrl_bpe *t, agrl_jw *w) {
  agrl_buf text = {0};
  agrl_jw_key(w, "model");
  agrl_jw_obj(w);
  agrl_jw_kstr(w, "type", "BPE");
  static const char *const none[] = {"dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix"};
  for (size_t i = 0; i < 4; i++) {
    agrl_jw_key(w, none[i]);
    agrl_jw_null(w);
  }
  agrl_jw_kbool(w, "fuse_unk", false);
  agrl_jw_kbool(w, "byte_fallback", false);
  agrl_jw_kbool(w, "ignore_merges", t->ignore_merges);
  agrl_jw_key(w, "vocab");
  agrl_jw_obj(w);
  for (size_t id = 0; id < t->n_ids; id++) {
    if (!t->tokens[id].known || !t->tokens[id].in_model) continue;
    agrl_buf_clear(&text);
    to_alphabet(t, (int32_t)id, &text);
    agrl_jw_ki64(w, text.data ? text.data : "", (int64_t)id);
  }
  agrl_jw_end_obj(w);
  agrl_jw_key(w, "merges");
  agrl_jw_arr(w);
  bool pairs = any_spaced_merge(t);
  for (size_t i = 0; i < t->n_merges; i++) {
    if (pairs) agrl_jw_arr(w);
    agrl_buf_clear(&text);
    for (int side = 0; side < 2; side++) {
      to_alphabet(t, side ? t->merges[i].right : t->merges[i].left, &text);
      if (!pairs && side == 0) agrl_buf_addc(&text, ' ');
      if (!pairs && side == 0) continue;
      agrl_jw_strn(w, text.data, text.len);
      agrl_buf_clear(&text);
    }
    if (pairs) agrl_jw_end_arr(w);
  }
  agrl_jw_end_arr(w);
  agrl_jw_end_obj(w);
  agrl_buf_release(&text);
}

agrl_rc agrl_bpe_save(const agrl_bpe *t, const char *path, agrl_error *err) {
  agrl_buf out = {0};
  agrl_jw w;
  agrl_jw_init(&w, &out);
  agrl_jw_obj(&w);
  agrl_jw_kstr(&w, "version", "1.0");
  static const char *const off[] = {"truncation", "padding"};
  for (size_t i = 0; i < 2; i++) {
    agrl_jw_key(&w, off[i]);
    agrl_jw_null(&w);
  }
  write_added(t, &w);
  agrl_jw_key(&w, "normalizer");
  if (t->nfc) {
    agrl_jw_obj(&w);
    agrl_jw_kstr(&w, "type", "NFC");
    agrl_jw_end_obj(&w);
  } else {
    agrl_jw_null(&w);
  }
  agrl_jw_key(&w, "pre_tokenizer");
  agrl_pretok_write(t->pretok, &w);
  agrl_jw_key(&w, "post_processor");
  agrl_jw_null(&w);
  agrl_jw_key(&w, "decoder");
  agrl_jw_obj(&w);
  agrl_jw_kstr(&w, "type", "ByteLevel");
  agrl_jw_kbool(&w, "add_prefix_space", false);
  agrl_jw_kbool(&w, "trim_offsets", true);
  agrl_jw_kbool(&w, "use_regex", true);
  agrl_jw_end_obj(&w);
  write_model(t, &w);
  agrl_jw_end_obj(&w);
  agrl_buf_addc(&out, '\n');
  agrl_rc rc = agrl_file_write_atomic(path, out.data, out.len, err);
  agrl_buf_release(&out);
  return rc;
}
