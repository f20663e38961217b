/*
 * Numbers with units, as people write them in settings and policies: no sign, blank or exponent.
 * Each returns 0, or -EINVAL and leaves *out alone. What is finer than a byte or a ns is dropped.
 */
#ifndef SQ_BASE_UNITS_H
#define SQ_BASE_UNITS_H

#include <stdint.h>

int sq_units_bytes(const char *s, uint64_t *out);     /* 512, 64KiB, 6MiB, 1GiB, 5kB, 2MB */
int sq_units_duration(const char *s, int64_t *out_ns); /* 100ms, 30s, 1.5s, 2m, 1h, 30d, 0 */
int sq_units_rate(const char *s, double *per_s);      /* 100/s, 30/m, 1000/h */
int sq_units_percent(const char *s, double *out);     /* 90% -> 0.9; up to 100% */

/* The inverse, shortest exact-enough form, for people: buf of at least 32 bytes; returns buf. */
char *sq_units_show_duration(char *buf, int64_t ns);
char *sq_units_show_bytes(char *buf, uint64_t bytes);

#endif
