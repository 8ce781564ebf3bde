/* Running means and variances. */

#include "kernels.h"

#include <math.h>

/* out = (values - mean) / max(1, root of variance), both asked for by flags, of values (n x kinds) with n > 0; then mean and variance
   (kinds) go on to decay old + (1 - decay) new. */
void standardise(int n, int kinds, int centre, int scale, const float *values, float *mean, float *variance, float *out,
                 double decay) {
    for (int l = 0; l < kinds; l++) {
        float shift = centre ? mean[l] : 0.0f, deviation = sqrtf(variance[l]), over = scale && !(deviation < 1.0f) ? deviation : 1.0f;
        double sum = 0.0, squares = 0.0;
        for (int i = 0; i < n; i++) {
            sum += values[i * kinds + l];
            out[i * kinds + l] = (values[i * kinds + l] - shift) / over;
        }
        double now = sum / n;
        for (int i = 0; i < n; i++) squares += (values[i * kinds + l] - now) * (values[i * kinds + l] - now);
        mean[l] = (float)(decay * mean[l] + (1.0 - decay) * now);
        variance[l] = (float)(decay * variance[l] + (1.0 - decay) * squares / n);
    }
}
