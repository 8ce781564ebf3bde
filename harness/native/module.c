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

#define FLOATS(number) ((float *)(intptr_t)(number))

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

OF_NUMBERS(py_layer, 8, layer(v[0], v[1], v[2], FLOATS(v[3]), FLOATS(v[4]), FLOATS(v[5]), v[6], FLOATS(v[7])))

OF_NUMBERS(py_tanh_back, 7, product_back(v[0], v[1], v[2], FLOATS(v[3]), FLOATS(v[4]), FLOATS(v[6]));
           through_tanh((size_t)v[0] * v[2], FLOATS(v[5]), FLOATS(v[6])))

OF_NUMBERS(py_tanh_down, 7, through_tanh((size_t)v[0] * v[1], FLOATS(v[4]), FLOATS(v[3]));
           if (v[6]) product_back(v[0], v[1], v[2], FLOATS(v[3]), FLOATS(v[5]), FLOATS(v[6])))

OF_NUMBERS(py_gaussian_draw, 8,
           gaussian_draw(v[0], v[1], v[2], FLOATS(v[3]), FLOATS(v[4]), FLOATS(v[5]), FLOATS(v[6]), FLOATS(v[7])))

OF_NUMBERS(py_gaussian_score, 7, gaussian_score(v[0], v[1], v[2], FLOATS(v[3]), FLOATS(v[4]), FLOATS(v[5]), FLOATS(v[6])))

OF_NUMBERS(py_standard_normal, 4, standard_normal(v[0], v[1], FLOATS(v[2]), FLOATS(v[3])))

OF_NUMBERS(py_ancestral, 5, ancestral(v[0], v[1], FLOATS(v[2]), FLOATS(v[3]), FLOATS(v[4])))

OF_NUMBERS(py_triangle, 3, triangle(v[0], FLOATS(v[1]), FLOATS(v[2])))

OF_NUMBERS(py_of_triangle, 3, of_triangle(v[0], FLOATS(v[1]), FLOATS(v[2])))

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

static PyObject *py_total(PyObject *self, PyObject *const *args, Py_ssize_t n) {
    long long v[2];
    if (!read_all(args, n, 2, v)) return NULL;
    return PyFloat_FromDouble(total(v[0], FLOATS(v[1])));
}

static PyObject *py_observed_layer(PyObject *self, PyObject *const *args, Py_ssize_t n) {
    long long v[13];
    double weight = n > 13 ? PyFloat_AsDouble(args[13]) : 1.0;
    if (!read_all(args, n, 13, v) || PyErr_Occurred()) return NULL;
    observation o = {v[2], v[3], v[4], v[5], FLOATS(v[6])};
    int enough;
    Py_BEGIN_ALLOW_THREADS
    enough = observed_layer(o, v[0], v[1], FLOATS(v[7]), FLOATS(v[8]), FLOATS(v[9]), (float)weight, FLOATS(v[10]),
                            FLOATS(v[11]), FLOATS(v[12]));
    Py_END_ALLOW_THREADS
    return done(enough);
}

static PyObject *py_gaussian_pull(PyObject *self, PyObject *const *args, Py_ssize_t n) {
    long long v[7];
    double g_kl = n > 7 ? PyFloat_AsDouble(args[7]) : 0.0;
    if (!read_all(args, n, 7, v) || PyErr_Occurred()) return NULL;
    Py_BEGIN_ALLOW_THREADS
    gaussian_pull(v[0], v[1], v[2], FLOATS(v[3]), FLOATS(v[4]), FLOATS(v[5]), (float)g_kl, FLOATS(v[6]));
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static PyObject *py_adagrad(PyObject *self, PyObject *const *args, Py_ssize_t n) {
    long long v[9];
    if (!read_all(args, n, 9, v)) return NULL;
    double lr = n > 10 ? PyFloat_AsDouble(args[9]) : 0.0, decay = n > 10 ? PyFloat_AsDouble(args[10]) : 0.0;
    if (PyErr_Occurred()) return NULL;
    int enough;
    Py_BEGIN_ALLOW_THREADS
    enough = adagrad(v[0], v[1], v[2], FLOATS(v[3]), FLOATS(v[4]), FLOATS(v[5]), FLOATS(v[6]), FLOATS(v[7]), FLOATS(v[8]),
                     (float)lr, (float)decay);
    Py_END_ALLOW_THREADS
    return done(enough);
}

#define FAST(function) (PyCFunction)(void (*)(void))function, METH_FASTCALL

static PyMethodDef methods[] = {
    {"use_gemm", py_use_gemm, METH_O, "Take this address for the Fortran function sgemm."},
    {"layer", FAST(py_layer), "n, k, m, x, W, b, squash, out: see kernels.c."},
    {"tanh_back", FAST(py_tanh_back), "n, m, k, g, W, h, out: g W^T, taken through the tanh before it."},
    {"tanh_down", FAST(py_tanh_down), "n, m, k, g, h, W, out: g taken through tanh in place, and g W^T unless out is 0."},
    {"bytes_at", FAST(py_bytes_at), "n, rows, dim, stored, index, out, scale: see kernels.c."},
    {"total", FAST(py_total), "n, values: their sum."},
    {"observed_layer", FAST(py_observed_layer),
     "n, k, points, dim, outputs, squash, x, h, W, b, log_p, slope, g_h, weight: see kernels.c."},
    {"gaussian_draw", FAST(py_gaussian_draw), "samples, points, dim, statistics, noise, z, moved, kl: see kernels.c."},
    {"gaussian_pull", FAST(py_gaussian_pull), "samples, points, dim, statistics, moved, g_z, g, g_kl: see kernels.c."},
    {"gaussian_score", FAST(py_gaussian_score), "samples, points, dim, statistics, z, log_q, g: see kernels.c."},
    {"standard_normal", FAST(py_standard_normal), "n, dim, z, log_p: see kernels.c."},
    {"ancestral", FAST(py_ancestral), "n, m, a, U, units: see units.c."},
    {"triangle", FAST(py_triangle), "m, above, matrix: see units.c."},
    {"of_triangle", FAST(py_of_triangle), "m, matrix, above: see units.c."},
    {"adagrad", FAST(py_adagrad), "n, k, m, a, g, W, sums, b, b_sums, lr, decay: see kernels.c."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_kernels", "Compiled primitives, see harness/native.", 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__kernels(void) { return PyModule_Create(&definition); }
