/* SPDX-License-Identifier: Apache-2.0 */
/* Characters of UTF-8 and of Windows-1252. */
#ifndef RP_FAILURE_CHARACTER_H
#define RP_FAILURE_CHARACTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Read a character that has several bytes. Returns how many; 1: none begins here; 0: too few bytes
 * to tell, more may come unless `is_last`.
 */
size_t rp_utf8_read(const unsigned char *bytes, size_t length, bool is_last, uint32_t *character);

/* UTF-8 of a character, up to 4 bytes; a surrogate becomes U+FFFD. Returns how many. */
size_t rp_utf8_write(uint32_t character, char out[4]);

/* What a byte of the upper half of Windows-1252 means, 0 where it has nothing. */
uint32_t rp_windows_1252_read(unsigned char byte);

#endif
