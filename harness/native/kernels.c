/* The primitives of one layer, each a matrix product and what belongs to it while its rows are in cache.

   The C compiler vectorises the loops, for each of the vector widths of EVERY_WIDTH.
   Infinities and NaN are kept: a run that diverges must be seen to diverge. Nothing sets the processor's floating-point modes. */

#include "elementary.h"
#include "kernels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

gemm_function *gemm;

enum {
    FLOATS_IN_CACHE = 1 << 17, /* half a megabyte, of which a block of rows may take so many */
    FACTORS = 112,             /* so many factors of at most 2 can be multiplied before they overflow */
};

static const float LOG_2PI = 1.8378770664f;

/* out (m x n) = op(A) op(B) + beta out, row-major: Fortran sees the transposes of all three, in the other order. */
void product(char of_a, char of_b, int m, int n, int k, const float *A, int row_a, const float *B, int row_b, float beta,
                    float *out) {
    const float one = 1.0f;
    if (k == 0 && beta == 0.0f) memset(out, 0, (size_t)m * n * sizeof(float)); /* BLAS takes no rows of length 0 */
    if (m > 0 && n > 0 && k > 0) gemm(&of_b, &of_a, &n, &m, &k, &one, B, &row_b, A, &row_a, &beta, out, &n);
}

EVERY_WIDTH static void tanh_all(size_t n, float *a) {
#pragma omp simd
    for (size_t i = 0; i < n; i++) a[i] = tanh_of(a[i]);
}

/* out (n x m) = x W + b, x (n x k), W (k x m), or with `squash` tanh of that. */
void layer(int n, int k, int m, const float *x, const float *W, const float *b, int squash, float *out) {
    for (int i = 0; i < n; i++) memcpy(out + (size_t)i * m, b, m * sizeof(float));
    product('N', 'N', n, m, k, x, k, W, m, 1.0f, out);
    if (squash) tanh_all((size_t)n * m, out);
}

/* out (n x k) = g W^T, g (n x m), W (k x m). */
void product_back(int n, int m, int k, const float *g, const float *W, float *out) {
    product('N', 'T', n, k, m, g, m, W, m, 0.0f, out);
}

/* out (n x dim) = scale * the rows of stored (rows x dim) at index. Returns 0 if there is no such row.

   Rows are in memory and not in cache: the next one is fetched meanwhile. */
EVERY_WIDTH int bytes_at(int64_t n, int64_t rows, int dim, const uint8_t *stored, const int64_t *index, float scale, float *out) {
    for (int64_t i = 0; i < n; i++)
        if (index[i] < 0 || index[i] >= rows) return 0;
    for (int64_t i = 0; i < n; i++) {
        const uint8_t *row = stored + index[i] * dim, *next = stored + index[i + 1 < n ? i + 1 : i] * dim;
        for (int d = 0; d < dim; d += 64) __builtin_prefetch(next + d);
#pragma omp simd
        for (int d = 0; d < dim; d++) out[i * dim + d] = scale * (float)row[d];
    }
    return 1;
}

/* The sum of all values, in double precision. */
EVERY_WIDTH double total(size_t n, const float *values) {
    double sum = 0.0;
#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < n; i++) sum += values[i];
    return sum;
}

/* g = g (1 - h^2), the chain rule through h = tanh u. */
EVERY_WIDTH void through_tanh(size_t n, const float *h, float *g) {
#pragma omp simd
    for (size_t i = 0; i < n; i++) g[i] *= 1.0f - h[i] * h[i];
}

/* value, or with `missing` 0 where the entry x of a point is missing, which NaN says. */
INLINE float where_observed(int missing, float x, float value) { return missing && x != x ? 0.0f : value; }

/* log p(x | a) of a part of a row of logits, but for - sum log(1 + exp -|a|): that is the logarithm of the product of FACTORS at most,
   which goes into `factors`. With `slope`, a becomes x - 1 / (1 + exp -a), times weight. */
INLINE float bernoulli_part(int n, const float *x, float *a, int missing, int slope, float weight, float *factors) {
    float sum = 0.0f, product = 1.0f;
#pragma omp simd reduction(+ : sum) reduction(* : product)
    for (int d = 0; d < n; d++) {
        float e = exp_of_negative(-fabsf(a[d]));
        sum += where_observed(missing, x[d], x[d] * a[d] - (a[d] > 0.0f ? a[d] : 0.0f));
        product *= 1.0f + where_observed(missing, x[d], e);
        if (slope) a[d] = where_observed(missing, x[d], weight * (x[d] - logistic_from(e, a[d])));
    }
    *factors = product;
    return sum;
}

