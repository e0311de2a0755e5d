/* mqtt_samples.c - the packets themselves.  No library of tests here: the seeds of the fuzzer are
 * made of them as well. */
#include "mqtt_samples.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* clang-format off */
const struct sample samples[] = {
    /* CONNECT */
    { IN_31,  MQTT_TO_SERVER, "10: <MQIsdp> 03 00 003c <press-12>" },
    { IN_31,  MQTT_TO_SERVER, "10: <MQIsdp> 03 c2 0000 <a-client-identifier-longer-than-23> <joe> <secret>" },
    { IN_31,  MQTT_TO_SERVER, "10: <MQIsdp> 83 36 ffff <bridge> <will/topic> <gone>" },
    { IN_311, MQTT_TO_SERVER, "10: <MQTT> 04 02 003c <>" },
    { IN_311, MQTT_TO_SERVER, "10: <MQTT> 04 00 003c <press-12>" },
    { IN_311, MQTT_TO_SERVER, "10: <MQTT> 84 ee 003c <press-12> <will/topic> <> <joe> 0003 00ff80" },
    { IN_311, MQTT_TO_SERVER, "10: <MQTT> 04 82 003c <press-12> <joe>" },
    { IN_5,   MQTT_TO_SERVER, "10: <MQTT> 05 02 003c {} <>" },
    { IN_5,   MQTT_TO_SERVER, "10: <MQTT> 05 00 003c {} <>" },
    { IN_5,   MQTT_TO_SERVER, "10: <MQTT> 05 42 003c {} <c> <password-alone>" },
    { IN_5,   MQTT_TO_SERVER, "10: <MQTT> 05 d6 001e {11 ffffffff 21 0014 27 00100000 22 000a 19 01 17 00"
                              " 26 <a> <1> 26 <a> <2> 15 <SCRAM> 16 <data>}"
                              " <c5> {18 0000003c 01 01 02 00000e10 03 <text/plain> 08 <reply/to> 09 0002 00ff 26 <k> <v>}"
                              " <will/topic> <gone> <joe> <secret>" },
    /* CONNACK */
    { IN_ALL & ~IN_5, MQTT_TO_CLIENT, "20: 00 00" },
    { IN_311, MQTT_TO_CLIENT, "20: 01 00" },
    { IN_3X,  MQTT_TO_CLIENT, "20: 00 05" },
    { IN_5,   MQTT_TO_CLIENT, "20: 00 00 {}" },
    { IN_5,   MQTT_TO_CLIENT, "20: 01 00 {11 00000000 21 0001 24 00 25 00 27 00000001 12 <auto-1> 22 ffff"
                              " 1f <welcome> 26 <n> <v> 28 01 29 01 2a 01 13 003c 1a <resp> 1c <other:1883> 15 <m> 16 <d>}" },
    { IN_5,   MQTT_TO_CLIENT, "20: 00 87 {1f <no>}" },
    { IN_5,   MQTT_TO_CLIENT, "20: 00 9d {1c <other:8883>}" },
    /* PUBLISH */
    { IN_ALL & ~IN_5, MQTT_TO_SERVER, "30: <t>" },
    { IN_3X,  MQTT_TO_CLIENT, "31: <sensor/temperature/1> '21.5'" },
    { IN_3X,  MQTT_TO_SERVER, "32: <a/b> 0001 'x'" },
    { IN_3X,  MQTT_TO_SERVER, "3b: <$SYS/\xc3\xa9> ffff 00" },
    { IN_3X,  MQTT_TO_CLIENT, "34: <\xe2\x82\xac/\xf0\x9f\x8c\xa1/and so on> 1234 'y'" },
    { IN_3X,  MQTT_TO_CLIENT, "3d: <q/2> 1234 'y'" },
    { IN_5,   MQTT_TO_SERVER, "30: <t> {}" },
    { IN_5,   MQTT_TO_SERVER, "32: <a/b> 0001 {} 'x'" },
    { IN_5,   MQTT_TO_SERVER, "35: <a/b> 0001 {01 00 02 0000003c 23 ffff 08 <r> 09 0000 26 <> <> 26 <> <> 03 <>} 'x'" },
    { IN_5,   MQTT_TO_SERVER, "30: <> {23 0001} 'by alias'" },
    { IN_5,   MQTT_TO_CLIENT, "3a: <a> 0102 {0b 01 0b ffffff7f 0b 01 01 01} 'z'" },
    /* PUBACK, PUBREC, PUBREL, PUBCOMP */
    { IN_ALL, MQTT_TO_SERVER, "40: 0001" },
    { IN_ALL, MQTT_TO_CLIENT, "50: ffff" },
    { IN_ALL, MQTT_TO_SERVER, "62: 0001" },
    { IN_ALL, MQTT_TO_CLIENT, "70: 0001" },
    { IN_5,   MQTT_TO_CLIENT, "40: 0001 10" },
    { IN_5,   MQTT_TO_CLIENT, "40: 0001 00 {1f <fine>}" },
    { IN_5,   MQTT_TO_CLIENT, "50: 0001 97 {26 <k> <v> 1f <full> 26 <k> <v>}" },
    { IN_5,   MQTT_TO_SERVER, "62: 0001 92 {1f <what?>}" },
    { IN_5,   MQTT_TO_SERVER, "70: 0001 92" },
    /* SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK */
    { IN_ALL & ~IN_5, MQTT_TO_SERVER, "82: 0001 <#> 00" },
    { IN_3X,  MQTT_TO_SERVER, "82: 0002 <a/+/b> 01 <$SYS/#> 02 <$share/odd> 00" },
    { IN_5,   MQTT_TO_SERVER, "82: 0001 {} <+> 00" },
    { IN_5,   MQTT_TO_SERVER, "82: ffff {0b 80 01 26 <k> <v>} <$share/g/a/#> 29 </> 2e <a> 15" },
    { IN_ALL & ~IN_5, MQTT_TO_CLIENT, "90: 0001 00 01 02 80" },
    { IN_5,   MQTT_TO_CLIENT, "90: 0001 {1f <so> 26 <k> <v>} 00 02 8f a2" },
    { IN_3X,  MQTT_TO_SERVER, "a2: 0001 <a/+/b> <#>" },
    { IN_5,   MQTT_TO_SERVER, "a2: 0001 {26 <k> <v>} <$share/g/#> <b>" },
    { IN_3X,  MQTT_TO_CLIENT, "b0: 0001" },
    { IN_5,   MQTT_TO_CLIENT, "b0: 0001 {1f <so>} 00 11 87" },
    /* PINGREQ, PINGRESP, DISCONNECT, AUTH */
    { IN_ALL, MQTT_TO_SERVER, "c0 00" },
    { IN_ALL, MQTT_TO_CLIENT, "d0 00" },
    { IN_ALL, MQTT_TO_SERVER, "e0 00" },
    { IN_5,   MQTT_TO_CLIENT, "e0 00" },
    { IN_5,   MQTT_TO_SERVER, "e0: 04" },
    { IN_5,   MQTT_TO_SERVER, "e0: 00 {11 00000000 1f <bye> 26 <k> <v>}" },
    { IN_5,   MQTT_TO_CLIENT, "e0: 8e" },
    { IN_5,   MQTT_TO_CLIENT, "e0: 9c {1c <other>}" },
    { IN_5,   MQTT_TO_CLIENT, "f0 00" },
    { IN_5,   MQTT_TO_CLIENT, "f0: 18 {15 <SCRAM> 16 <challenge> 1f <go on> 26 <k> <v>}" },
    { IN_5,   MQTT_TO_SERVER, "f0: 19 {15 <SCRAM>}" },
};

