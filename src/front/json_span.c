#include "front/json_span.h"

#include <string.h>

static void skip_blanks(struct sq_json_reader *r)
{
	while (r->at < r->end &&
	       (*r->at == ' ' || *r->at == '\t' || *r->at == '\n' || *r->at == '\r'))
		r->at++;
}

static bool take(struct sq_json_reader *r, char c)
{
	if (r->at == r->end || *r->at != c)
		return false;
	r->at++;
	return true;
}

static bool take_next(struct sq_json_reader *r, char c)
{
	skip_blanks(r);
	return take(r, c);
}

static bool take_word(struct sq_json_reader *r, const char *word)
{
	while (*word && take(r, *word))
		word++;
	return !*word;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Behind its backslash. */
static bool take_escape(struct sq_json_reader *r)
{
	static const char plain[] = {'"', '\\', '/', 'b', 'f', 'n', 'r', 't'};

	if (!take(r, 'u'))
		return r->at < r->end && memchr(plain, *r->at++, sizeof(plain));
	for (int i = 0; i < 4; i++, r->at++) {
		char c = r->at < r->end ? *r->at : '\0';

		if (!is_digit(c) && !((c | 0x20) >= 'a' && (c | 0x20) <= 'f'))
			return false;
	}
	return true;
}

static bool take_string(struct sq_json_reader *r)
{
	if (!take(r, '"'))
		return false;
	while (r->at < r->end && (unsigned char)*r->at >= 0x20) {
		char c = *r->at++;

		if (c == '"')
			return true;
		if (c == '\\' && !take_escape(r))
			return false;
	}
	return false;
}

static bool take_digits(struct sq_json_reader *r)
{
	const char *from = r->at;

	while (r->at < r->end && is_digit(*r->at))
		r->at++;
	return r->at > from;
}

static bool take_number(struct sq_json_reader *r)
{
	take(r, '-');
	if (!take(r, '0') && !take_digits(r))
		return false;
	if (take(r, '.') && !take_digits(r))
		return false;
	if (!take(r, 'e') && !take(r, 'E'))
		return true;
	if (!take(r, '+'))
		take(r, '-');
	return take_digits(r);
}

static bool take_scalar(struct sq_json_reader *r)
{
	switch (r->at < r->end ? *r->at : '\0') {
	case '"':
		return take_string(r);
	case 't':
		return take_word(r, "true");
	case 'f':
		return take_word(r, "false");
	case 'n':
		return take_word(r, "null");
	default:
		return take_number(r);
	}
}

/* The bracket that will close it; NUL: none is opened. */
static char take_bracket(struct sq_json_reader *r)
{
	if (take_next(r, '{'))
		return '}';
	return take(r, '[') ? ']' : '\0';
}

/* What stands before each value within these brackets. */
static bool take_key(struct sq_json_reader *r, char close)
{
	if (close == ']')
		return true;
	skip_blanks(r);
	return take_string(r) && take_next(r, ':');
}

/* A value and all that is in it, without recursion: `close` has the brackets to come. */
static bool take_value(struct sq_json_reader *r)
{
	char close[SQ_JSON_DEPTH];
	size_t depth = 0;

	for (;;) {
		char bracket = take_bracket(r);

		if (bracket) {
			if (depth == SQ_JSON_DEPTH)
				return false;
			if (!take_next(r, bracket)) {
				close[depth++] = bracket;
				if (!take_key(r, bracket))
					return false;
				continue;
			}
		} else if (!take_scalar(r)) {
			return false;
		}
		/* A value has ended, and whatever it was the last of. */
		while (depth > 0 && take_next(r, close[depth - 1]))
			depth--;
		if (depth == 0)
			return true;
		if (!take(r, ',') || !take_key(r, close[depth - 1]))
			return false;
	}
}

/* What the function takes, and where it stood. */
static bool spanned(struct sq_json_reader *r, struct sq_json_span *s,
		    bool (*taken)(struct sq_json_reader *r))
{
	skip_blanks(r);
	s->at = r->at;
	if (!taken(r))
		return false;
	s->len = (size_t)(r->at - s->at);
	return true;
}

int sq_json_next(struct sq_json_reader *r, struct sq_json_span *key, struct sq_json_span *value)
{
	bool first = !r->begun;

	if (first && !take_next(r, '{'))
		return -1;
	r->begun = true;
	if (take_next(r, '}')) {
		skip_blanks(r);
		return r->at == r->end ? 0 : -1;
	}
	if ((!first && !take(r, ',')) || !spanned(r, key, take_string) || !take_next(r, ':') ||
	    !spanned(r, value, take_value))
		return -1;
	return 1;
}
