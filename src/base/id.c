#include "base/id.h"

#include "base/clock.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/random.h>

#define TRACE_LEN 55 /* of a version 00 traceparent */

void sq_random_init(struct sq_random *r)
{
	ssize_t n = getrandom(r->s, sizeof(r->s), 0);

	/* So few bytes are never cut short nor interrupted (getrandom(2)). */
	assert(n == (ssize_t)sizeof(r->s));
	(void)n;
	r->s[0] |= !(r->s[0] | r->s[1] | r->s[2] | r->s[3]);
}

static uint64_t rotate(uint64_t x, int k)
{
	return x << k | x >> (64 - k);
}

/* xoshiro256**: Blackman and Vigna, "Scrambled linear pseudorandom number generators", 2021. */
uint64_t sq_random_next(struct sq_random *r)
{
	uint64_t *s = r->s;
	uint64_t result = rotate(s[1] * 5, 7) * 9;
	uint64_t t = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = rotate(s[3], 45);
	return result;
}

struct sq_id sq_id_make(struct sq_random *r, int64_t wall_ns, uint16_t instance, uint8_t home)
{
	uint64_t ms = wall_ns > 0 ? (uint64_t)(wall_ns / SQ_MS) : 0;

	return (struct sq_id){
		.hi = ms << 16 | instance,
		.lo = (uint64_t)home << 56 | sq_random_next(r) >> 8,
	};
}

uint8_t sq_id_home(struct sq_id id)
{
	return (uint8_t)(id.lo >> 56);
}

static char *put_hex(char *p, uint64_t v, int digits)
{
	static const char hex[] = "0123456789abcdef";

	while (digits-- > 0)
		*p++ = hex[v >> (digits * 4) & 15];
	return p;
}

/* Lower case only: an id, like a traceparent, has one spelling. */
static int get_hex(const char *s, int digits, uint64_t *out)
{
	uint64_t v = 0;

	for (; digits > 0; digits--, s++) {
		if (*s >= '0' && *s <= '9')
			v = v << 4 | (uint64_t)(*s - '0');
		else if (*s >= 'a' && *s <= 'f')
			v = v << 4 | (uint64_t)(*s - 'a' + 10);
		else
			return -EINVAL;
	}
	*out = v;
	return 0;
}

char *sq_id_show(char buf[SQ_ID_HEX], struct sq_id id)
{
	*put_hex(put_hex(buf, id.hi, 16), id.lo, 16) = '\0';
	return buf;
}

int sq_id_parse(const char *hex, size_t len, struct sq_id *out)
{
	struct sq_id id;

	if (len != SQ_ID_HEX - 1 || get_hex(hex, 16, &id.hi) < 0 ||
	    get_hex(hex + 16, 16, &id.lo) < 0)
		return -EINVAL;
	*out = id;
	return 0;
}

/* The version and what depends on it: of one that we do not know, more may follow after a dash. */
static bool trace_version(const char *s, size_t len)
{
	uint64_t version;

	if (len < TRACE_LEN || get_hex(s, 2, &version) < 0 || version == 0xff)
		return false;
	return len == TRACE_LEN || (version != 0 && s[TRACE_LEN] == '-');
}

/*
 * W3C Trace Context, 3.2: version "ff" and zero ids are invalid; in every version the first 55
 * characters mean what they mean in version 00.
 */
static bool trace_parse(const char *s, size_t len, struct sq_id *trace, uint64_t *flags)
{
	uint64_t parent;

	if (!s || !trace_version(s, len) || s[2] != '-' || s[35] != '-' || s[52] != '-')
		return false;
	if (sq_id_parse(s + 3, 32, trace) < 0 || !(trace->hi | trace->lo))
		return false;
	if (get_hex(s + 36, 16, &parent) < 0 || !parent)
		return false;
	return get_hex(s + 53, 2, flags) == 0;
}

void sq_traceparent(char out[SQ_TRACEPARENT], const char *incoming, size_t len, struct sq_id run,
		    struct sq_random *r)
{
	struct sq_id trace;
	uint64_t flags, parent;
	char *p = out;

	/* A new trace is marked as sampled: we do keep the run's times under this very id, and an
	 * unsampled parent would silence the tracers of the functions behind us. */
	if (!trace_parse(incoming, len, &trace, &flags)) {
		trace = run;
		flags = 1;
	}
	do
		parent = sq_random_next(r);
	while (!parent);

	p = put_hex(p, 0, 2);
	*p++ = '-';
	p = put_hex(put_hex(p, trace.hi, 16), trace.lo, 16);
	*p++ = '-';
	p = put_hex(p, parent, 16);
	*p++ = '-';
	/* Only "sampled" is defined; unknown flags are set to zero. */
	p = put_hex(p, flags & 1, 2);
	*p = '\0';
}
