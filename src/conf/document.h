/*
 * YAML and JSON documents, from files and from request bodies: libfyaml's parser makes events of
 * the text, and these become a small tree of values that know their place.
 *
 * What a document of ours never needs and an attacker likes is refused at its place: aliases and
 * anchors (so nothing can grow by reference), tags, keys that are no scalars, duplicate keys, more
 * than SQ_DOC_BYTES, SQ_DOC_DEPTH or SQ_DOC_VALUES, bytes that are not UTF-8.
 *
 * A reader asks for the keys it knows (conf/value.h); when the document is closed, each key that
 * nobody asked for is a fault. So a key is named once, where it is read.
 */
#ifndef SQ_CONF_DOCUMENT_H
#define SQ_CONF_DOCUMENT_H

#include "conf/report.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SQ_DOC_BYTES (1024u * 1024)
#define SQ_DOC_DEPTH 32
#define SQ_DOC_VALUES 100000u

enum sq_value_kind { SQ_VALUE_NULL, SQ_VALUE_SCALAR, SQ_VALUE_LIST, SQ_VALUE_MAP };

struct sq_asked {
	struct sq_asked *next;
	char key[];
};

/* Lives as long as its document. */
struct sq_value {
	struct sq_doc *doc;
	struct sq_value *key;          /* of a map's entry; else NULL */
	struct sq_value *next;         /* in the list, map or file */
	struct sq_value *first, *last; /* what is in a list or map */
	const char *text;              /* of a scalar, NUL-terminated and without other NULs */
	uint32_t len;
	uint32_t line;         /* from 1 */
	uint32_t offset, span; /* bytes of the text */
	enum sq_value_kind kind;
	bool quoted;           /* in quotes or a block: text whatever it looks like */
	bool bad;              /* has a fault that was told: not to be complained of again */
	bool asked;            /* its key is known */
	struct sq_asked *asks; /* the keys that were asked of this map */
};

struct sq_doc;

/*
 * Reads all documents of a file, or of a text that is called `name` in faults. Returns NULL when
 * the text could not be read as a whole; what is wrong was then told to f. The texts are copied; f
 * is borrowed until the close.
 */
struct sq_doc *sq_doc_open(const char *path, const char *name, struct sq_faults *f);
struct sq_doc *sq_doc_parse(const char *name, const char *text, size_t len, struct sq_faults *f);

/* The first document's top node, and by ->next the others; NULL: the file is empty. */
struct sq_value *sq_doc_first(const struct sq_doc *d);
const char *sq_doc_name(const struct sq_doc *d);
size_t sq_doc_errors(const struct sq_doc *d); /* so far */

/*
 * Ends the reading: finds the keys that nobody asked for, tells all faults in the order of their
 * places, and frees the document. Returns whether there was no error. NULL: false.
 */
bool sq_doc_close(struct sq_doc *d);

/* A fault at a value. Of its errors only the first is told. */
void sq_value_error(struct sq_value *v, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void sq_value_warn(const struct sq_value *v, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* A fault of the whole entry, such as a missing key: at its key, if it has one. Told each time. */
void sq_value_entry_error(struct sq_value *v, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Zeroed memory that lives as long as the document; NULL: out of memory, which becomes a fault. */
void *sq_doc_alloc(struct sq_doc *d, size_t bytes);
/* Makes the document fail with "out of memory". */
void sq_doc_no_memory(struct sq_doc *d);

#endif
