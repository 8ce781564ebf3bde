/* What module.c calls. All matrices are row-major, of 32-bit floats without gaps between rows. */

#ifndef HARNESS_NATIVE_KERNELS_H
#define HARNESS_NATIVE_KERNELS_H

#include <stddef.h>
#include <stdint.h>

/* Compiled for each of these vector widths; which one runs is chosen when the library is loaded. */
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__SANITIZE_ADDRESS__)
#define EVERY_WIDTH __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define EVERY_WIDTH
#endif

/* Single-precision GEMM with the Fortran interface: handed in, so that the extension is linked against no BLAS. */
typedef void gemm_function(const char *, const char *, const int *, const int *, const int *, const float *, const float *,
                           const int *, const float *, const int *, const float *, float *, const int *);
extern gemm_function *gemm;

/* A density of x given a = h W + b. `outputs` a dimension: 1 Bernoulli, 2 Gaussian. */
typedef struct {
    int points, dim, outputs; /* x is points x dim; row r of h belongs to point r % points */
    int squash;               /* of a Gaussian: its mean is the logistic function of its output */
    int missing;              /* entries of x that are NaN are missing: only the others have a density */
    const float *x;
} observation;

/* A layer where it is in memory, and a stack of them, each behind the one before it. */
typedef struct {
    int64_t k, m, W, b; /* W (k x m) and b (m) by their addresses, as Python has them */
} layer_at;

typedef struct {
    int layers;
    const layer_at *of;
} stack;

/* Bits x (n x dim) that are each given those before it in an order, by hidden units: see nade.c. */
typedef struct {
    int n, dim, hidden;
    const int64_t *order; /* dim positions */
    const float *x, *W, *V; /* W and V (dim x hidden), a row a bit */
} nade;

#define FLOATS(address) ((float *)(intptr_t)(address))

/* An optimiser's step; what it corrects for the bias of running means, it has corrected in lr and in the factor of the root. */
typedef struct {
    enum { SGD, ADAGRAD, ADAM } rule;
    float lr, beta1, beta2, correction, eps;
} move;

/* Weights, and what an optimiser keeps for them: nothing, sums of squares, or means and squares. */
typedef struct {
    float *w, *first, *second;
} kept;

void product(char of_a, char of_b, int m, int n, int k, const float *A, int row_a, const float *B, int row_b, float beta,
             float *out);
void layer(int n, int k, int m, const float *x, const float *W, const float *b, int squash, float *out);
void through_tanh(size_t n, const float *h, float *g);
void product_back(int n, int m, int k, const float *g, const float *W, float *out);
int bytes_at(int64_t n, int64_t rows, int dim, const uint8_t *stored, const int64_t *index, float scale, float *out);
double total(size_t n, const float *values);
double bernoulli_row(int dim, const float *x, float *a, int missing, int slope, float weight);
int observed_layer(observation o, int n, int k, const float *h, const float *W, const float *b, float weight, float *log_p,
                   float *slope, float *g_h);
void gaussian_draw(int samples, int points, int dim, const float *statistics, float *moved, float *z, float *kl);
void gaussian_pull(int samples, int points, int dim, const float *statistics, const float *moved, const float *g_z,
                   float g_kl, float *g);
void gaussian_score(int samples, int points, int dim, const float *statistics, const float *z, float *log_q, float *g);
void standard_normal(int n, int dim, const float *z, float *log_p);
void units_draw(int n, int points, int m, const float *a, float *units);
void units_score(int n, int of_u, int of_a, int m, const float *units, const float *a, float *log_p, float *slope);
void ancestral(int n, int m, float *a, const float *U, float *units);
void triangle(int m, const float *above, float *matrix);
void of_triangle(int m, const float *matrix, float *above);
void standardise(int n, int kinds, int centre, int scale, const float *values, float *mean, float *variance, float *out,
                 double decay);
int ascend(move by, int n, int k, int m, const float *a, const float *g, kept W, kept b, float decay);
void nade_up(nade p, const float *b, int block, size_t keep, float *states, float *h, float *logits);
void nade_down(nade p, const float *g, int block, size_t keep, const float *states, float *scratch, float *behind, float *by_W,
               float *by_V, float *by_b);
void stack_up(stack s, int n, const float *x, float *const *outs);
void stack_down(stack s, int n, const float *g, float *const *units, float *const *behind, float *g_x);
int stack_observed(stack s, observation o, int n, const float *z, float weight, float *log_p, float *slope, float *g_z,
                   float *const *units, float *const *behind);

#endif