const struct sample odd_samples[] = {
    { IN_31,  MQTT_TO_SERVER, "10: <MQIsdp> 03 39 003c <c>" },               /* bits without meaning in 3.1 */
    { IN_31,  MQTT_TO_SERVER, "10: <MQIsdp> 03 c2 003c <c> <joe>" },         /* announced, yet missing */
    { IN_31,  MQTT_TO_SERVER, "10: <MQIsdp> 03 c2 003c <c>" },
    { IN_3X,  MQTT_TO_SERVER, "10 91 00 <MQTT> 04 02 003c <abcde>" },        /* overlong remaining length */
    { IN_31,  MQTT_TO_CLIENT, "20: ff 00" },                                 /* a reserved byte in 3.1 */
    { IN_5,   MQTT_TO_CLIENT, "20: 00 01" },                                 /* refused by a server of 3.x */
    { IN_31,  MQTT_TO_SERVER, "8a: 0001 <#> 00" },                           /* DUP, in 3.1 alone */
    { IN_31,  MQTT_TO_SERVER, "aa: 0001 <#>" },
    { IN_31,  MQTT_TO_SERVER, "6a: 0001" },
    { IN_3X,  MQTT_TO_SERVER, "40 82 00 0001" },
    { IN_3X,  MQTT_TO_SERVER, "30 84 80 80 00 <ab>" },
    { IN_5,   MQTT_TO_CLIENT, "40: 0001 00" },                               /* what may be left out is there */
    { IN_5,   MQTT_TO_CLIENT, "40: 0001 00 {}" },
    { IN_5,   MQTT_TO_CLIENT, "e0: 00" },
    { IN_5,   MQTT_TO_CLIENT, "e0: 8b {}" },
    { IN_5,   MQTT_TO_CLIENT, "f0: 00 {}" },
    { IN_5,   MQTT_TO_SERVER, "30: <a\x01\x7f\xef\xbb\xbf\xef\xbf\xbf> {}" },  /* should not, may: controls, BOM, U+FFFF */
};
/* clang-format on */

