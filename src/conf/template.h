/* conf/template.h - "{cn}-{gateway}": text with places to fill in.
 *
 * "{{" stands for a brace; a '}' by itself is a '}'.  Pure; nothing is copied, pieces borrow from
 * the template.
 */
#ifndef CONF_TEMPLATE_H
#define CONF_TEMPLATE_H

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

enum template_field {
    TEMPLATE_CLIENT_ID, /* of the CONNECT packet */
    TEMPLATE_DEVICE,    /* the device's name */
    TEMPLATE_CN,        /* common name of the verified client certificate */
    TEMPLATE_SAN,       /* its subject alternative name */
    TEMPLATE_USERNAME,
    TEMPLATE_PASSWORD,
    TEMPLATE_GATEWAY, /* the gateway's name */
    TEMPLATE_FIELDS,
    TEMPLATE_TEXT, /* no field: literal text */
};

#define TEMPLATE_BIT(field) (1u << (unsigned)(field))
#define TEMPLATE_ALL        (TEMPLATE_BIT(TEMPLATE_FIELDS) - 1u)

struct template_piece {
    enum template_field field;
    struct slice text; /* with TEMPLATE_TEXT, never empty */
};

/* Take the next piece from `*at`, and move it on.  Returns 1; 0 at the end; -ERR_INVALID for an
 * unknown or unclosed placeholder. */
int template_next(const char **at, struct template_piece *out);

/* Is it well-formed, with no other placeholders than those of `allowed` (TEMPLATE_BITs)?  Returns 0
 * or -ERR_INVALID; err names the culprit and what is allowed. */
int template_check(const char *template, unsigned allowed, struct err *err);

/* The TEMPLATE_BITs of the placeholders in a well-formed template. */
unsigned template_fields(const char *template);

/* Append the template with {device} and {gateway} filled in; it must have no others.  Returns 0,
 * -ERR_NOMEM, or -ERR_INVALID for another placeholder. */
int template_fill(const char *template, const char *device, const char *gateway, struct buf *out);

/* "{cn}" and so on: static. */
const char *template_field_name(enum template_field field);

#endif
