/* SPDX-License-Identifier: Apache-2.0 */
#include "failure/character.h"

size_t rp_utf8_read(const unsigned char *bytes, size_t length, bool is_last, uint32_t *character) {
    unsigned char first = bytes[0];
    size_t count = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4) return 1;
    *character = first & (0xffU >> (count + 1));
    for (size_t i = 1; i < count; i++) {
        if (i == length) return is_last ? 1 : 0;
        unsigned char least = first == 0xe0 && i == 1   ? 0xa0
                              : first == 0xf0 && i == 1 ? 0x90
                                                        : 0x80;
        unsigned char most = first == 0xed && i == 1 ? 0x9f : first == 0xf4 && i == 1 ? 0x8f : 0xbf;
        if (bytes[i] < least || bytes[i] > most) return 1;
        *character = *character << 6 | (bytes[i] & 0x3f);
    }
    return count;
}

size_t rp_utf8_write(uint32_t character, char out[4]) {
    if (character >= 0xd800 && character <= 0xdfff) character = 0xfffd;
    if (character < 0x80) {
        out[0] = (char)character;
        return 1;
    }
    if (character < 0x800) {
        out[0] = (char)(0xc0 | character >> 6);
        out[1] = (char)(0x80 | (character & 0x3f));
        return 2;
    }
    if (character < 0x10000) {
        out[0] = (char)(0xe0 | character >> 12);
        out[1] = (char)(0x80 | (character >> 6 & 0x3f));
        out[2] = (char)(0x80 | (character & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | character >> 18);
    out[1] = (char)(0x80 | (character >> 12 & 0x3f));
    out[2] = (char)(0x80 | (character >> 6 & 0x3f));
    out[3] = (char)(0x80 | (character & 0x3f));
    return 4;
}

uint32_t rp_windows_1252_read(unsigned char byte) {
    static const uint16_t table[32] = {
        0x20ac, 0,      0x201a, 0x0192, 0x201e, 0x2026, 0x2020, 0x2021, 0x02c6, 0x2030, 0x0160,
        0x2039, 0x0152, 0,      0x017d, 0,      0,      0x2018, 0x2019, 0x201c, 0x201d, 0x2022,
        0x2013, 0x2014, 0x02dc, 0x2122, 0x0161, 0x203a, 0x0153, 0,      0x017e, 0x0178};
    return byte < 0xa0 ? table[byte - 0x80] : byte;
}