const size_t samples_count = sizeof samples / sizeof samples[0];
const size_t odd_samples_count = sizeof odd_samples / sizeof odd_samples[0];

static _Noreturn void broken(const char *text, const char *why)
{
    fprintf(stderr, "sample \"%s\": %s\n", text, why);
    abort();
}

static unsigned hex_digit(const char *text, char c)
{
    const char *digits = "0123456789abcdef";
    const char *at = c != '\0' ? strchr(digits, c) : NULL;

    if (at == NULL)
        broken(text, "not a hex digit");
    return (unsigned)(at - digits);
}

/* Put the length of out[from..n) before it, as a variable byte integer. */
static size_t insert_length(uint8_t *out, size_t from, size_t n)
{
    uint8_t enc[4];
    size_t k = 0;
    size_t len = n - from;

    do {
        enc[k++] = (uint8_t)((len & 0x7F) | (len > 0x7F ? 0x80 : 0));
        len >>= 7;
    } while (len != 0);
    memmove(out + from + k, out + from, n - from);
    memcpy(out + from, enc, k);
    return n + k;
}

size_t sample_bytes(const char *text, uint8_t *out)
{
    size_t n = 0;
    size_t body = 0;
    size_t list = 0;

    for (const char *s = text; *s != '\0'; s++) {
        const char *close;

        if (n > SAMPLE_MAX_BYTES / 2)
            broken(text, "too long");
        switch (*s) {
        case ' ':
            break;
        case ':':
            body = n;
            break;
        case '{':
            list = n;
            break;
        case '}':
            n = insert_length(out, list, n);
            break;
        case '<':
        case '\'':
            close = strchr(s + 1, *s == '<' ? '>' : '\'');
            if (close == NULL)
                broken(text, "never closed");
            if (*s == '<') {
                out[n++] = 0;
                out[n++] = (uint8_t)(close - s - 1);
            }
            memcpy(out + n, s + 1, (size_t)(close - s - 1));
            n += (size_t)(close - s - 1);
            s = close;
            break;
        default:
            out[n++] = (uint8_t)(hex_digit(text, s[0]) << 4 | hex_digit(text, s[1]));
            s++;
        }
    }
    return body != 0 ? insert_length(out, body, n) : n;
}

struct mqtt_packet sample_packet(const char *text)
{
    uint8_t bytes[SAMPLE_MAX_BYTES];
    size_t n = sample_bytes(text, bytes);
    uint8_t *copy = malloc(n);
    struct mqtt_packet pkt;
    uint32_t need;

    if (copy == NULL)
        broken(text, "out of memory");
    memcpy(copy, bytes, n);
    if (mqtt_packet_peek(copy, n, MQTT_LARGEST_PACKET, &pkt, &need) != 1 || pkt.raw_bytes != n)
        broken(text, "is not one packet");
    return pkt;
}

void sample_free(struct mqtt_packet *pkt)
{
    free((void *)(uintptr_t)pkt->raw);
    pkt->raw = pkt->body = NULL;
}
