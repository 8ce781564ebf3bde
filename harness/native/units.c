/* Binary units that are drawn one after the other, each given those before it. */

#include "kernels.h"

#include <math.h>
#include <string.h>

/* From logits a (n x m), which are overwritten, weights U (m x m) of which those above the diagonal count, and uniform numbers (n x m),
   which become the units: u_j = 1 with probability 1 / (1 + exp -a_j), and then row j of U is added to the logits that follow.

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
