#include "conf/template.h"

#include <stdio.h>
#include <string.h>

static const char *const names[TEMPLATE_FIELDS] = {
    [TEMPLATE_CLIENT_ID] = "{client_id}",
    [TEMPLATE_DEVICE] = "{device}",
    [TEMPLATE_CN] = "{cn}",
    [TEMPLATE_SAN] = "{san}",
    [TEMPLATE_USERNAME] = "{username}",
    [TEMPLATE_PASSWORD] = "{password}",
    [TEMPLATE_GATEWAY] = "{gateway}",
};

const char *template_field_name(enum template_field field)
{
    return (unsigned)field < TEMPLATE_FIELDS ? names[field] : "";
}

int template_next(const char **at, struct template_piece *out)
{
    const char *p = *at;

    if (*p == '\0')
        return 0;
    if (*p != '{') {
        size_t n = strcspn(p, "{");

        *out = (struct template_piece){TEMPLATE_TEXT, {(const uint8_t *)p, n}};
        *at = p + n;
        return 1;
    }
    if (p[1] == '{') {
        *out = (struct template_piece){TEMPLATE_TEXT, {(const uint8_t *)p, 1}};
        *at = p + 2;
        return 1;
    }
    for (unsigned i = 0; i < TEMPLATE_FIELDS; i++) {
        size_t n = strlen(names[i]);

        if (strncmp(p, names[i], n) == 0) {
            *out = (struct template_piece){(enum template_field)i, {NULL, 0}};
            *at = p + n;
            return 1;
        }
    }
    return -ERR_INVALID;
}

/* "{client_id} {cn}" of the bits. */
static const char *list(unsigned allowed, char *out, size_t n)
{
    size_t len = 0;

    out[0] = '\0';
    for (unsigned i = 0; i < TEMPLATE_FIELDS; i++) {
        if ((allowed & TEMPLATE_BIT(i)) != 0 && len < n)
            len += (size_t)snprintf(out + len, n - len, "%s%s", len == 0 ? "" : " ", names[i]);
    }
    return out;
}

int template_check(const char *template, unsigned allowed, struct err *err)
{
    struct template_piece piece;
    const char *at = template;
    char known[128];
    int rc;

    while ((rc = template_next(&at, &piece)) > 0) {
        if (piece.field != TEMPLATE_TEXT && (allowed & TEMPLATE_BIT(piece.field)) == 0)
            return err_set(err, ERR_INVALID, "placeholder %s has no meaning here: allowed are %s",
                           names[piece.field], list(allowed, known, sizeof(known)));
    }
    if (rc < 0) {
        const char *end = strchr(at, '}');

        if (end == NULL || end - at > 40)
            return err_set(err, ERR_INVALID, "a '{' without its '}': write \"{{\" for a brace");
        return err_set(err, ERR_INVALID,
                       "unknown placeholder %.*s: allowed are %s, \"{{\" is a brace",
                       (int)(end - at + 1), at, list(allowed, known, sizeof(known)));
    }
    return 0;
}

unsigned template_fields(const char *template)
{
    struct template_piece piece;
    unsigned fields = 0;

    while (template_next(&template, &piece) > 0) {
        if (piece.field != TEMPLATE_TEXT)
            fields |= TEMPLATE_BIT(piece.field);
    }
    return fields;
}

int template_fill(const char *template, const char *device, const char *gateway, struct buf *out)
{
    struct template_piece piece;
    int rc;

    while ((rc = template_next(&template, &piece)) > 0) {
        struct slice text = piece.text;

        if (piece.field == TEMPLATE_DEVICE)
            text = slice_of(device);
        else if (piece.field == TEMPLATE_GATEWAY)
            text = slice_of(gateway);
        else if (piece.field != TEMPLATE_TEXT)
            return -ERR_INVALID;
        if (text.n > 0 && buf_append(out, text.p, text.n) != 0)
            return -ERR_NOMEM;
    }
    return rc;
}
