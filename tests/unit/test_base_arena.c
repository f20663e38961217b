#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/id.h"

#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define HAVE_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAVE_ASAN 1
#endif
#endif
#ifdef HAVE_ASAN
#include <sanitizer/asan_interface.h>
#endif

#define CHUNK 4096

/* Pieces of all sizes: aligned, and none touches another. */
static void pieces_do_not_overlap(void **state)
{
	enum { N = 400 };
	struct sq_arena_pool *p = sq_arena_pool_new(CHUNK, 4);
	unsigned char *piece[N];
	size_t size[N], i, k;
	struct sq_random r;
	struct sq_arena *a;
	int round;

	(void)state;
	sq_random_init(&r);
	for (round = 0; round < 20; round++) {
		a = sq_arena_new(p);
		assert_non_null(a);
		for (i = 0; i < N; i++) {
			size[i] = sq_random_next(&r) % (i % 16 == 0 ? 3 * CHUNK : 200);
			piece[i] = sq_arena_alloc(a, size[i]);
			assert_non_null(piece[i]);
			assert_int_equal((uintptr_t)piece[i] % 16, 0);
			memset(piece[i], (int)i & 0xff, size[i]);
		}
		for (i = 0; i < N; i++) {
			for (k = 0; k < size[i]; k++)
				assert_int_equal(piece[i][k], i & 0xff);
		}
		sq_arena_free(a);
	}
	sq_arena_pool_free(p);
}

static void chunks_are_used_again(void **state)
{
	struct sq_arena_pool *p = sq_arena_pool_new(CHUNK, 1);
	struct sq_arena *a = sq_arena_new(p), *b;
	void *first = a;

	(void)state;
	assert_non_null(a);
	memset(sq_arena_alloc(a, 1000), 0xff, 1000);
	sq_arena_free(a);
	a = sq_arena_new(p);
	assert_ptr_equal(a, first);
	/* Memory used before is zeroed where that is asked for. */
	{
		static const char zeros[1000];

		assert_memory_equal(sq_arena_zalloc(a, 1000), zeros, 1000);
	}
	b = sq_arena_new(p);
	assert_ptr_not_equal(a, b);
	sq_arena_free(a);
	sq_arena_free(b); /* over keep_chunks: given back to malloc, seen by LeakSanitizer if not */
	sq_arena_free(NULL);
	sq_arena_pool_free(p);
	sq_arena_pool_free(NULL);
}

static void large_pieces_leave_the_chunk_open(void **state)
{
	struct sq_arena_pool *p = sq_arena_pool_new(CHUNK, 4);
	struct sq_arena *a = sq_arena_new(p);
	char *small, *large, *next;

	(void)state;
	assert_int_equal(sq_arena_bytes(a), CHUNK);
	small = sq_arena_alloc(a, 16);
	large = sq_arena_alloc(a, 1 << 20);
	next = sq_arena_alloc(a, 16);
	assert_non_null(large);
	assert_true(next > small && next - small <= 64);
	assert_true(sq_arena_bytes(a) >= CHUNK + (1 << 20));
	assert_true(sq_arena_bytes(a) < CHUNK + (1 << 20) + 128);
	sq_arena_free(a);
	sq_arena_pool_free(p);
}

static void odd_sizes(void **state)
{
	struct sq_arena_pool *p = sq_arena_pool_new(1, 0); /* raised to what works */
	struct sq_arena *a = sq_arena_new(p);
	void *x, *y;

	(void)state;
	assert_non_null(a);
	x = sq_arena_alloc(a, 0);
	y = sq_arena_alloc(a, 0);
	assert_non_null(x);
	assert_non_null(y);
	assert_ptr_not_equal(x, y);
	assert_null(sq_arena_alloc(a, SIZE_MAX));
	assert_null(sq_arena_alloc(a, SIZE_MAX - 15));
	assert_null(sq_arena_zalloc(a, SIZE_MAX / 2 + 1));
	assert_null(sq_arena_strndup(a, "x", SIZE_MAX));
	assert_string_equal(sq_arena_strndup(a, "hello world", 5), "hello");
	assert_string_equal(sq_arena_strndup(a, NULL, 0), "");
	sq_arena_free(a);
	sq_arena_pool_free(p);
}

static void asan_sees_what_is_not_allocated(void **state)
{
	(void)state;
#ifdef HAVE_ASAN
	struct sq_arena_pool *p = sq_arena_pool_new(CHUNK, 4);
	struct sq_arena *a = sq_arena_new(p);
	char *x = sq_arena_alloc(a, 21), *y = sq_arena_alloc(a, 8);

	assert_false(__asan_address_is_poisoned(x + 20));
	assert_true(__asan_address_is_poisoned(x + 21));
	assert_true(__asan_address_is_poisoned(y + 8));
	sq_arena_free(a);
	assert_true(__asan_address_is_poisoned(x));
	assert_true(__asan_address_is_poisoned(a));
	sq_arena_pool_free(p);
#else
	skip();
#endif
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pieces_do_not_overlap),
		cmocka_unit_test(chunks_are_used_again),
		cmocka_unit_test(large_pieces_leave_the_chunk_open),
		cmocka_unit_test(odd_sizes),
		cmocka_unit_test(asan_sees_what_is_not_allocated),
	};

	return cmocka_run_group_tests_name("base/arena", tests, NULL, NULL);
}
