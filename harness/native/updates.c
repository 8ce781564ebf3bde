/* Updates of weights along gradients that are not multiplied out: a panel of rows of a^T g is made, used while it is in cache, and
   forgotten. */

#include "elementary.h"
#include "kernels.h"

#include <stdlib.h>

enum { PANEL = 128 }; /* rows */

/* Each moves n weights w along g - decay w; first and second are what it keeps for them. */

EVERY_WIDTH static void sgd(size_t n, const float *g, float *w, float lr, float decay) {
#pragma omp simd
    for (size_t i = 0; i < n; i++) w[i] += lr * (g[i] - decay * w[i]);
}

EVERY_WIDTH static void adagrad(size_t n, const float *g, float *w, float *sums, float lr, float decay) {
#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        float ascent = g[i] - decay * w[i];
        sums[i] += ascent * ascent;
        w[i] += lr * ascent * inverse_root_of(sums[i]);
    }
}

EVERY_WIDTH static void adam(size_t n, const float *g, float *w, float *means, float *squares, move by, float decay) {
#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        float ascent = g[i] - decay * w[i];
        means[i] += (1.0f - by.beta1) * (ascent - means[i]);
        squares[i] = by.beta2 * squares[i] + (1.0f - by.beta2) * ascent * ascent;
        w[i] += by.lr * means[i] / (sqrtf(squares[i]) * by.correction + by.eps);
    }
}

static void along(move by, size_t n, const float *g, kept at, size_t from, float decay) {
    if (by.rule == SGD)
        sgd(n, g, at.w + from, by.lr, decay);
    else if (by.rule == ADAGRAD)
        adagrad(n, g, at.w + from, at.first + from, by.lr, decay);
    else
        adam(n, g, at.w + from, at.first + from, at.second + from, by, decay);
}

EVERY_WIDTH static void add_row(int m, const float *row, float *sum) {
#pragma omp simd
    for (int j = 0; j < m; j++) sum[j] += row[j];
}

/* Move W (k x m) along a^T g, a (n x k) and g (n x m), and b along the sum of g's rows. Without b, W are the numbers above the diagonal
   of a matrix (m x m), row by row. Returns 0 if there is no memory. */
int ascend(move by, int n, int k, int m, const float *a, const float *g, kept W, kept b, float decay) {
    float *panel = malloc(((size_t)PANEL * m + 1) * sizeof(float));
    if (!panel) return 0;
    size_t at = 0;
    for (int begin = 0; begin < k; begin += PANEL) {
        int rows = begin + PANEL < k ? PANEL : k - begin, left = b.w ? 0 : begin, some = m - left;
        product('T', 'N', rows, some, n, a + begin, k, g + left, m, 0.0f, panel);
        if (b.w) {
            along(by, (size_t)rows * m, panel, W, at, decay);
            at += (size_t)rows * m;
        }
        for (int i = 0; !b.w && i < rows; at += some - 1 - i, i++)
            if (i < some - 1) along(by, some - 1 - i, panel + (size_t)i * some + i + 1, W, at, decay);
    }
    if (b.w) {
        memset(panel, 0, m * sizeof(float));
        for (int i = 0; i < n; i++) add_row(m, g + (size_t)i * m, panel);
        along(by, m, panel, b, 0, 0.0f);
    }
    free(panel);
    return 1;
}
