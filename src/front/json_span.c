#include "front/json_span.h"

#include <string.h>

static bool blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static size_t skip_blanks(const char *s, size_t at, size_t len)
{
	while (at < len && blank(s[at]))
		at++;
	return at;
}

/* From the opening quote to behind the closing one. */
static size_t skip_string(const char *s, size_t at, size_t len)
{
	for (at++; at < len && s[at] != '"'; at++)
		if (s[at] == '\\')
			at++;
	return at < len ? at + 1 : len;
}

static size_t skip_value(const char *s, size_t at, size_t len)
{
	size_t depth = 0;

	do {
		if (s[at] == '"') {
			at = skip_string(s, at, len);
			continue;
		}
		if (s[at] == '{' || s[at] == '[')
			depth++;
		else if (s[at] == '}' || s[at] == ']')
			depth--;
		at++;
	} while (at < len && (depth > 0 || (!blank(s[at]) && s[at] != ',' && s[at] != '}')));
	return at;
}

bool sq_json_span(const char *text, size_t len, const char *key, const char **value,
		  size_t *value_len)
{
	size_t at = skip_blanks(text, 0, len), end, start, n = strlen(key);

	while (at < len && (at = skip_blanks(text, at + 1, len)) < len && text[at] == '"') {
		bool found;

		end = skip_string(text, at, len);
		found = end - at == n + 2 && memcmp(text + at + 1, key, n) == 0;
		at = skip_blanks(text, end, len); /* the colon */
		start = skip_blanks(text, at + 1, len);
		if (start >= len)
			return false;
		end = skip_value(text, start, len);
		if (found) {
			*value = text + start;
			*value_len = end - start;
			return true;
		}
		at = skip_blanks(text, end, len); /* the comma, or the closing brace */
	}
	return false;
}
