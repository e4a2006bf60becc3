/* SPDX-License-Identifier: Apache-2.0 */
#include "json.h"

#include <stdlib.h>
#include <string.h>

static const char *blank(const char *text)
{
	return text ? text + strspn(text, " \t\r\n") : NULL;
}

static const char *skip_string(const char *text)
{
	for (text++; *text && *text != '"'; text++)
		if (*text == '\\' && text[1])
			text++;
	return *text ? text + 1 : NULL;
}

/* Objects and arrays: members up to the closing character, without recursion into depth. */
static const char *skip_nested(const char *text)
{
	int depth = 0;

	while (*text) {
		if (*text == '"') {
			text = skip_string(text);
			if (!text)
				return NULL;
			continue;
		}
		if (*text == '{' || *text == '[')
			depth++;
		else if ((*text == '}' || *text == ']') && --depth == 0)
			return text + 1;
		text++;
	}
	return NULL;
}

const char *json_skip(const char *text)
{
	size_t length;

	text = blank(text);
	if (!text || !*text)
		return NULL;
	if (*text == '"')
		return skip_string(text);
	if (*text == '{' || *text == '[')
		return skip_nested(text);
	length = strcspn(text, ",]} \t\r\n");
	return length ? text + length : NULL;
}

const char *json_next(const char *element)
{
	const char *end = blank(json_skip(element));

	return end && *end == ',' ? blank(end + 1) : NULL;
}

const char *json_first(const char *text)
{
	text = blank(text);
	if (!text || *text != '[')
		return NULL;
	text = blank(text + 1);
	return *text == ']' ? NULL : text;
}

const char *json_member(const char *text, const char *key)
{
	char name[256];
	const char *value;

	text = blank(text);
	if (!text || *text != '{')
		return NULL;
	text = blank(text + 1);
	while (text && *text == '"') {
		int known = json_string(text, name, sizeof(name)) == 0;

		value = blank(skip_string(text));
		if (!value || *value != ':')
			return NULL;
		value = blank(value + 1);
		if (known && !strcmp(name, key))
			return value;
		text = json_next(value);
	}
	return NULL;
}

/* A code point of the basic plane in UTF-8; surrogate halves become '?': no path needs them. */
static size_t utf8(unsigned long code, char *out)
{
	if (code >= 0xd800 && code < 0xe000)
		code = '?';
	if (code < 0x80) {
		out[0] = (char)code;
		return 1;
	}
	if (code < 0x800) {
		out[0] = (char)(0xc0 | code >> 6);
		out[1] = (char)(0x80 | (code & 0x3f));
		return 2;
	}
	out[0] = (char)(0xe0 | code >> 12);
	out[1] = (char)(0x80 | (code >> 6 & 0x3f));
	out[2] = (char)(0x80 | (code & 0x3f));
	return 3;
}

int json_string(const char *text, char *out, size_t size)
{
	static const char from[] = "nrtbf", to[] = "\n\r\t\b\f";
	size_t used = 0;

	if (!text || *text != '"')
		return -1;
	for (text++; *text && *text != '"'; text++) {
		if (used + 4 > size)
			return -1;
		if (*text != '\\') {
			out[used++] = *text;
			continue;
		}
		text++;
		if (*text == 'u') {
			char digits[5] = "";

			strncpy(digits, text + 1, 4);
			if (strlen(digits) < 4)
				return -1;
			used += utf8(strtoul(digits, NULL, 16), out + used);
			text += 4;
		} else {
			const char *at = *text ? strchr(from, *text) : NULL;

			if (!*text)
				return -1;
			out[used++] = at ? to[at - from] : *text;
		}
	}
	if (*text != '"' || used >= size)
		return -1;
	out[used] = '\0';
	return 0;
}
