/*
 * The answer reader under libFuzzer; or, built with -DSQ_FUZZ_MAIN, replaying files. The first byte
 * says how the rest is cut. Besides not crashing, the result must not depend on the cut.
 */
#include "worker/answer_reader.h"

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

struct outcome {
	enum sq_read end;
	int status;
	bool keep;
	const char *reason;
	uint64_t body_bytes, body_hash;
};

static enum sq_read read_piece(struct sq_answer_reader *r, const uint8_t *p, size_t n,
			       struct outcome *o)
{
	char *copy = malloc(n ? n : 1);
	struct sq_bytes in = {copy, n}, body;
	enum sq_read got;
	size_t i;

	assert(copy);
	memcpy(copy, p, n);
	while ((got = sq_answer_read(r, &in, &body)) == SQ_READ_HEAD || got == SQ_READ_BODY) {
		if (got == SQ_READ_HEAD)
			continue;
		assert(body.len > 0);
		o->body_bytes += body.len;
		for (i = 0; i < body.len; i++)
			o->body_hash = o->body_hash * 31 + (unsigned char)body.data[i];
	}
	assert(got != SQ_READ_MORE || in.len == 0);
	free(copy);
	return got;
}

static struct outcome read_all(struct sq_arena_pool *pool, const uint8_t *p, size_t n, size_t step,
			       bool head)
{
	struct sq_answer_reader r = {0};
	struct sq_answer a = {.length = -1};
	struct sq_arena *arena = sq_arena_new(pool);
	struct outcome o = {.end = SQ_READ_MORE};

	sq_answer_reader_begin(&r, &a, arena, head);
	while (n > 0 && o.end == SQ_READ_MORE) {
		size_t k = step < n ? step : n;

		o.end = read_piece(&r, p, k, &o);
		p += k;
		n -= k;
	}
	if (o.end == SQ_READ_MORE)
		o.end = sq_answer_closed(&r);
	o.status = o.end == SQ_READ_END ? a.status : 0;
	o.keep = r.keep;
	o.reason = r.reason;
	sq_answer_reader_free(&r);
	sq_arena_free(arena);
	return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct sq_arena_pool *pool = sq_arena_pool_new(4096, 4);
	struct outcome whole, cut;
	bool head;

	if (n < 1 || !pool) {
		sq_arena_pool_free(pool);
		return 0;
	}
	head = data[0] >> 7;
	whole = read_all(pool, data + 1, n - 1, n, head);
	cut = read_all(pool, data + 1, n - 1, (data[0] & 0x7f) + 1u, head);
	assert(whole.end == cut.end && whole.status == cut.status && whole.keep == cut.keep);
	assert(whole.reason == cut.reason);
	if (whole.end == SQ_READ_END)
		assert(whole.body_bytes == cut.body_bytes && whole.body_hash == cut.body_hash);
	sq_arena_pool_free(pool);
	return 0;
}

#ifdef SQ_FUZZ_MAIN
static void replay(const char *path)
{
	FILE *f = fopen(path, "re");
	static uint8_t data[1 << 20];

	if (!f) {
		perror(path);
		exit(1);
	}
	LLVMFuzzerTestOneInput(data, fread(data, 1, sizeof(data), f));
	fclose(f);
}

int main(int argc, char **argv)
{
	int i;

	for (i = 1; i < argc; i++)
		replay(argv[i]);
	printf("%d passed, 0 failed\n", argc - 1);
	return 0;
}
#endif
