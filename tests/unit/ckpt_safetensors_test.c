// SPDX-License-Identifier: Apache-2.0
// The safetensors reader on well-formed and hostile headers, each refused for its own reason, and the writer's bytes.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/file.h"
#include "common/ckpt/safetensors.h"
#include "tests/lib/tensor_check.h"

// A file of this header and n bytes of data, in a block of exactly its size so that a sanitizer sees a read past it.
static uint8_t *file_of(const char *header, size_t n, size_t *len) {
  const size_t h = strlen(header);
  uint8_t *f = agrl_xcalloc(8 + h + n, 1);
  for (unsigned i = 0; i < 8; i++) f[i] = (uint8_t)((uint64_t)h >> (8 * i));
  memcpy(f + 8, header, h);
  for (size_t i = 0; i < n; i++) f[8 + h + i] = (uint8_t)i;
  *len = 8 + h + n;
  return f;
}

static void refused(const char *header, size_t n, agrl_rc code, const char *word) {
  agrl_st st;
  agrl_error err = {0};
  size_t len;
  uint8_t *f = file_of(header, n, &len);
  const agrl_rc rc = agrl_st_parse(f, len, "file", &st, &err);
  if (rc != code || strstr(err.msg, word) == NULL) fail_msg("%s: %s (%s), want %s about '%s'", header, agrl_rc_name(rc), err.msg,
                                                            agrl_rc_name(code), word);
  assert_null(st.tensors);
  free(f);
}

#define T(dtype, shape, from, to) "{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" from "," to "]}"

static void reads_what_is_well_formed(void **state) {
  size_t len;
  agrl_st st;
  agrl_error err = {0};
  // Header order is not data order; one empty tensor; a scalar; the data is not aligned.
  uint8_t *f = file_of("{\"b\":" T("BF16", "[2,2]", "4", "12") ",\"__metadata__\":{\"x\":\"y\"},\"a\":" T("F32", "[]", "0", "4")
                       ",\"z\":" T("F16", "[0,9]", "12", "12") ",\"h\":" T("F16", "[1]", "12", "14") " } ", 14, &len);
  if (agrl_st_parse(f, len, "file", &st, &err) != AGRL_OK) fail_msg("%s", err.msg);
  assert_int_equal(st.n, 4);
  const agrl_st_tensor *b = agrl_st_find(&st, "b"), *a = agrl_st_find(&st, "a"), *h = agrl_st_find(&st, "h");
  assert_int_equal(b->elements, 4);
  assert_int_equal(a->n_dims, 0);
  assert_int_equal(a->elements, 1);
  assert_int_equal(agrl_st_find(&st, "z")->bytes, 0);
  assert_null(agrl_st_find(&st, "c"));
  float got[4];
  uint32_t bits;
  agrl_st_to_f32(b, got);
  memcpy(&bits, &got[1], 4);
  assert_int_equal(bits, 0x07060000);
  agrl_st_to_f32(a, got);
  memcpy(&bits, &got[0], 4);
  assert_int_equal(bits, 0x03020100);
  agrl_st_to_f32(h, got);
  assert_float_equal(got[0], 1.26171875 / 4096, 1e-9);  // half 0x0d0c: 2^(3-15) * (1 + 268/1024)
  agrl_st_release(&st);
  free(f);
  f = file_of("{}", 0, &len);  // no tensors at all is a valid file
  assert_int_equal(agrl_st_parse(f, len, "file", &st, &err), AGRL_OK);
  assert_int_equal(st.n, 0);
  agrl_st_release(&st);
  free(f);
}

