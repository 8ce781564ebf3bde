/* Binary units: drawn at once, or one after the other, each given those before it; and their density. */

#include "elementary.h"
#include "kernels.h"

/* Uniform numbers (n x m) become units, 1 with probability 1 / (1 + exp -a). Row i belongs to row i % points of a (points x m). */
EVERY_WIDTH void units_draw(int n, int points, int m, const float *a, float *units) {
    for (int i = 0; i < n; i++) {
        const float *logits = a + (size_t)(i % points) * m;
        float *row = units + (size_t)i * m;
#pragma omp simd
        for (int j = 0; j < m; j++) row[j] = row[j] < logistic_of(logits[j]) ? 1.0f : 0.0f;
    }
}

/* log p (n) of units, and its slopes (n x m) by their logits, u - 1 / (1 + exp -a). Row i is of row i % of_u of the units (of_u x m)
   and row i % of_a of a (of_a x m). */
void units_score(int n, int of_u, int of_a, int m, const float *units, const float *a, float *log_p, float *slope) {
    for (int i = 0; i < n; i++) {
        float *row = slope + (size_t)i * m;
        memcpy(row, a + (size_t)(i % of_a) * m, m * sizeof(float));
        log_p[i] = (float)bernoulli_row(m, units + (size_t)(i % of_u) * m, row, 0, 1, 1.0f);
    }
}

/* From logits a (n x m), which are overwritten, weights U (m x m) of which those above the diagonal count, and uniform numbers (n x m),
   which become the units: u_j = 1 with probability 1 / (1 + exp -a_j), and then row j of U is added to the logits that follow. So a
   becomes the logits that the units were drawn by.

   All rows take a unit before any takes the next, so that a row of U is read once. */
EVERY_WIDTH void ancestral(int n, int m, float *a, const float *U, float *units) {
    for (int j = 0; j < m; j++) {
        const float *weights = U + (size_t)j * m;
        for (int i = 0; i < n; i++) {
            float *row = a + (size_t)i * m, *unit = units + (size_t)i * m + j;
            *unit = *unit < 1.0f / (1.0f + expf(-row[j])) ? 1.0f : 0.0f;
            if (*unit != 0.0f) {
#pragma omp simd
                for (int l = j + 1; l < m; l++) row[l] += weights[l];
            }
        }
    }
}

/* matrix (m x m) = the numbers above its diagonal, row by row, and zeros elsewhere. */
void triangle(int m, const float *above, float *matrix) {
    for (int i = 0; i < m; above += m - 1 - i, i++) {
        float *row = matrix + (size_t)i * m;
        memset(row, 0, (size_t)(i + 1) * sizeof(float));
        if (i < m - 1) memcpy(row + i + 1, above, (size_t)(m - 1 - i) * sizeof(float));
    }
}

/* The other way round. */
void of_triangle(int m, const float *matrix, float *above) {
    for (int i = 0; i < m - 1; above += m - 1 - i, i++)
        memcpy(above, matrix + (size_t)i * m + i + 1, (size_t)(m - 1 - i) * sizeof(float));
}
