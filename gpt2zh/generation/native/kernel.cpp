// GPT-2's forward pass for writing, all of it in one call: what torch_decoder.py computes with torch's operators, on a CPU.
//
// A text is written a token at a time, so a step takes as long as its weights take to read. They lie in the order in which they are
// read, in panels: for WIDTH outputs at a time the weights of the first GROUP inputs, two vectors, then of the next.
//
//     weights   [outputs / WIDTH] [inputs / GROUP] [WIDTH] [GROUP]  keys     [layer] [row] [head] [capacity / LANES] [size] [LANES]
//               GROUP: 1 in fp32, 2 in bf16, 4 in int8              values   [layer] [row] [head] [capacity] [size]
//
// Each output is one sum over its inputs in their order, however many rows are computed together: a row's numbers do not depend
// on the others, to the last bit, and to read n tokens gives what n steps give.
//
// Built by build.py with -DBITS=32, 16 or 8, the bits of a weight (vectors.h).

#include <cfloat>
#include <cstdlib>
#include <cstring>
#include <omp.h>

#include "vectors.h"

// What decoder.py passes: structures of the same fields.

struct Linear {
    const char *weight;          // panels
    const float *bias, *scale;   // (outputs), filled up to whole WIDTHs; the scale of an int8 output
    const int32_t *sum;          // (outputs): of an output's int8 weights
    int64_t inputs, outputs;     // outputs: filled up
};

struct Layer {
    const float *ln_1[2], *ln_2[2];  // weight and bias, (n_embd)
    Linear c_attn, attn_proj, c_fc, mlp_proj;
    float scale;  // of attention
};

struct Model {
    const Layer *layers;
    const float *wte, *wpe, *ln_f[2];
    Linear head;
    int64_t n_layer, n_embd, n_head;
    float epsilon;
};

struct Cache {
    char *keys, *values;
    int64_t rows, capacity;
};

// ----- a row -------------------------------------------------------------------------------------------------------------------

static void layer_norm(const float *x, const float *const ln[2], int64_t n, float epsilon, float *y) {
    floats sum{}, squares{};
    for (int64_t i = 0; i < n; i += LANES) sum += *(const floats *)(x + i);
    const float mean = total(sum) / n;
    for (int64_t i = 0; i < n; i += LANES) {
        const floats d = *(const floats *)(x + i) - mean;
        squares += d * d;
    }
    const float scale = 1 / __builtin_sqrtf(total(squares) / n + epsilon);
    for (int64_t i = 0; i < n; i += LANES)
        *(floats *)(y + i) = (*(const floats *)(x + i) - mean) * scale * *(const floats *)(ln[0] + i) + *(const floats *)(ln[1] + i);
}

// A row as a linear layer takes it. Returns its scale.
static float take(const float *x, int64_t n, input *y) {
#if BITS == 8
    floats most{};
    for (int64_t i = 0; i < n; i += LANES) {
        const floats v = *(const floats *)(x + i);
        most = larger(most, larger(v, -v));
    }
    const float magnitude = largest(most), inverse = magnitude > 0 ? 127 / magnitude : 0;
    for (int64_t i = 0; i < n; i += LANES) {
        const floats rounded = *(const floats *)(x + i) * inverse + ROUND;
        *(bytes *)(y + i) = __builtin_convertvector((ints)rounded - (ints)(floats{} + ROUND) + 128, bytes);
    }
    return magnitude / 127;
#elif BITS == 16 && defined __AVX512BF16__
    for (int64_t i = 0; i < n; i++) y[i] = to_cell(x[i]);
    return 1;
#else
    memcpy(y, x, n * sizeof *y);
    return 1;
#endif
}

// The values of n positions, each times its p, summed.
template <int64_t blocks>
static void weigh(const float *p, const cell *values, int64_t n, int64_t size, float *y) {
    for (int64_t d = 0; d < size; d += blocks * LANES) {
        floats sum[blocks]{};
        for (int64_t t = 0; t < n; t++)
            for (int64_t b = 0; b < blocks; b++) sum[b] += p[t] * load(values + t * size + d + b * LANES);
        for (int64_t b = 0; b < blocks; b++) *(floats *)(y + d + b * LANES) = sum[b];
    }
}

