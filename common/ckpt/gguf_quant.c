// SPDX-License-Identifier: Apache-2.0
// The block formats of GGUF tensors to float32. Each value is computed by the operations, in the order, that define the format
// (scale times integer, plus or minus an offset), every one rounded to float32: this file is compiled without contraction
// into fused multiply-add, so that results are the same on every machine. The K formats keep scales of scales: 256 elements
// share a pair of half-precision scales, and groups of 16 or 32 a few bits each.
#include <math.h>
#include <string.h>

#include "common/ckpt/gguf.h"

static uint32_t u16_at(const uint8_t *p) { return (uint32_t)p[0] | (uint32_t)p[1] << 8; }

static float from_bits(uint32_t bits) {
  float f;
  memcpy(&f, &bits, sizeof f);
  return f;
}

static float half_at(const uint8_t *p) {
  const uint32_t h = u16_at(p), sign = (h & 0x8000) << 16, exponent = h >> 10 & 31, fraction = h & 1023;
  if (exponent == 31) return from_bits(sign | 0x7f800000 | fraction << 13);
  if (exponent > 0) return from_bits(sign | (exponent + 112) << 23 | fraction << 13);
  const float tiny = ldexpf((float)fraction, -24);
  return sign != 0 ? -tiny : tiny;
}

static void f32_blocks(const uint8_t *p, float *out, size_t n) { memcpy(out, p, n * sizeof *out); }

static void f16_blocks(const uint8_t *p, float *out, size_t n) {
  for (size_t i = 0; i < n; i++) out[i] = half_at(p + 2 * i);
}

static void bf16_blocks(const uint8_t *p, float *out, size_t n) {
  for (size_t i = 0; i < n; i++) out[i] = from_bits(u16_at(p + 2 * i) << 16);
}

static void q8_0_blocks(const uint8_t *p, float *out, size_t n) {
  for (; n > 0; n--, p += 34, out += 32) {
    const float d = half_at(p);
    for (int j = 0; j < 32; j++) out[j] = (float)(int8_t)p[2 + j] * d;
  }
}

static void q4_0_blocks(const uint8_t *p, float *out, size_t n) {
  for (; n > 0; n--, p += 18, out += 32) {
    const float d = half_at(p);
    for (int j = 0; j < 16; j++) {
      out[j] = (float)((p[2 + j] & 15) - 8) * d;
      out[j + 16] = (float)((p[2 + j] >> 4) - 8) * d;
    }
  }
}

static void q4_1_blocks(const uint8_t *p, float *out, size_t n) {
  for (; n > 0; n--, p += 20, out += 32) {
    const float d = half_at(p), m = half_at(p + 2);
    for (int j = 0; j < 16; j++) {
      out[j] = (float)(p[4 + j] & 15) * d + m;
      out[j + 16] = (float)(p[4 + j] >> 4) * d + m;
    }
  }
}

// The fifth bit of element j is bit j of 32 at high.
static int fifth(const uint8_t *high, int j) { return (high[j / 8] >> (j % 8) & 1) << 4; }

static void q5_0_blocks(const uint8_t *p, float *out, size_t n) {
  for (; n > 0; n--, p += 22, out += 32) {
    const float d = half_at(p);
    for (int j = 0; j < 16; j++) {
      out[j] = (float)(((p[6 + j] & 15) | fifth(p + 2, j)) - 16) * d;
      out[j + 16] = (float)(((p[6 + j] >> 4) | fifth(p + 2, j + 16)) - 16) * d;
    }
  }
}

static void q5_1_blocks(const uint8_t *p, float *out, size_t n) {
  for (; n > 0; n--, p += 24, out += 32) {
    const float d = half_at(p), m = half_at(p + 2);
    for (int j = 0; j < 16; j++) {
      out[j] = (float)((p[8 + j] & 15) | fifth(p + 4, j)) * d + m;
      out[j + 16] = (float)((p[8 + j] >> 4) | fifth(p + 4, j + 16)) * d + m;
    }
  }
}

// Group g (0..7) of a Q4_K or Q5_K block: its 6-bit scale and offset, out of 12 bytes. The last four groups keep their low
// 4 bits in the last four bytes, and their high 2 bits above the first four groups' values.
static void group_scales(const uint8_t *s, int g, float *scale, float *offset) {
  const int a = g < 4 ? s[g] & 63 : (s[g + 4] & 15) | (s[g - 4] >> 6) << 4;
  const int b = g < 4 ? s[g + 4] & 63 : s[g + 4] >> 4 | (s[g] >> 6) << 4;
  *scale = (float)a;
  *offset = (float)b;
}

