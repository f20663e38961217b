#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/id.h"
#include "base/map.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct item {
	char key[24];
	size_t len;
	int in, seen;
};

static void basics(void **state)
{
	struct sq_map *m = sq_map_new();
	size_t cursor = 0;
	int a, b, c;

	(void)state;
	assert_non_null(m);
	assert_null(sq_map_next(m, &cursor));
	assert_null(sq_map_get(m, "a", 1));
	assert_null(sq_map_remove(m, "a", 1));
	assert_int_equal(sq_map_put(m, "a", 1, &a), 0);
	assert_int_equal(sq_map_put(m, "a", 1, &b), -EEXIST);
	assert_ptr_equal(sq_map_get(m, "a", 1), &a);
	/* The empty key, a key with a NUL, a prefix: all different. */
	assert_int_equal(sq_map_put(m, NULL, 0, &b), 0);
	assert_int_equal(sq_map_put(m, "a\0", 2, &c), 0);
	assert_ptr_equal(sq_map_get(m, "", 0), &b);
	assert_ptr_equal(sq_map_get(m, "a\0", 2), &c);
	assert_null(sq_map_get(m, "a\0b", 3));
	assert_int_equal(sq_map_count(m), 3);
	assert_ptr_equal(sq_map_remove(m, "", 0), &b);
	assert_null(sq_map_get(m, NULL, 0));
	assert_int_equal(sq_map_count(m), 2);
	sq_map_free(m);
	sq_map_free(NULL);
}

static void check_all(const struct sq_map *m, struct item *items, size_t n)
{
	size_t i, cursor = 0, count = 0;
	struct item *it;

	for (i = 0; i < n; i++) {
		void *expected = items[i].in ? &items[i] : NULL;

		assert_ptr_equal(sq_map_get(m, items[i].key, items[i].len), expected);
		items[i].seen = 0;
	}
	while ((it = sq_map_next(m, &cursor))) {
		assert_int_equal(it->in, 1);
		assert_int_equal(it->seen++, 0);
		count++;
	}
	assert_int_equal(count, sq_map_count(m));
}

/* Long random histories in a small table, always near its fill limit, against a plain array. */
static void random_histories(void **state)
{
	enum { ITEMS = 192, STEPS = 20000, ROUNDS = 20 };
	struct item items[ITEMS];
	struct sq_random r;
	int round, step, i;

	(void)state;
	sq_random_init(&r);
	for (round = 0; round < ROUNDS; round++) {
		struct sq_map *m = sq_map_new();

		assert_non_null(m);
		for (i = 0; i < ITEMS; i++) {
			items[i].len = (size_t)snprintf(items[i].key, sizeof(items[i].key),
							"function-%d", i);
			items[i].in = 0;
		}
		for (step = 0; step < STEPS; step++) {
			struct item *it = &items[sq_random_next(&r) % ITEMS];
			int rc;

			if (sq_random_next(&r) % 8 < 6) {
				rc = sq_map_put(m, it->key, it->len, it);
				assert_int_equal(rc, it->in ? -EEXIST : 0);
				it->in = 1;
			} else {
				assert_ptr_equal(sq_map_remove(m, it->key, it->len),
						 it->in ? it : NULL);
				it->in = 0;
			}
			if (step % 512 == 0)
				check_all(m, items, ITEMS);
		}
		check_all(m, items, ITEMS);
		sq_map_free(m);
	}
}

static void large(void **state)
{
	enum { N = 200000 };
	struct item *items = calloc(N, sizeof(*items));
	struct sq_map *m = sq_map_new();
	size_t i;

	(void)state;
	assert_non_null(items);
	assert_non_null(m);
	for (i = 0; i < N; i++) {
		items[i].len = sizeof(i);
		memcpy(items[i].key, &i, sizeof(i));
		items[i].in = 1;
		assert_int_equal(sq_map_put(m, items[i].key, items[i].len, &items[i]), 0);
	}
	check_all(m, items, N);
	for (i = 0; i < N; i += 2) {
		assert_ptr_equal(sq_map_remove(m, items[i].key, items[i].len), &items[i]);
		items[i].in = 0;
	}
	check_all(m, items, N);
	sq_map_free(m);
	free(items);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(basics),
		cmocka_unit_test(random_histories),
		cmocka_unit_test(large),
	};

	return cmocka_run_group_tests_name("base/map", tests, NULL, NULL);
}
