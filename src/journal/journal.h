/*
 * The journal of durable runs. The engine asks it before it carries out what must not be lost;
 * `done` is called when that is on disk. This build keeps no journal: every run is volatile, `done`
 * comes at once, and a 202 says "durable": false.
 */
#ifndef SQ_JOURNAL_JOURNAL_H
#define SQ_JOURNAL_JOURNAL_H

#include "model/run.h"

#include <stdbool.h>

struct sq_journal;

struct sq_journal_entry {
	const struct sq_event *event;
	void (*done)(struct sq_journal_entry *e, int err); /* 0, or -errno: nothing was recorded */
};

struct sq_journal *sq_journal_open(void);
void sq_journal_close(struct sq_journal *j);
bool sq_journal_durable(const struct sq_journal *j);
/* Records the event; e stays valid until done. */
void sq_journal_record(struct sq_journal *j, struct sq_journal_entry *e);

#endif
