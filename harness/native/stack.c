/* Stacks of layers: each of these is a whole network's way up, down, or both. */

#include "kernels.h"

/* outs[l] (n x m of layer l) = what layer l says of x (n x k of the first), behind tanh unless it is the last. */
void stack_up(stack s, int n, const float *x, float *const *outs) {
    for (int l = 0; l < s.layers; l++) {
        const layer_at *at = s.of + l;
        layer(n, at->k, at->m, x, FLOATS(at->W), FLOATS(at->b), l < s.layers - 1, outs[l]);
        x = outs[l];
    }
}

/* g (n x m of the last) is the gradient behind the last layer. behind[l] = the one before the tanh of hidden layer l, whose units are
   units[l]; and g_x = the one by the stack's inputs, unless that is NULL. */
void stack_down(stack s, int n, const float *g, float *const *units, float *const *behind, float *g_x) {
    for (int l = s.layers - 1; l > 0; l--) {
        const layer_at *at = s.of + l;
        product_back(n, at->m, at->k, g, FLOATS(at->W), behind[l - 1]);
        through_tanh((size_t)n * at->k, units[l - 1], behind[l - 1]);
        g = behind[l - 1];
    }
    if (g_x) product_back(n, s.of->m, s.of->k, g, FLOATS(s.of->W), g_x);
}

/* Up, a density of the outputs, and down: see observed_layer. behind[0] is NULL if there is no way down. Returns 0 if there is no
   memory. */
int stack_observed(stack s, observation o, int n, const float *z, float weight, float *log_p, float *slope, float *g_z,
                   float *const *units, float *const *behind) {
    stack below = {s.layers - 1, s.of};
    const layer_at *last = s.of + below.layers;
    const float *h = below.layers ? units[below.layers - 1] : z;
    float *g_h = below.layers ? behind[below.layers - 1] : g_z;
    for (int l = 0; l < below.layers; l++) {
        const layer_at *at = s.of + l;
        layer(n, at->k, at->m, l ? units[l - 1] : z, FLOATS(at->W), FLOATS(at->b), 1, units[l]);
    }
    if (!observed_layer(o, n, last->k, h, FLOATS(last->W), FLOATS(last->b), weight, log_p, slope, g_h)) return 0;
    if (below.layers && g_h) {
        through_tanh((size_t)n * last->k, h, g_h);
        stack_down(below, n, g_h, units, behind, g_z);
    }
    return 1;
}
