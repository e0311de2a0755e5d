/* base/names.h - the names of a certificate as people write them: subjects as RFC 4514 has them,
 * alternative names as OpenSSL's tools do.  Pure, any thread. */
#ifndef BASE_NAMES_H
#define BASE_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define DN_PARTS_MAX  32
#define DN_OID_MAX    32
#define NAME_TEXT_MAX 1000 /* bytes of a subject, or of one alternative name */

/* How a value is encoded. */
enum dn_string {
    DN_UTF8,      /* UTF8String */
    DN_PRINTABLE, /* PrintableString */
    DN_IA5,       /* IA5String */
    DN_RAW,       /* it is the whole element already ("#0403...") */
};

/* One attribute and its value. */
struct dn_part {
    uint8_t oid[DN_OID_MAX]; /* contents octets */
    size_t oid_len;
    enum dn_string string;
    bool joined; /* of the same RDN as the part before it ("CN=a+UID=b") */
    char *value; /* owned; may hold NULs when raw */
    size_t n;
};

/* In the order of the text, which is the reverse of that in the certificate. */
struct dn {
    struct dn_part parts[DN_PARTS_MAX];
    size_t count; /* 0: the empty name */
};

/* Parse "CN=press-12,OU=Line 3,O=Plant".  Blanks around '=' and ',' that are not escaped count for
 * nothing.  Values are bounded as RFC 5280, appendix A, has it.  Returns 0, -ERR_SYNTAX,
 * -ERR_TOO_BIG, -ERR_INVALID or -ERR_NOMEM; err names the attribute and what is allowed; `out` is
 * written on success only. */
int dn_parse(const char *text, struct dn *out, struct err *err);
void dn_fini(struct dn *dn);

enum san_kind { SAN_DNS, SAN_URI, SAN_EMAIL, SAN_IP };

struct san {
    enum san_kind kind;
    char text[NAME_TEXT_MAX + 1]; /* what stands behind the kind: ASCII */
    uint8_t ip[16];               /* SAN_IP: network order */
    size_t ip_len;                /* 4 or 16 */
};

/* Parse "DNS:press-12.sensors.example.com", "URI:urn:x", "email:a@b", "IP:192.0.2.7".  Returns 0,
 * -ERR_SYNTAX or -ERR_TOO_BIG, as above. */
int san_parse(const char *text, struct san *out, struct err *err);

#endif