// Q4_K, and Q5_K where high (32 bytes) holds each element's fifth bit: bit g of byte j for element j of group g.
static void k45_block(const uint8_t *p, const uint8_t *high, const uint8_t *low, float *out) {
  const float d = half_at(p), m = half_at(p + 2);
  for (int g = 0; g < 8; g++) {
    float scale, offset;
    group_scales(p + 4, g, &scale, &offset);
    const float ds = d * scale, ms = m * offset;
    for (int j = 0; j < 32; j++) {
      const int byte = low[g / 2 * 32 + j], four = g % 2 == 0 ? byte & 15 : byte >> 4;
      const int q = high == NULL ? four : four | (high[j] >> g & 1) << 4;
      out[g * 32 + j] = ds * (float)q - ms;
    }
  }
}

static void q4_k_blocks(const uint8_t *p, float *out, size_t n) {
  for (; n > 0; n--, p += 144, out += 256) k45_block(p, NULL, p + 16, out);
}

static void q5_k_blocks(const uint8_t *p, float *out, size_t n) {
  for (; n > 0; n--, p += 176, out += 256) k45_block(p, p + 16, p + 48, out);
}

// Elements 128 h + 32 k + j: four low bits in byte 64 h + 32 (k % 2) + j (the upper half for k > 1), two high bits in byte
// 32 h + j; 16 elements a scale.
static void q6_k_blocks(const uint8_t *p, float *out, size_t n) {
  for (; n > 0; n--, p += 210, out += 256) {
    const float d = half_at(p + 208);
    for (int i = 0; i < 256; i++) {
      const int h = i / 128, k = i / 32 % 4, j = i % 32;
      const int byte = p[64 * h + 32 * (k % 2) + j], low = k < 2 ? byte & 15 : byte >> 4;
      const int high = p[128 + 32 * h + j] >> (2 * k) & 3;
      out[i] = d * (float)(int8_t)p[192 + i / 16] * (float)((low | high << 4) - 32);
    }
  }
}

static const agrl_gguf_type types[] = {
    {0, "F32", 1, 4, f32_blocks},        {1, "F16", 1, 2, f16_blocks},        {2, "Q4_0", 32, 18, q4_0_blocks},
    {3, "Q4_1", 32, 20, q4_1_blocks},    {6, "Q5_0", 32, 22, q5_0_blocks},    {7, "Q5_1", 32, 24, q5_1_blocks},
    {8, "Q8_0", 32, 34, q8_0_blocks},    {12, "Q4_K", 256, 144, q4_k_blocks}, {13, "Q5_K", 256, 176, q5_k_blocks},
    {14, "Q6_K", 256, 210, q6_k_blocks}, {30, "BF16", 1, 2, bf16_blocks},
};

const agrl_gguf_type *agrl_gguf_type_of(uint32_t id) {
  for (size_t i = 0; i < sizeof types / sizeof *types; i++)
    if (types[i].id == id) return &types[i];
  return NULL;
}

const char *agrl_gguf_type_name(uint32_t id) {
  static const struct {
    uint32_t id;
    const char *name;
  } others[] = {{9, "Q8_1"},     {10, "Q2_K"},   {11, "Q3_K"},  {15, "Q8_K"},   {16, "IQ2_XXS"}, {17, "IQ2_XS"}, {18, "IQ3_XXS"},
                {19, "IQ1_S"},   {20, "IQ4_NL"}, {21, "IQ3_S"}, {22, "IQ2_S"},  {23, "IQ4_XS"},  {24, "I8"},     {25, "I16"},
                {26, "I32"},     {27, "I64"},    {28, "F64"},   {29, "IQ1_M"},  {34, "TQ1_0"},   {35, "TQ2_0"},  {39, "MXFP4"}};
  const agrl_gguf_type *t = agrl_gguf_type_of(id);
  if (t != NULL) return t->name;
  for (size_t i = 0; i < sizeof others / sizeof *others; i++)
    if (others[i].id == id) return others[i].name;
  return "unknown";
}

void agrl_gguf_to_f32(const agrl_gguf_tensor *t, float *out) { t->type->to_f32(t->data, out, t->elements / t->type->block); }
