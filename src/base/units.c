#include "base/units.h"

#include "base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

__extension__ typedef unsigned __int128 wide;

#define SHOW_MAX 32 /* the least size of a caller's buffer */
#define FRACTION_DIGITS 18

/* Largest first: showing takes the first that fits. */
struct unit {
	const char *name;
	uint64_t size;
};

static const struct unit binary[] = {
	{"PiB", 1ull << 50}, {"TiB", 1ull << 40}, {"GiB", 1ull << 30},
	{"MiB", 1ull << 20}, {"KiB", 1ull << 10}, {"B", 1},
	{NULL, 0},
};
static const struct unit decimal[] = {
	{"PB", 1000000000000000},
	{"TB", 1000000000000},
	{"GB", 1000000000},
	{"MB", 1000000},
	{"kB", 1000},
	{"B", 1},
	{NULL, 0},
};
static const struct unit times[] = {
	{"d", 86400000000000}, {"h", 3600000000000}, {"m", 60000000000}, {"s", 1000000000},
	{"ms", 1000000},       {"us", 1000},         {"ns", 1},          {NULL, 0},
};

/* A decimal number: whole + fraction / scale. */
struct number {
	uint64_t whole, fraction, scale;
};

static bool digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Reads DIGITS[.DIGITS]: no sign, blank, exponent. Returns what follows; NULL: not a number. */
static const char *read_number(const char *s, struct number *n)
{
	int digits = 0;

	*n = (struct number){.scale = 1};
	if (!digit(*s))
		return NULL;
	for (; digit(*s); s++) {
		if (__builtin_mul_overflow(n->whole, 10, &n->whole) ||
		    __builtin_add_overflow(n->whole, (uint64_t)(*s - '0'), &n->whole))
			return NULL;
	}
	if (*s != '.')
		return s;
	for (s++; digit(*s); s++) {
		if (++digits > FRACTION_DIGITS)
			return NULL;
		n->fraction = n->fraction * 10 + (uint64_t)(*s - '0');
		n->scale *= 10;
	}
	return digits ? s : NULL;
}

static uint64_t unit_size(const struct unit *table, const char *name)
{
	for (; table->name; table++) {
		if (strcmp(table->name, name) == 0)
			return table->size;
	}
	return 0;
}

/* n units of this size, what is finer than one dropped; -EINVAL over max. */
static int multiply(const struct number *n, uint64_t size, uint64_t max, uint64_t *out)
{
	wide product = (wide)n->whole * size + (wide)n->fraction * size / n->scale;

	if (product > max)
		return -EINVAL;
	*out = (uint64_t)product;
	return 0;
}

int sq_units_bytes(const char *s, uint64_t *out)
{
	struct number n;
	uint64_t size;

	s = read_number(s, &n);
	if (!s)
		return -EINVAL;
	if (*s == '\0') {
		size = n.scale == 1;
	} else {
		size = unit_size(binary, s);
		if (!size)
			size = unit_size(decimal, s);
	}
	return size ? multiply(&n, size, UINT64_MAX, out) : -EINVAL;
}

int sq_units_duration(const char *s, int64_t *out_ns)
{
	struct number n;
	uint64_t size, ns;

	if (strcmp(s, "0") == 0) {
		*out_ns = 0;
		return 0;
	}
	s = read_number(s, &n);
	size = s ? unit_size(times, s) : 0;
	/* SQ_NEVER is no duration. */
	if (!size || multiply(&n, size, SQ_NEVER - 1, &ns) < 0)
		return -EINVAL;
	*out_ns = (int64_t)ns;
	return 0;
}

static double to_double(const struct number *n)
{
	return (double)n->whole + (double)n->fraction / (double)n->scale;
}

int sq_units_rate(const char *s, double *per_s)
{
	struct number n;

	s = read_number(s, &n);
	if (!s)
		return -EINVAL;
	if (strcmp(s, "/s") == 0)
		*per_s = to_double(&n);
	else if (strcmp(s, "/m") == 0)
		*per_s = to_double(&n) / 60;
	else if (strcmp(s, "/h") == 0)
		*per_s = to_double(&n) / 3600;
	else
		return -EINVAL;
	return 0;
}

int sq_units_percent(const char *s, double *out)
{
	struct number n;

	s = read_number(s, &n);
	if (!s || strcmp(s, "%") != 0 || to_double(&n) > 100)
		return -EINVAL;
	*out = to_double(&n) / 100;
	return 0;
}

static const struct unit *largest(const struct unit *table, uint64_t v)
{
	while (table->size > v && table->size > 1)
		table++;
	return table;
}

/* As a whole number of at most four digits of the largest unit that gives one: 75s, not 1.25m. */
static bool show_whole(char *buf, uint64_t v, const struct unit *table)
{
	for (const struct unit *u = largest(table, v); u->name; u++) {
		if (v % u->size != 0 || v / u->size > 9999)
			continue;
		snprintf(buf, SHOW_MAX, "%" PRIu64 "%s", v / u->size, u->name);
		return true;
	}
	return false;
}

/* With at most two decimals and four digits before them, if that is the very value. */
static bool show_exact(char *buf, uint64_t v, const struct unit *table)
{
	const struct unit *u;

	for (u = largest(table, v); u->name; u++) {
		uint64_t whole = v / u->size, rest = v % u->size * 100;
		unsigned hundredths;

		if (rest % u->size != 0 || whole > 9999)
			continue;
		hundredths = (unsigned)(rest / u->size);
		if (hundredths == 0)
			snprintf(buf, SHOW_MAX, "%" PRIu64 "%s", whole, u->name);
		else if (hundredths % 10 == 0)
			snprintf(buf, SHOW_MAX, "%" PRIu64 ".%u%s", whole, hundredths / 10,
				 u->name);
		else
			snprintf(buf, SHOW_MAX, "%" PRIu64 ".%02u%s", whole, hundredths, u->name);
		return true;
	}
	return false;
}

/* Four significant digits of the largest unit that fits. */
static void show_rounded(char *buf, uint64_t v, const struct unit *table)
{
	const struct unit *u = largest(table, v);
	double x = (double)v / (double)u->size;

	/* Not %g alone: it would write 1e+05 for more than four digits. */
	if (x >= 1000)
		snprintf(buf, SHOW_MAX, "%.0f%s", x, u->name);
	else
		snprintf(buf, SHOW_MAX, "%.4g%s", x, u->name);
}

char *sq_units_show_duration(char *buf, int64_t ns)
{
	uint64_t v = ns < 0 ? 0 - (uint64_t)ns : (uint64_t)ns;
	char *p = buf;

	if (ns == 0 || ns == SQ_NEVER)
		return strcpy(buf, ns == 0 ? "0" : "never");
	if (ns < 0)
		*p++ = '-';
	/* The sign's byte is not missed: the longest text is far shorter than SHOW_MAX. */
	if (!show_whole(p, v, times) && !show_exact(p, v, times))
		show_rounded(p, v, times);
	return buf;
}

char *sq_units_show_bytes(char *buf, uint64_t bytes)
{
	if (!show_exact(buf, bytes, binary) && !show_exact(buf, bytes, decimal))
		show_rounded(buf, bytes, binary);
	return buf;
}
