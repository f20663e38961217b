#include "model/glob.h"

#include <stddef.h>

/*
 * Only the last star ever needs another try: whatever an earlier one could absorb instead, the
 * later one can absorb as well. So there is no recursion, and no glob is exponential.
 */
bool sq_glob_match(const char *glob, const char *text)
{
	const char *after_star = NULL, *retry = NULL;

	while (*text != '\0') {
		if (*glob == '*') {
			after_star = ++glob;
			retry = text;
		} else if (*glob == '?' || *glob == *text) {
			glob++;
			text++;
		} else if (after_star) {
			glob = after_star;
			text = ++retry;
		} else {
			return false;
		}
	}
	while (*glob == '*')
		glob++;
	return *glob == '\0';
}
