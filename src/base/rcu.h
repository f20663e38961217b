/*
 * Read-copy-update, by liburcu-memb: what is read everywhere and replaced whole (the policy
 * snapshot, the chain registry). The only file that includes liburcu.
 *
 *     reader, a registered thread          writer, one at a time
 *     sq_rcu_read_lock();                  old = snapshot;
 *     s = sq_rcu_dereference(&snapshot);   sq_rcu_assign(&snapshot, new);
 *     ... s is valid ...                   sq_rcu_synchronize(); or: sq_rcu_call(&old->rcu, fn);
 *     sq_rcu_read_unlock();                free(old);
 *
 * ThreadSanitizer does not see into liburcu (it is not built with it): there the library's
 * functions are called, not inlined, and every edge that they give is told to it: assign ->
 * dereference, end of a read section -> end of a grace period, call -> callback -> barrier.
 */
#ifndef SQ_BASE_RCU_H
#define SQ_BASE_RCU_H

#if defined(__SANITIZE_THREAD__)
#define SQ_RCU_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SQ_RCU_TSAN 1
#endif
#endif

#ifndef SQ_RCU_TSAN
#define URCU_INLINE_SMALL_FUNCTIONS
#endif
#include <urcu/urcu-memb.h>

#include <stddef.h>

#ifdef SQ_RCU_TSAN
void __tsan_acquire(void *addr);
void __tsan_release(void *addr);
void AnnotateIgnoreWritesBegin(const char *file, int line);
void AnnotateIgnoreWritesEnd(const char *file, int line);
/* Stands for all read sections, and all calls, at once; weak: every file means the same one. */
__attribute__((weak)) char sq_rcu_sections;
#define sq_rcu_acquire_(p) __tsan_acquire(p)
#define sq_rcu_release_(p) __tsan_release(p)
#else
#define sq_rcu_acquire_(p) ((void)0)
#define sq_rcu_release_(p) ((void)0)
#endif

/* Every thread that reads or calls sq_rcu_call; before its first and after its last use. */
static inline void sq_rcu_register_thread(void)
{
	urcu_memb_register_thread();
}

static inline void sq_rcu_unregister_thread(void)
{
	urcu_memb_unregister_thread();
}

/* Sections nest and cost a few ns. Nothing may block in one: it delays sq_rcu_synchronize. */
static inline void sq_rcu_read_lock(void)
{
	urcu_memb_read_lock();
}

static inline void sq_rcu_read_unlock(void)
{
	sq_rcu_release_(&sq_rcu_sections);
	urcu_memb_read_unlock();
}

/*
 * pp is the address of a plain pointer. The compiler's atomics and not liburcu's macros: the same
 * instructions on x86, and ThreadSanitizer knows them.
 */
#define sq_rcu_dereference(pp) __atomic_load_n((pp), __ATOMIC_ACQUIRE)
#define sq_rcu_assign(pp, p) __atomic_store_n((pp), (p), __ATOMIC_RELEASE)

/* Returns when every read section that had begun has ended. Not inside a read section. */
static inline void sq_rcu_synchronize(void)
{
	urcu_memb_synchronize_rcu();
	sq_rcu_acquire_(&sq_rcu_sections);
}

/* Embed it in what is to be freed later. */
struct sq_rcu_head {
	struct rcu_head head;
	void (*fn)(struct sq_rcu_head *h);
};

static inline void sq_rcu_called_(struct rcu_head *head)
{
	struct sq_rcu_head *h =
		(struct sq_rcu_head *)((char *)head - offsetof(struct sq_rcu_head, head));

	sq_rcu_acquire_(h);
	sq_rcu_acquire_(&sq_rcu_sections);
	h->fn(h);
	sq_rcu_release_(&sq_rcu_sections);
}

/* fn(h) is called by liburcu's thread after a grace period; it must not block for long. */
static inline void sq_rcu_call(struct sq_rcu_head *h, void (*fn)(struct sq_rcu_head *h))
{
	h->fn = fn;
	sq_rcu_release_(h);
	urcu_memb_call_rcu(&h->head, sq_rcu_called_);
}

/* Returns when all calls made before have been carried out: before the end of the process. */
static inline void sq_rcu_barrier(void)
{
#ifdef SQ_RCU_TSAN
	/* It allocates what liburcu's own thread frees: no race, but that is not to be seen. */
	AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
	urcu_memb_barrier();
	AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
#else
	urcu_memb_barrier();
#endif
	sq_rcu_acquire_(&sq_rcu_sections);
}

#endif