static void hostile_headers_are_refused(void **state) {
  refused("", 0, AGRL_EPARSE, "begin");
  refused("[]", 0, AGRL_EPARSE, "begin");
  refused("{", 0, AGRL_EPARSE, "file");
  refused("{\"a\":1}", 0, AGRL_EPARSE, "not an object");
  refused("{\"a\":" T("F32", "[1]", "0", "4") ",\"a\":" T("F32", "[1]", "4", "8") "}", 8, AGRL_EPARSE, "duplicate");
  refused("{\"a\":" T("I64", "[1]", "0", "8") "}", 8, AGRL_EUNSUPPORTED, "I64");
  refused("{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, AGRL_EPARSE, "dtype");
  refused("{\"a\":" T("F32", "1", "0", "4") "}", 4, AGRL_EPARSE, "shape");
  refused("{\"a\":" T("F32", "[-1]", "0", "4") "}", 4, AGRL_EPARSE, "shape");
  refused("{\"a\":" T("F32", "[1.0]", "0", "4") "}", 4, AGRL_EPARSE, "shape");
  refused("{\"a\":" T("F32", "[1,1,1,1,1,1,1,1,1]", "0", "4") "}", 4, AGRL_ELIMIT, "dimensions");
  refused("{\"a\":" T("F32", "[4611686018427387905]", "0", "4") "}", 4, AGRL_ELIMIT, "overflows");  // * 4 is 4 in 64 bits
  refused("{\"a\":" T("F32", "[4294967296,4294967296]", "0", "0") "}", 0, AGRL_ELIMIT, "overflows");
  refused("{\"a\":" T("F32", "[1]", "0", "9") "}", 4, AGRL_EPARSE, "outside");
  refused("{\"a\":" T("F32", "[1]", "4", "0") "}", 4, AGRL_EPARSE, "outside");
  refused("{\"a\":" T("F32", "[1]", "-4", "0") "}", 4, AGRL_EPARSE, "outside");
  refused("{\"a\":" T("F32", "[1]", "0", "9223372036854775807") "}", 4, AGRL_EPARSE, "outside");
  refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", 4, AGRL_EPARSE, "pair");
  refused("{\"a\":" T("F32", "[2]", "0", "4") "}", 4, AGRL_EPARSE, "want 8");
  refused("{\"a\":" T("F32", "[1]", "0", "4") ",\"b\":" T("F32", "[1]", "0", "4") "}", 4, AGRL_EPARSE, "overlaps");
  refused("{\"a\":" T("F32", "[2]", "0", "8") ",\"b\":" T("F32", "[2]", "4", "12") "}", 12, AGRL_EPARSE, "overlaps");
  refused("{\"a\":" T("F32", "[1]", "4", "8") "}", 8, AGRL_EPARSE, "gap");
  refused("{\"a\":" T("F32", "[1]", "0", "4") "}", 5, AGRL_EPARSE, "after the last");
}

static void bad_lengths_are_refused(void **state) {
  agrl_st st;
  agrl_error err;
  size_t len;
  uint8_t *f = file_of("{\"a\":" T("F32", "[1]", "0", "4") "}", 4, &len);
  for (size_t cut = 0; cut < len; cut++) {  // every truncation
    uint8_t *part = agrl_xcalloc(cut, 1);
    memcpy(part, f, cut);
    assert_int_not_equal(agrl_st_parse(part, cut, "file", &st, &err), AGRL_OK);
    free(part);
  }
  f[2] = 1;  // 65536 bytes more of header than there are
  assert_int_equal(agrl_st_parse(f, len, "file", &st, &err), AGRL_EPARSE);
  f[3] = 1;  // over 16 MiB
  assert_int_equal(agrl_st_parse(f, len, "file", &st, &err), AGRL_ELIMIT);
  memset(f, 0xff, 8);
  assert_int_equal(agrl_st_parse(f, len, "file", &st, &err), AGRL_ELIMIT);
  free(f);
}

static void writes_a_plain_file(void **state) {
  const agrl_spec s = {.arch = "llama", .n_layers = 1, .hidden = 6, .ffn = 5, .n_heads = 1, .n_kv_heads = 1, .head_dim = 6,
                       .vocab = 7,
                       .context = 8, .rope_theta = 10000, .norm_eps = 1e-5f, .tied = true, .start_id = -1, .end_id = -1};
  char path[] = "/tmp/agrl-st-XXXXXX";
  const int fd = mkstemp(path);
  assert_true(fd >= 0);
  agrl_layout *l;
  agrl_map map;
  agrl_st st;
  agrl_error err = {0};
  assert_int_equal(agrl_layout_new(&s, &l, &err), AGRL_OK);
  float *block = tc_floats(l->n_elements, 3, 1);
  assert_int_equal(agrl_st_write(path, l, block, AGRL_DTYPE_F16, &err), AGRL_EUNSUPPORTED);
  if (agrl_st_write(path, l, block, AGRL_DTYPE_F32, &err) != AGRL_OK) fail_msg("%s", err.msg);
  assert_int_equal(agrl_map_open(&map, path, &err), AGRL_OK);
  assert_int_equal(map.data[0] % 8, 0);  // data begins on 8 bytes
  if (agrl_st_parse(map.data, map.len, path, &st, &err) != AGRL_OK) fail_msg("%s", err.msg);
  assert_int_equal(st.n, l->n_tensors);
  const agrl_st_tensor *t = agrl_st_find(&st, "model.layers.0.self_attn.o_proj.weight");
  assert_int_equal(t->n_dims, 2);
  assert_memory_equal(t->data, block + l->tensors[l->layers[0].o].offset, 36 * sizeof(float));
  assert_int_equal(agrl_st_find(&st, "model.norm.weight")->n_dims, 1);
  agrl_st_release(&st);
  agrl_map_close(&map);
  assert_int_equal(agrl_st_write("/nonexistent/x", l, block, AGRL_DTYPE_F32, &err), AGRL_EIO);
  free(block);
  agrl_layout_free(l);
  close(fd);
  unlink(path);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(reads_what_is_well_formed),
      cmocka_unit_test(hostile_headers_are_refused),
      cmocka_unit_test(bad_lengths_are_refused),
      cmocka_unit_test(writes_a_plain_file),
  };
  if (agrl_tensor_init(NULL) != AGRL_OK) return 70;
  return cmocka_run_group_tests(tests, NULL, NULL);
}
