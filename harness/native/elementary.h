/* Elementary functions in single precision, without branches, so that the compiler vectorises the loops that call them. */

#ifndef HARNESS_NATIVE_ELEMENTARY_H
#define HARNESS_NATIVE_ELEMENTARY_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

/* exp x for x in [-87, 88], relative error 1e-7: 2^n exp r with |r| <= ln 2 / 2, where 1 + r + r^2 P(r) is a minimax fit in double
   precision. */
INLINE float exp_within(float x) {
    const float shift = 12582912.0f; /* 1.5 * 2^23: adding it rounds to a whole number, which its low bits then hold */
    float shifted = x * 1.44269504f + shift, n = shifted - shift;
    float r = x - n * 0.693145752f - n * 1.42860677e-6f;
    float p = 1.381454018e-3f;
    p = p * r + 8.368745303e-3f;
    p = p * r + 4.166839080e-2f;
    p = p * r + 1.666652040e-1f;
    p = p * r + 4.999999343e-1f;
    p = p * r * r + r + 1.0f;
    uint32_t bits;
    memcpy(&bits, &shifted, 4);
    bits = (bits + 127) << 23;
    float power;
    memcpy(&power, &bits, 4);
    return p * power;
}

/* exp x where x <= 0; 0 where that is less than single precision has. */
INLINE float exp_of_negative(float x) { return x < -87.0f ? 0.0f : exp_within(x < -87.0f ? -87.0f : x); }

/* exp x; infinite beyond 88. */
INLINE float exp_of(float x) {
    float e = exp_of_negative(x > 88.0f ? 88.0f : x);
    return x > 88.0f ? INFINITY : e;
}

/* tanh x, relative error 4e-7: x P(x^2) / Q(x^2), a minimax fit on [0, 9.02], beyond which it is 1 in single precision. */
INLINE float tanh_of(float x) {
    float c = x > 9.02f ? 9.02f : x;
    c = c < -9.02f ? -9.02f : c;
    float u = c * c;
    float p = 1.331902020e-8f;
    p = p * u + 2.058344294e-5f;
    p = p * u + 3.494032215e-3f;
    p = p * u + 1.337971597e-1f;
    p = p * u + 1.0f;
    float q = 7.761997934e-7f;
    q = q * u + 3.283089010e-4f;
    q = q * u + 2.587106429e-2f;
    q = q * u + 4.671303121e-1f;
    q = q * u + 1.0f;
    float t = c * p / q;
    t = t > 1.0f ? 1.0f : t;
    return t < -1.0f ? -1.0f : t;
}

/* 1 / sqrt x for x >= 1e-37, relative error 1e-7: Newton's iterations from a guess that halves the exponent. A third of the time of the
   processor's own root and division. */
INLINE float inverse_root_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    bits = 0x5f375a86 - (bits >> 1);
    float y, half = 0.5f * x;
    memcpy(&y, &bits, 4);
    y = y * (1.5f - half * y * y);
    y = y * (1.5f - half * y * y);
    return y * (1.5f - half * y * y);
}

/* 1 / (1 + exp -a), from e = exp -|a|. */
INLINE float logistic_from(float e, float a) { return (a < 0.0f ? e : 1.0f) / (1.0f + e); }

/* 1 / (1 + exp -a). */
INLINE float logistic_of(float a) { return logistic_from(exp_of_negative(-fabsf(a)), a); }

#endif
