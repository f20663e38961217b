/* base/heap: against a plain scan, with every operation at every place of the tree. */
#include "base/heap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

struct entry {
	int key;
	struct sq_heap_node node;
};

static struct entry *entry_of(const struct sq_heap_node *n)
{
	return sq_heap_entry(n, struct entry, node);
}

static bool less(const struct sq_heap_node *a, const struct sq_heap_node *b)
{
	return entry_of(a)->key < entry_of(b)->key;
}

/* Order, parents and shape (complete: node i of the array of positions has its parent at i / 2). */
static size_t walk(const struct sq_heap *h, const struct sq_heap_node *n, size_t position)
{
	if (!n)
		return 0;
	assert_true(position <= h->count);
	if (n->left)
		assert_true(n->left->parent == n && !less(n->left, n));
	if (n->right)
		assert_true(n->right->parent == n && !less(n->right, n));
	return 1 + walk(h, n->left, 2 * position) + walk(h, n->right, 2 * position + 1);
}

static void check(const struct sq_heap *h)
{
	assert_int_equal(walk(h, sq_heap_top(h), 1), h->count);
}

static void test_empty(void **state)
{
	struct sq_heap h;

	(void)state;
	sq_heap_init(&h, less);
	assert_null(sq_heap_top(&h));
	assert_null(sq_heap_pop(&h));
	assert_null(entry_of(sq_heap_top(&h)));
}

static void test_sorts(void **state)
{
	struct entry e[300] = {0};
	struct sq_heap h;
	int last = -1;

	(void)state;
	srand(1);
	sq_heap_init(&h, less);
	for (int i = 0; i < 300; i++) {
		e[i].key = rand() % 100;
		sq_heap_push(&h, &e[i].node);
		check(&h);
	}
	for (int i = 0; i < 300; i++) {
		struct entry *top = entry_of(sq_heap_pop(&h));

		assert_true(top->key >= last);
		assert_false(sq_heap_linked(&top->node));
		last = top->key;
		check(&h);
	}
	assert_null(sq_heap_top(&h));
}

/* Remove and re-key each position of heaps of each size: the last node, an inner one, the root. */
static void test_every_place(void **state)
{
	(void)state;
	for (int n = 1; n <= 20; n++) {
		for (int at = 0; at < n; at++) {
			struct entry e[20] = {0};
			struct sq_heap h;

			sq_heap_init(&h, less);
			for (int i = 0; i < n; i++) {
				e[i].key = (i * 7) % n * 10;
				sq_heap_push(&h, &e[i].node);
			}
			for (int key = -5; key <= n * 10 + 5; key += 10) {
				e[at].key = key;
				sq_heap_update(&h, &e[at].node);
				check(&h);
			}
			sq_heap_remove(&h, &e[at].node);
			assert_false(sq_heap_linked(&e[at].node));
			assert_int_equal(h.count, n - 1);
			check(&h);
		}
	}
}

static void test_place(void **state)
{
	struct entry a = {.key = 1}, b = {.key = 2};
	struct sq_heap h;

	(void)state;
	sq_heap_init(&h, less);
	sq_heap_place(&h, &a.node, false);
	assert_int_equal(h.count, 0);
	sq_heap_place(&h, &a.node, true);
	sq_heap_place(&h, &b.node, true);
	assert_ptr_equal(sq_heap_top(&h), &a.node);
	a.key = 3;
	sq_heap_place(&h, &a.node, true);
	assert_ptr_equal(sq_heap_top(&h), &b.node);
	sq_heap_place(&h, &b.node, false);
	assert_ptr_equal(sq_heap_top(&h), &a.node);
	assert_int_equal(h.count, 1);
}

/* Long and random, against a scan. */
static void test_random(void **state)
{
	static struct entry e[64];
	struct sq_heap h;

	(void)state;
	srand(7);
	sq_heap_init(&h, less);
	for (int step = 0; step < 20000; step++) {
		struct entry *x = &e[rand() % 64];
		int least = 1000;

		if (!sq_heap_linked(&x->node)) {
			x->key = rand() % 1000;
			sq_heap_push(&h, &x->node);
		} else if (rand() % 2) {
			x->key = rand() % 1000;
			sq_heap_update(&h, &x->node);
		} else {
			sq_heap_remove(&h, &x->node);
		}
		for (int i = 0; i < 64; i++)
			if (sq_heap_linked(&e[i].node) && e[i].key < least)
				least = e[i].key;
		assert_int_equal(h.count ? entry_of(sq_heap_top(&h))->key : 1000, least);
	}
	check(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty),       cmocka_unit_test(test_sorts),
		cmocka_unit_test(test_every_place), cmocka_unit_test(test_place),
		cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
