/* The Python module `harness.native._kernels`: numbers in, kernels called without the interpreter's lock.

   Tensors come as the addresses of their memory, since the callers in harness/native have looked at their types and shapes; 0 stands
   for none.
   It keeps to the limited API, so one build serves every later version of Python. */

#define Py_LIMITED_API 0x030b0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "kernels.h"

/* Read whole numbers: sizes, flags and addresses. */
static int read_all(PyObject *const *args, Py_ssize_t given, int expected, long long *out) {
    if (given < expected) {
        PyErr_Format(PyExc_TypeError, "%d arguments are needed, not %zd", expected, given);
        return 0;
    }
    for (int i = 0; i < expected; i++) {
        out[i] = PyLong_AsLongLong(args[i]);
        if (out[i] == -1 && PyErr_Occurred()) return 0;
    }
    return 1;
}

/* Read as many addresses. */
static int read_places(PyObject *const *args, Py_ssize_t given, int expected, float **out) {
    for (int i = 0; i < expected; i++) {
        long long address;
        if (!read_all(args + i, given - i, 1, &address)) return 0;
        out[i] = FLOATS(address);
    }
    return 1;
}

static PyObject *done(int enough_memory) {
    if (!enough_memory) return PyErr_NoMemory();
    Py_RETURN_NONE;
}

static PyObject *py_use_gemm(PyObject *self, PyObject *address) {
    void *found = PyLong_AsVoidPtr(address);
    if (PyErr_Occurred()) return NULL;
    gemm = (gemm_function *)found;
    Py_RETURN_NONE;
}

/* A function of so many whole numbers v, which is computed without the interpreter's lock and returns nothing. */
#define OF_NUMBERS(name, count, ...)                                                   \
    static PyObject *name(PyObject *self, PyObject *const *args, Py_ssize_t n) {       \
        long long v[count];                                                            \
        if (!read_all(args, n, count, v)) return NULL;                                 \
        Py_BEGIN_ALLOW_THREADS                                                         \
        __VA_ARGS__;                                                                   \
        Py_END_ALLOW_THREADS                                                           \
        Py_RETURN_NONE;                                                                \
    }

OF_NUMBERS(py_gaussian_score, 7, gaussian_score(v[0], v[1], v[2], FLOATS(v[3]), FLOATS(v[4]), FLOATS(v[5]), FLOATS(v[6])))

OF_NUMBERS(py_standard_normal, 4, standard_normal(v[0], v[1], FLOATS(v[2]), FLOATS(v[3])))

OF_NUMBERS(py_units_draw, 5, units_draw(v[0], v[1], v[2], FLOATS(v[3]), FLOATS(v[4])))

OF_NUMBERS(py_units_score, 8, units_score(v[0], v[1], v[2], v[3], FLOATS(v[4]), FLOATS(v[5]), FLOATS(v[6]), FLOATS(v[7])))

OF_NUMBERS(py_ancestral, 5, ancestral(v[0], v[1], FLOATS(v[2]), FLOATS(v[3]), FLOATS(v[4])))

OF_NUMBERS(py_triangle, 3, triangle(v[0], FLOATS(v[1]), FLOATS(v[2])))

OF_NUMBERS(py_of_triangle, 3, of_triangle(v[0], FLOATS(v[1]), FLOATS(v[2])))

#define NADE(v) (nade){v[0], v[1], v[2], (const int64_t *)(intptr_t)v[3], FLOATS(v[4]), FLOATS(v[5]), FLOATS(v[6])}

OF_NUMBERS(py_nade_up, 13, nade p = NADE(v);
           nade_up(p, FLOATS(v[7]), v[8], v[9], FLOATS(v[10]), FLOATS(v[11]), FLOATS(v[12])))

OF_NUMBERS(py_nade_down, 16, nade p = NADE(v);
           nade_down(p, FLOATS(v[7]), v[8], v[9], FLOATS(v[10]), FLOATS(v[11]), FLOATS(v[12]), FLOATS(v[13]), FLOATS(v[14]),
                     FLOATS(v[15])))

