#include "base/heap.h"

#include <assert.h>

void sq_heap_init(struct sq_heap *h, sq_heap_less *less)
{
	*h = (struct sq_heap){.less = less};
}

/*
 * The link that holds position i of the complete tree (the root is 1, the children of i are 2i and
 * 2i + 1): the bits of i below its highest one are the path, 0 left and 1 right.
 */
static struct sq_heap_node **slot(struct sq_heap *h, size_t i, struct sq_heap_node **parent)
{
	struct sq_heap_node **link = &h->base.left;
	unsigned depth = (unsigned)(8 * sizeof(i)) - 1 - (unsigned)__builtin_clzl(i);

	*parent = &h->base;
	while (depth-- > 0) {
		*parent = *link;
		link = i >> depth & 1 ? &(*link)->right : &(*link)->left;
	}
	return link;
}

static struct sq_heap_node **link_of(const struct sq_heap_node *n)
{
	return n->parent->left == n ? &n->parent->left : &n->parent->right;
}

static void adopt(struct sq_heap_node *n)
{
	if (n->left)
		n->left->parent = n;
	if (n->right)
		n->right->parent = n;
}

/* Puts new into old's place in the tree. */
static void replace(struct sq_heap_node *old, struct sq_heap_node *new)
{
	*link_of(old) = new;
	*new = *old;
	adopt(new);
}

/* Exchanges n with its child c. */
static void lower(struct sq_heap_node *n, struct sq_heap_node *c)
{
	struct sq_heap_node was = *c;

	*link_of(n) = c;
	c->parent = n->parent;
	if (n->left == c) {
		c->left = n;
		c->right = n->right;
	} else {
		c->left = n->left;
		c->right = n;
	}
	n->left = was.left;
	n->right = was.right;
	adopt(n);
	adopt(c);
}

static bool sift_up(struct sq_heap *h, struct sq_heap_node *n)
{
	bool moved = false;

	while (n->parent != &h->base && h->less(n, n->parent)) {
		lower(n->parent, n);
		moved = true;
	}
	return moved;
}

static void sift_down(struct sq_heap *h, struct sq_heap_node *n)
{
	while (n->left) {
		struct sq_heap_node *c = n->left;

		if (n->right && h->less(n->right, c))
			c = n->right;
		if (!h->less(c, n))
			return;
		lower(n, c);
	}
}

void sq_heap_push(struct sq_heap *h, struct sq_heap_node *n)
{
	struct sq_heap_node **link;

	assert(!sq_heap_linked(n));
	link = slot(h, ++h->count, &n->parent);
	n->left = n->right = NULL;
	*link = n;
	sift_up(h, n);
}

void sq_heap_remove(struct sq_heap *h, struct sq_heap_node *n)
{
	struct sq_heap_node *parent, **link, *last;

	assert(sq_heap_linked(n));
	link = slot(h, h->count--, &parent);
	last = *link;
	*link = NULL;
	if (last != n) {
		replace(n, last);
		if (!sift_up(h, last))
			sift_down(h, last);
	}
	*n = (struct sq_heap_node){0};
}

void sq_heap_update(struct sq_heap *h, struct sq_heap_node *n)
{
	assert(sq_heap_linked(n));
	if (!sift_up(h, n))
		sift_down(h, n);
}

void sq_heap_place(struct sq_heap *h, struct sq_heap_node *n, bool belongs)
{
	if (!sq_heap_linked(n)) {
		if (belongs)
			sq_heap_push(h, n);
	} else if (belongs) {
		sq_heap_update(h, n);
	} else {
		sq_heap_remove(h, n);
	}
}
