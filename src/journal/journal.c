#include "journal/journal.h"

#include <stdlib.h>

struct sq_journal {
	bool durable;
};

struct sq_journal *sq_journal_open(void)
{
	return calloc(1, sizeof(struct sq_journal));
}

void sq_journal_close(struct sq_journal *j)
{
	free(j);
}

bool sq_journal_durable(const struct sq_journal *j)
{
	return j->durable;
}

void sq_journal_record(struct sq_journal *j, struct sq_journal_entry *e)
{
	(void)j;
	e->done(e, 0);
}