// One head's attention of one row to n positions. p: room for n filled up to whole vectors.
static void attend(const float *q, const cell *keys, const cell *values, int64_t n, int64_t size, float scale, float *p, float *y) {
    floats most = floats{} - FLT_MAX, sum{};
    for (int64_t t = 0; t < n; t += LANES) {
        floats score{};
        for (int64_t d = 0; d < size; d++) score += q[d] * load(keys + t * size + d * LANES);
        *(floats *)(p + t) = score * scale;
        for (int64_t i = n; i < t + LANES; i++) p[i] = -FLT_MAX;
        most = larger(most, *(const floats *)(p + t));
    }
    const float top = largest(most);
    for (int64_t t = 0; t < n; t += LANES) {
        *(floats *)(p + t) = exponential(*(const floats *)(p + t) - top);
        for (int64_t i = n; i < t + LANES; i++) p[i] = 0;
        sum += *(const floats *)(p + t);
    }
    size % (4 * LANES) ? weigh<1>(p, values, n, size, y) : weigh<4>(p, values, n, size, y);
    const float inverse = 1 / total(sum);
    for (int64_t d = 0; d < size; d += LANES) *(floats *)(y + d) *= inverse;
}

// ----- rows ----------------------------------------------------------------------------------------------------------------------

enum After { STORE, ADD, GELU };  // what becomes of an output: it is stored, added to what is there, or stored after GELU

struct Rows {  // as a linear layer takes them
    const input *x;
    const float *scales;
    int64_t stride;
};

// One panel's outputs for `rows` rows.
template <int64_t rows>
static void tile(const Linear &l, int64_t output, const Rows &in, int64_t row, float *y, int64_t stride, After after) {
    const char *w = l.weight + output / WIDTH * (l.inputs / GROUP) * (VECTORS * BYTES);
    const input *x = in.x + row * in.stride;
    sums sum[rows][VECTORS]{};
    for (int64_t i = 0; i < l.inputs; i += GROUP)
        for (int64_t v = 0; v < VECTORS; v++, w += BYTES) {
            if constexpr (rows == 1) __builtin_prefetch(w + AHEAD);
            const weights one = unpack(w);
            for (int64_t r = 0; r < rows; r++) sum[r][v] = add(sum[r][v], one, x + r * in.stride + i);
        }
    for (int64_t r = 0; r < rows; r++)
        for (int64_t v = 0; v < VECTORS; v++) {
            const int64_t at = output + v * LANES;
#if BITS == 8
            const floats whole = __builtin_convertvector(sum[r][v] - 128 * *(const ints *)(l.sum + at), floats);
            const floats result = whole * (in.scales[row + r] * *(const floats *)(l.scale + at)) + *(const floats *)(l.bias + at);
#else
            const floats result = sum[r][v] + *(const floats *)(l.bias + at);
#endif
            floats *to = (floats *)(y + (row + r) * stride + at);
            *to = after == STORE ? result : after == ADD ? *to + result : gelu(result);
        }
}

// Rows from `row` on, `most` of them at a time, then half as many.
template <int64_t most>
static void tiles(const Linear &l, int64_t output, const Rows &in, int64_t row, int64_t n, float *y, int64_t stride, After after) {
    for (; n - row >= most; row += most) tile<most>(l, output, in, row, y, stride, after);
    if constexpr (most > 1) tiles<most / 2>(l, output, in, row, n, y, stride, after);
}

// All outputs of n rows: each thread does a share of the panels.
static void apply(const Linear &l, int64_t n, const Rows &in, float *y, int64_t stride, After after) {
#pragma omp for schedule(static)
    for (int64_t output = 0; output < l.outputs; output += WIDTH) tiles<MOST_ROWS>(l, output, in, 0, n, y, stride, after);
}