static PyObject *py_bytes_at(PyObject *self, PyObject *const *args, Py_ssize_t n) {
    long long v[6];
    double scale = n > 6 ? PyFloat_AsDouble(args[6]) : 1.0;
    if (!read_all(args, n, 6, v) || PyErr_Occurred()) return NULL;
    int there;
    Py_BEGIN_ALLOW_THREADS
    there = bytes_at(v[0], v[1], v[2], (const uint8_t *)(intptr_t)v[3], (const int64_t *)(intptr_t)v[4], (float)scale, FLOATS(v[5]));
    Py_END_ALLOW_THREADS
    if (!there) return PyErr_Format(PyExc_IndexError, "index out of range: there are %lld rows", v[1]);
    Py_RETURN_NONE;
}

static PyObject *py_standardise(PyObject *self, PyObject *const *args, Py_ssize_t n) {
    long long v[8];
    double decay = n > 8 ? PyFloat_AsDouble(args[8]) : 0.0;
    if (!read_all(args, n, 8, v) || PyErr_Occurred()) return NULL;
    Py_BEGIN_ALLOW_THREADS
    standardise(v[0], v[1], v[2], v[3], FLOATS(v[4]), FLOATS(v[5]), FLOATS(v[6]), FLOATS(v[7]), decay);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static PyObject *py_total(PyObject *self, PyObject *const *args, Py_ssize_t n) {
    long long v[2];
    if (!read_all(args, n, 2, v)) return NULL;
    return PyFloat_FromDouble(total(v[0], FLOATS(v[1])));
}

/* A function of a stack: numbers v, the first two of which are its table and how many layers it has, so that it takes `fixed` numbers
   and `lists` of one address a layer or, with `hidden`, a hidden layer. With `real`, a real number comes first. */
#define OF_STACK(name, real, fixed, lists, hidden, ...)                                                          \
    static PyObject *name(PyObject *self, PyObject *const *args, Py_ssize_t n) {                                 \
        double number = real && n ? PyFloat_AsDouble(args[0]) : 0.0;                                             \
        long long v[fixed];                                                                                      \
        if (!read_all(args + real, n - real, fixed, v) || PyErr_Occurred()) return NULL;                         \
        stack s = {v[1], (const layer_at *)(intptr_t)v[0]};                                                      \
        int each = s.layers - hidden, enough = 1;                                                                \
        float *at[lists * s.layers];                                                                             \
        if (!read_places(args + real + fixed, n - real - fixed, lists * each, at)) return NULL;                  \
        Py_BEGIN_ALLOW_THREADS                                                                                   \
        __VA_ARGS__;                                                                                             \
        Py_END_ALLOW_THREADS                                                                                     \
        (void)number;                                                                                            \
        return done(enough);                                                                                     \
    }

OF_STACK(py_up, 0, 4, 1, 0, stack_up(s, v[2], FLOATS(v[3]), at))

OF_STACK(py_down, 0, 5, 2, 1, stack_down(s, v[2], FLOATS(v[3]), at, at + each, FLOATS(v[4])))

OF_STACK(py_observed, 1, 13, 2, 1, observation o = {v[3], v[4], v[5], v[6], v[7], FLOATS(v[8])};
         enough = stack_observed(s, o, v[2], FLOATS(v[9]), (float)number, FLOATS(v[10]), FLOATS(v[11]), FLOATS(v[12]), at, at + each))

OF_STACK(py_draw, 0, 9, 1, 0, stack_up(s, v[3], FLOATS(v[5]), at);
         gaussian_draw(v[2], v[3], v[4], at[each - 1], FLOATS(v[6]), FLOATS(v[7]), FLOATS(v[8])))

OF_STACK(py_pull, 1, 7, 2, 0, float *g = at[2 * each - 1];
         gaussian_pull(v[2], v[3], v[4], at[each - 1], FLOATS(v[5]), FLOATS(v[6]), (float)number, g);
         stack_down(s, v[3], g, at, at + each, NULL))

enum { OF_A_MOVE = 5, OF_A_LAYER = 11 };

static PyObject *py_ascend(PyObject *self, PyObject *const *args, Py_ssize_t given) {
    long long rule;
    double of[OF_A_MOVE];
    if (!read_all(args, given, 1, &rule)) return NULL;
    if (given < 1 + OF_A_MOVE) return PyErr_Format(PyExc_TypeError, "%d arguments are needed, not %zd", 1 + OF_A_MOVE, given);
    for (int i = 0; i < OF_A_MOVE; i++) of[i] = PyFloat_AsDouble(args[1 + i]);
    move by = {rule, of[0], of[1], of[2], of[3], of[4]};
    for (Py_ssize_t i = 1 + OF_A_MOVE; i < given; i += OF_A_LAYER + 1) {
        long long v[OF_A_LAYER];
        double decay = given - i < OF_A_LAYER + 1 ? 0.0 : PyFloat_AsDouble(args[i + OF_A_LAYER]);
        if (!read_all(args + i, given - i - 1, OF_A_LAYER, v) || PyErr_Occurred()) return NULL;
        kept W = {FLOATS(v[5]), FLOATS(v[7]), FLOATS(v[9])}, b = {FLOATS(v[6]), FLOATS(v[8]), FLOATS(v[10])};
        int enough;
        Py_BEGIN_ALLOW_THREADS
        enough = ascend(by, v[0], v[3], v[4], FLOATS(v[1]), FLOATS(v[2]), W, b, (float)decay);
        Py_END_ALLOW_THREADS
        if (!enough) return PyErr_NoMemory();
    }
    Py_RETURN_NONE;
}

#define FAST(function) (PyCFunction)(void (*)(void))function, METH_FASTCALL

static PyMethodDef methods[] = {
    {"use_gemm", py_use_gemm, METH_O, "Take this address for the Fortran function sgemm."},
    {"up", FAST(py_up), "table, layers, n, x, outs of each layer: see stack.c."},
    {"down", FAST(py_down), "table, layers, n, g, g_x, units of each hidden layer, the gradients behind them: see stack.c."},
    {"observed", FAST(py_observed),
     "weight, table, layers, n, points, dim, outputs, squash, missing, x, z, log_p, slope, g_z, units of each hidden layer, the gradients "
     "behind them: see stack.c."},
    {"draw", FAST(py_draw), "table, layers, samples, points, dim, x, moved, z, kl, outs of each layer: up, and see gaussian_draw."},
    {"pull", FAST(py_pull),
     "g_kl, table, layers, samples, points, dim, moved, g_z, outs of each layer, the gradients behind them: see gaussian_pull, and "
     "down."},
    {"bytes_at", FAST(py_bytes_at), "n, rows, dim, stored, index, out, scale: see kernels.c."},
    {"standardise", FAST(py_standardise), "n, kinds, centre, scale, values, mean, variance, out, decay: see moments.c."},
    {"total", FAST(py_total), "n, values: their sum."},
    {"gaussian_score", FAST(py_gaussian_score), "samples, points, dim, statistics, z, log_q, g: see kernels.c."},
    {"standard_normal", FAST(py_standard_normal), "n, dim, z, log_p: see kernels.c."},
    {"units_draw", FAST(py_units_draw), "n, points, m, a, units: see units.c."},
    {"units_score", FAST(py_units_score), "n, of_u, of_a, m, units, a, log_p, slope: see units.c."},
    {"ancestral", FAST(py_ancestral), "n, m, a, U, units: see units.c."},
    {"triangle", FAST(py_triangle), "m, above, matrix: see units.c."},
    {"of_triangle", FAST(py_of_triangle), "m, matrix, above: see units.c."},
    {"nade_up", FAST(py_nade_up), "n, dim, hidden, order, x, W, V, b, block, keep, states, h, logits: see nade.c."},
    {"nade_down", FAST(py_nade_down),
     "n, dim, hidden, order, x, W, V, g, block, keep, states, scratch, behind, by_W, by_V, by_b: see nade.c."},
    {"ascend", FAST(py_ascend),
     "rule, lr, beta1, beta2, correction, eps, and of each layer n, a, g, k, m, W, b, what is kept first for W and for b, and what "
     "second, decay: see updates.c."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_kernels", "Compiled primitives, see harness/native.", 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__kernels(void) { return PyModule_Create(&definition); }
