#include "cli/crl.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/durable.h"
#include "base/str.h"
#include "control/rpc.h"

#define FILE_MAX ((size_t)64 * 1024 * 1024)
#define TEXT_MAX ((size_t)RPC_LINE_MAX * 3 / 4) /* the rest is for line ends as JSON has them */

static int base64(const struct buf *from, struct buf *to)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    for (size_t i = 0; i < from->len; i += 3) {
        size_t n = from->len - i < 3 ? from->len - i : 3;
        uint32_t v = (uint32_t)from->p[i] << 16 | (n > 1 ? (uint32_t)from->p[i + 1] << 8 : 0) |
                     (n > 2 ? from->p[i + 2] : 0);
        char four[4] = {digits[v >> 18], digits[v >> 12 & 63], '=', '='};

        if (n > 1)
            four[2] = digits[v >> 6 & 63];
        if (n > 2)
            four[3] = digits[v & 63];
        if (buf_append(to, four, sizeof(four)) != 0)
            return -ERR_NOMEM;
    }
    return 0;
}

static int set_path(const char *path, json_t *params, struct err *err)
{
    char *whole = realpath(path, NULL);
    int rc = whole == NULL || json_object_set_new(params, "file", json_string(whole)) != 0
                 ? err_set(err, ERR_INVALID, "%s: has no path that can be sent", path)
                 : 0;

    free(whole);
    return rc;
}

static int set_text(const struct buf *text, json_t *params)
{
    return json_object_set_new(params, "crl", json_stringn((const char *)text->p, text->len)) == 0
               ? 0
               : -ERR_INVALID;
}

int crl_params(const char *path, json_t *params, struct err *err)
{
    struct buf read = {0}, text = {0};
    int rc = durable_read(path, FILE_MAX, &read, err);

    if (rc != 0)
        return err_set(err, ERR_INVALID, "%s", err->msg);
    if (read.len == 0)
        rc = err_set(err, ERR_INVALID, "%s: is empty", path);
    else if (read.len > TEXT_MAX)
        rc = set_path(path, params, err);
    else if (str_is_utf8(read.p, read.len))
        rc = set_text(&read, params);
    else if (base64(&read, &text) != 0)
        rc = err_set(err, ERR_NOMEM, "out of memory");
    else
        rc = text.len > TEXT_MAX ? set_path(path, params, err) : set_text(&text, params);
    buf_fini(&read);
    buf_fini(&text);
    return rc;
}