// ----- the model -----------------------------------------------------------------------------------------------------------------

static int64_t filled(int64_t n) { return (n + WIDTH - 1) / WIDTH * WIDTH; }

// Append n tokens to rows of a cache, each at its position; several may belong to one row. Returns 0, or 1 where memory ran out.
// logits: (n, head.outputs), or NULL.
extern "C" int forward(const Model *model, const Cache *cache, int64_t n, const int64_t *tokens, const int64_t *positions,
                       const int64_t *rows, float *logits, int threads) {
    const Model &m = *model;
    const int64_t C = m.n_embd, H = m.n_head, D = C / H, capacity = cache->capacity;
    const int64_t width = filled(C), qkv_width = filled(3 * C), F = m.layers[0].mlp_proj.inputs, wide = filled(F > C ? F : C);
    float *const room = (float *)aligned_alloc(64, (n * (2 * width + qkv_width + 2 * wide + LANES) + threads * capacity) * 4);
    if (!room) return 1;
    float *const x = room, *const y = x + n * width, *const qkv = y + n * width, *const f = qkv + n * qkv_width,
                *const scores = f + n * wide, *const scales = scores + threads * capacity;
    input *const taken = (input *)(scales + n * LANES);
    const Rows in = {taken, scales, wide};
#pragma omp parallel num_threads(threads)
    {
        float *const p = scores + omp_get_thread_num() * capacity;
        // All threads come to each of these together, do a share of the rows or outputs, and wait for each other.
        const auto take_rows = [&](const float *from, int64_t stride, int64_t size) {
#pragma omp for schedule(static)
            for (int64_t r = 0; r < n; r++) scales[r] = take(from + r * stride, size, taken + r * wide);
        };
        const auto normalise = [&](const float *const ln[2]) {
#pragma omp for schedule(static)
            for (int64_t r = 0; r < n; r++) {
                layer_norm(x + r * width, ln, C, m.epsilon, y + r * width);
                scales[r] = take(y + r * width, C, taken + r * wide);
            }
        };
#pragma omp for schedule(static)
        for (int64_t r = 0; r < n; r++)
            for (int64_t i = 0; i < C; i++) x[r * width + i] = m.wte[tokens[r] * C + i] + m.wpe[positions[r] * C + i];
        for (int64_t number = 0; number < m.n_layer; number++) {
            const Layer &layer = m.layers[number];
            const int64_t plane = capacity * D, first = number * cache->rows * H * plane;
            cell *const keys = (cell *)cache->keys + first, *const values = (cell *)cache->values + first;
            normalise(layer.ln_1);
            apply(layer.c_attn, n, in, qkv, qkv_width, STORE);
#pragma omp for schedule(static)
            for (int64_t r = 0; r < n; r++)
                for (int64_t i = 0; i < C; i++) {
                    const int64_t t = positions[r], d = i % D, at = (rows[r] * H + i / D) * plane;
                    keys[at + t / LANES * LANES * D + d * LANES + t % LANES] = to_cell(qkv[r * qkv_width + C + i]);
                    values[at + t * D + d] = to_cell(qkv[r * qkv_width + 2 * C + i]);
                }
#pragma omp for schedule(static, 1)
            for (int64_t i = 0; i < n * H; i++) {
                const int64_t r = i / H, d = i % H * D, at = (rows[r] * H + i % H) * plane;
                attend(qkv + r * qkv_width + d, keys + at, values + at, positions[r] + 1, D, layer.scale, p, y + r * width + d);
            }
            take_rows(y, width, C);
            apply(layer.attn_proj, n, in, x, width, ADD);
            normalise(layer.ln_2);
            apply(layer.c_fc, n, in, f, wide, GELU);
            take_rows(f, wide, F);
            apply(layer.mlp_proj, n, in, x, width, ADD);
        }
        if (logits) {
            normalise(m.ln_f);
            apply(m.head, n, in, logits, m.head.outputs, STORE);
        }
    }
    free(room);
    return 0;
}