/* log p(x | a) of a row of logits; with `slope`, they become their slopes. */
EVERY_WIDTH double bernoulli_row(int dim, const float *x, float *a, int missing, int slope, float weight) {
    double sum = 0.0, product = 1.0;
    for (int begin = 0; begin < dim; begin += FACTORS) {
        int n = begin + FACTORS < dim ? FACTORS : dim - begin;
        float factors;
        sum += missing ? slope ? bernoulli_part(n, x + begin, a + begin, 1, 1, weight, &factors)
                               : bernoulli_part(n, x + begin, a + begin, 1, 0, weight, &factors)
               : slope ? bernoulli_part(n, x + begin, a + begin, 0, 1, weight, &factors)
                       : bernoulli_part(n, x + begin, a + begin, 0, 0, weight, &factors);
        product *= factors;
        if (product > 1e200) sum -= log(product), product = 1.0;
    }
    return sum - log(product);
}

INLINE void bernoulli_slopes_of(int dim, const float *x, float *a, int missing, float weight) {
#pragma omp simd
    for (int d = 0; d < dim; d++) a[d] = where_observed(missing, x[d], weight * (x[d] - logistic_of(a[d])));
}

/* A row of logits becomes its slopes. */
EVERY_WIDTH static void bernoulli_slopes(int dim, const float *x, float *a, int missing, float weight) {
    if (missing)
        bernoulli_slopes_of(dim, x, a, 1, weight);
    else
        bernoulli_slopes_of(dim, x, a, 0, weight);
}

/* The sum of squared errors and log variances of a part of a row; with `slope`, mean and log_var become their slopes. */
INLINE float gaussian_part(int n, const float *x, float *mean, float *log_var, int missing, int squash, int slope, float weight) {
    float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (int d = 0; d < n; d++) {
        float m = squash ? logistic_of(mean[d]) : mean[d];
        float error = x[d] - m, pull = error * exp_of(-log_var[d]), square = error * pull;
        sum += where_observed(missing, x[d], square + log_var[d]);
        if (slope) {
            mean[d] = where_observed(missing, x[d], weight * (squash ? pull * m * (1.0f - m) : pull));
            log_var[d] = where_observed(missing, x[d], weight * (0.5f * square - 0.5f));
        }
    }
    return sum;
}

/* log p(x | a) of a row of outputs, means first; with `slope`, they become their slopes. */
EVERY_WIDTH static double gaussian_row(int dim, const float *x, float *a, int missing, int squash, int slope, float weight) {
    double sum = 0.0;
    int observed = dim;
    for (int begin = 0; begin < dim; begin += FACTORS) {
        int n = begin + FACTORS < dim ? FACTORS : dim - begin;
        float *mean = a + begin, *log_var = mean + dim;
        sum += missing  ? squash  ? slope ? gaussian_part(n, x + begin, mean, log_var, 1, 1, 1, weight)
                                          : gaussian_part(n, x + begin, mean, log_var, 1, 1, 0, weight)
                          : slope ? gaussian_part(n, x + begin, mean, log_var, 1, 0, 1, weight)
                                  : gaussian_part(n, x + begin, mean, log_var, 1, 0, 0, weight)
               : squash ? slope ? gaussian_part(n, x + begin, mean, log_var, 0, 1, 1, weight)
                                : gaussian_part(n, x + begin, mean, log_var, 0, 1, 0, weight)
               : slope  ? gaussian_part(n, x + begin, mean, log_var, 0, 0, 1, weight)
                        : gaussian_part(n, x + begin, mean, log_var, 0, 0, 0, weight);
    }
    if (missing)
        for (int d = 0; d < dim; d++) observed -= x[d] != x[d];
    return -0.5 * (sum + (double)observed * LOG_2PI);
}

/* log p(x | a) of a = h W + b, h (n x k); its slopes by a, times weight; and these times W^T: whichever is not NULL.

   Rows are taken in blocks, so that all of this happens to one that is in cache. Returns 0 if there is no memory. */
