#include "load.h"

static unsigned bucket(uint64_t v)
{
	unsigned shift;

	if (v < 128)
		return (unsigned)v;
	shift = 63u - (unsigned)__builtin_clzll(v) - 7;
	return (shift + 1) * 128 + (unsigned)(v >> shift) - 128;
}

static uint64_t upper(unsigned b)
{
	unsigned shift = b / 128;

	if (shift == 0)
		return b;
	return ((uint64_t)(b % 128 + 128 + 1) << (shift - 1)) - 1;
}

void load_hist_add(struct load_hist *h, uint64_t ns)
{
	h->count++;
	h->sum += ns;
	h->max = ns > h->max ? ns : h->max;
	h->bucket[bucket(ns)]++;
}

double load_hist_us(const struct load_hist *h, double quantile)
{
	uint64_t want = (uint64_t)(quantile * (double)h->count + 0.999999), sum = 0, ns;

	for (unsigned b = 0; b < LOAD_HIST_BUCKETS; b++) {
		sum += h->bucket[b];
		if (sum >= want && sum) {
			ns = upper(b);
			return (double)(ns < h->max ? ns : h->max) / 1000;
		}
	}
	return 0;
}
