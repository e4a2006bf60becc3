/* SPDX-License-Identifier: Apache-2.0 */
/* Just enough JSON to find a value in a document: no tree is built, values are text positions. */
#ifndef JSON_H
#define JSON_H

#include <stddef.h>

/* The value of a key of the object at text; NULL when it is no object or has no such key. */
const char *json_member(const char *text, const char *key);
/* The first element of the array at text, or the one after an element; NULL at the end. */
const char *json_first(const char *text);
const char *json_next(const char *element);
/* Decode the string at text; -1 when it is no string or does not fit. */
int json_string(const char *text, char *out, size_t size);
/* Where the value at text ends; NULL when the document is broken. */
const char *json_skip(const char *text);

#endif