int observed_layer(observation o, int n, int k, const float *h, const float *W, const float *b, float weight, float *log_p,
                   float *slope, float *g_h) {
    int m = o.dim * o.outputs, blocks = n > 0 ? ((int64_t)n * m + FLOATS_IN_CACHE - 1) / FLOATS_IN_CACHE : 0;
    blocks = blocks > (n + 31) / 32 ? (n + 31) / 32 : blocks; /* a product of few rows is slow */
    int rows = blocks ? (n + blocks - 1) / blocks : 0;
    float *scratch = slope ? NULL : malloc(((size_t)rows * m + 1) * sizeof(float));
    if (!slope && !scratch) return 0;
    for (int begin = 0; begin < n; begin += rows) {
        int some = begin + rows < n ? rows : n - begin;
        float *a = slope ? slope + (size_t)begin * m : scratch;
        layer(some, k, m, h + (size_t)begin * k, W, b, 0, a);
        for (int i = 0; i < some; i++) {
            const float *x = o.x + (size_t)((begin + i) % o.points) * o.dim;
            float *row = a + (size_t)i * m;
            if (o.outputs == 1 && !log_p)
                bernoulli_slopes(o.dim, x, row, o.missing, weight);
            else {
                double value = o.outputs == 1 ? bernoulli_row(o.dim, x, row, o.missing, slope || g_h, weight)
                                              : gaussian_row(o.dim, x, row, o.missing, o.squash, slope || g_h, weight);
                if (log_p) log_p[begin + i] = (float)value;
            }
        }
        if (g_h) product_back(some, m, k, a, W, g_h + (size_t)begin * k);
    }
    free(scratch);
    return 1;
}

/* moved, at first noise, becomes exp(log_var / 2) noise and z = mean + moved, of samples x points x dim; and each point's KL from
   N(0, I). statistics has a row a point, means first. */
EVERY_WIDTH void gaussian_draw(int samples, int points, int dim, const float *statistics, float *moved, float *z, float *kl) {
    for (int i = 0; i < points; i++) {
        const float *mean = statistics + (size_t)i * 2 * dim, *log_var = mean + dim;
        float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
        for (int d = 0; d < dim; d++) sum += mean[d] * mean[d] + exp_of(log_var[d]) - log_var[d] - 1.0f;
        kl[i] = 0.5f * sum;
        for (int s = 0; s < samples; s++) {
            size_t at = ((size_t)s * points + i) * dim;
#pragma omp simd
            for (int d = 0; d < dim; d++) {
                moved[at + d] *= exp_of(0.5f * log_var[d]);
                z[at + d] = mean[d] + moved[at + d];
            }
        }
    }
}

/* The gradient by statistics of what has gradient g_z by the z that were drawn, and g_kl by each KL. */
EVERY_WIDTH void gaussian_pull(int samples, int points, int dim, const float *statistics, const float *moved, const float *g_z,
                               float g_kl, float *g) {
    for (int i = 0; i < points; i++) {
        const float *mean = statistics + (size_t)i * 2 * dim, *log_var = mean + dim;
        float *g_mean = g + (size_t)i * 2 * dim, *g_log_var = g_mean + dim;
#pragma omp simd
        for (int d = 0; d < dim; d++) {
            g_mean[d] = g_kl * mean[d];
            g_log_var[d] = 0.5f * g_kl * (exp_of(log_var[d]) - 1.0f);
        }
        for (int s = 0; s < samples; s++) {
            size_t at = ((size_t)s * points + i) * dim;
#pragma omp simd
            for (int d = 0; d < dim; d++) {
                g_mean[d] += g_z[at + d];
                g_log_var[d] += 0.5f * g_z[at + d] * moved[at + d];
            }
        }
    }
}

/* log q of samples x points x dim under Gaussians, and the gradient of its sum by their statistics, a row a point, means first. */
EVERY_WIDTH void gaussian_score(int samples, int points, int dim, const float *statistics, const float *z, float *log_q, float *g) {
    for (int i = 0; i < points; i++) {
        const float *mean = statistics + (size_t)i * 2 * dim, *log_var = mean + dim;
        float *g_mean = g + (size_t)i * 2 * dim, *g_log_var = g_mean + dim;
        memset(g_mean, 0, 2 * dim * sizeof(float));
        for (int s = 0; s < samples; s++) {
            const float *row = z + ((size_t)s * points + i) * dim;
            float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
            for (int d = 0; d < dim; d++) {
                float error = row[d] - mean[d], pull = error * exp_of(-log_var[d]), square = error * pull;
                sum += square + log_var[d];
                g_mean[d] += pull;
                g_log_var[d] += 0.5f * square - 0.5f;
            }
            log_q[(size_t)s * points + i] = -0.5f * (sum + dim * LOG_2PI);
        }
    }
}

/* log N(0, I) of each row of z (n x dim). */
EVERY_WIDTH void standard_normal(int n, int dim, const float *z, float *log_p) {
    for (int i = 0; i < n; i++) {
        const float *row = z + (size_t)i * dim;
        float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
        for (int d = 0; d < dim; d++) sum += row[d] * row[d];
        log_p[i] = -0.5f * (sum + dim * LOG_2PI);
    }
}
