/* The files that globs name. */
#ifndef SQ_CONF_FILES_H
#define SQ_CONF_FILES_H

#include "conf/report.h"
#include "conf/settings.h"

struct sq_file {
	char *path; /* to open it */
	char *name; /* for people: as seen from where the settings file was named */
};

/*
 * Finds them in the order of the globs, and of one glob in the order of their names (by bytes,
 * whatever the locale); a file that is named twice comes once. A glob without wildcards that names
 * no file is a fault of `key`, one with wildcards is not. Returns their number; the caller frees
 * with sq_files_free.
 */
size_t sq_files_find(const struct sq_settings *s, const char *key, char *const *globs,
		     size_t n_globs, struct sq_file **files, struct sq_faults *faults);
void sq_files_free(struct sq_file *files, size_t n);

#endif
