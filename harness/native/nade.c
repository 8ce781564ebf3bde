/* Neural autoregressive distribution estimators: bits that are each given those before it by hidden units.

   Hugo Larochelle and Iain Murray, "The neural autoregressive distribution estimator" (AISTATS 2011), eqs. (2), (3) and the gradient
   of their Algorithm 1. Of bits x in an order o, hidden units h_i = logistic(c + sum over j < i of x_oj W_oj) give the logit
   b_oi + V_oi . h_i of bit o_i.

   Hidden units change behind a one alone, so bits up to the next one are a run that shares them. Bits are taken in blocks, whose rows
   of V and of its gradient stay in cache while all points pass. On the way down hidden units are computed again from where each block
   began: to keep them all would take more time than that, and to take rows of W away from a sum would not give back what it was. */

#include "kernels.h"
#include "elementary.h"

#include <string.h>

INLINE void logistic_all(int m, const float *a, float *h) {
#pragma omp simd
    for (int j = 0; j < m; j++) h[j] = logistic_of(a[j]);
}

INLINE void add(int m, const float *row, float *sum) {
#pragma omp simd
    for (int j = 0; j < m; j++) sum[j] += row[j];
}

/* The end of the run that begins with bit o[from]: behind its first one, or `to` if there is none before. */
INLINE int run_from(const float *x, const int64_t *o, int from, int to) {
    int end = from;
    while (end < to && x[o[end]] == 0.0f) end++;
    return end < to ? end + 1 : to;
}

/* a[o[r]] = b[o[r]] + V_o[r] . h of a run; four rows at a time, so that h is read once for them. */
INLINE void logits_of_run(nade p, const float *h, const float *b, int from, int to, float *a) {
    int r = from, m = p.hidden;
    for (; r + 4 <= to; r += 4) {
        const int64_t *o = p.order + r;
        const float *v0 = p.V + o[0] * m, *v1 = p.V + o[1] * m, *v2 = p.V + o[2] * m, *v3 = p.V + o[3] * m;
        float s0 = 0.0f, s1 = 0.0f, s2 = 0.0f, s3 = 0.0f;
#pragma omp simd reduction(+ : s0, s1, s2, s3)
        for (int j = 0; j < m; j++) {
            s0 += v0[j] * h[j];
            s1 += v1[j] * h[j];
            s2 += v2[j] * h[j];
            s3 += v3[j] * h[j];
        }
        a[o[0]] = b[o[0]] + s0;
        a[o[1]] = b[o[1]] + s1;
        a[o[2]] = b[o[2]] + s2;
        a[o[3]] = b[o[3]] + s3;
    }
    for (; r < to; r++) {
        const float *v = p.V + p.order[r] * m;
        float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
        for (int j = 0; j < m; j++) sum += v[j] * h[j];
        a[p.order[r]] = b[p.order[r]] + sum;
    }
}

/* by_V of a run += its slopes g times h, by_b += g, and by_h = V^T g. */
INLINE void back_of_run(nade p, const float *h, const float *g, int from, int to, float *by_V, float *by_b, float *by_h) {
    int r = from, m = p.hidden;
    memset(by_h, 0, m * sizeof(float));
    for (; r + 4 <= to; r += 4) {
        const int64_t *o = p.order + r;
        const float *v0 = p.V + o[0] * m, *v1 = p.V + o[1] * m, *v2 = p.V + o[2] * m, *v3 = p.V + o[3] * m;
        float *d0 = by_V + o[0] * m, *d1 = by_V + o[1] * m, *d2 = by_V + o[2] * m, *d3 = by_V + o[3] * m;
        float g0 = g[o[0]], g1 = g[o[1]], g2 = g[o[2]], g3 = g[o[3]];
#pragma omp simd
        for (int j = 0; j < m; j++) {
            by_h[j] += g0 * v0[j] + g1 * v1[j] + g2 * v2[j] + g3 * v3[j];
            d0[j] += g0 * h[j];
            d1[j] += g1 * h[j];
            d2[j] += g2 * h[j];
            d3[j] += g3 * h[j];
        }
        for (int q = 0; q < 4; q++) by_b[o[q]] += g[o[q]];
    }
    for (; r < to; r++) {
        int64_t o = p.order[r];
        const float *v = p.V + o * m;
        float *d = by_V + o * m, slope = g[o];
#pragma omp simd
        for (int j = 0; j < m; j++) {
            by_h[j] += slope * v[j];
            d[j] += slope * h[j];
        }
        by_b[o] += slope;
    }
}

/* logits (n x dim) of bits x. states (n x hidden, and `keep` numbers from those of one block to those of the next) are what hidden
   units are the logistic function of, at first c for every point; with keep = 0 only the last are left. h (hidden) is scratch. */
EVERY_WIDTH void nade_up(nade p, const float *b, int block, size_t keep, float *states, float *h, float *logits) {
    int m = p.hidden;
    for (int begin = 0; begin < p.dim; begin += block, states += keep) {
        int end = begin + block < p.dim ? begin + block : p.dim;
        for (int i = 0; i < p.n; i++) {
            const float *x = p.x + (size_t)i * p.dim;
            float *a = states + keep + (size_t)i * m;
            if (keep) memcpy(a, a - keep, m * sizeof(float));
            logistic_all(m, a, h);
            for (int from = begin, to; from < end; from = to) {
                to = run_from(x, p.order, from, end);
                logits_of_run(p, h, b, from, to, logits + (size_t)i * p.dim);
                int64_t last = p.order[to - 1];
                if (x[last] == 0.0f) continue;
                add(m, p.W + last * m, a);
                if (to < end) logistic_all(m, a, h);
            }
        }
    }
}

/* From slopes g (n x dim) by the logits, and the states that the way up has kept: the gradient, added to by_W, by_V (dim x hidden) and
   by_b (dim), and behind (n x hidden), at first 0, which becomes that by c of every point. scratch: block + 2 rows of hidden. */
EVERY_WIDTH void nade_down(nade p, const float *g, int block, size_t keep, const float *states, float *scratch, float *behind,
                           float *by_W, float *by_V, float *by_b) {
    int m = p.hidden, blocks = (p.dim + block - 1) / block;
    float *a = scratch, *by_h = a + m, *hs = by_h + m; /* hs: hidden units of each run */
    for (int k = blocks - 1; k >= 0; k--) {
        int begin = k * block, end = begin + block < p.dim ? begin + block : p.dim;
        for (int i = 0; i < p.n; i++) {
            const float *x = p.x + (size_t)i * p.dim;
            float *later = behind + (size_t)i * m; /* the gradient by a from all runs behind */
            memcpy(a, states + k * keep + (size_t)i * m, m * sizeof(float));
            int runs = 0;
            for (int from = begin, to; from < end; from = to, runs++) {
                to = run_from(x, p.order, from, end);
                logistic_all(m, a, hs + (size_t)runs * m);
                if (to < end) add(m, p.W + p.order[to - 1] * m, a);
            }
            for (int to = end, from; to > begin; to = from) {
                float *h = hs + (size_t)--runs * m;
                int64_t last = p.order[to - 1];
                for (from = to - 1; from > begin && x[p.order[from - 1]] == 0.0f;) from--;
                if (x[last] != 0.0f) add(m, later, by_W + last * m);
                back_of_run(p, h, g + (size_t)i * p.dim, from, to, by_V, by_b, by_h);
#pragma omp simd
                for (int j = 0; j < m; j++) later[j] += by_h[j] * h[j] * (1.0f - h[j]);
            }
        }
    }
}
