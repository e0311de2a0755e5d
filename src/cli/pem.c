#include "cli/pem.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/durable.h"
#include "base/str.h"
#include "cli/table.h"

#define FILE_MAX  ((size_t)256 * 1024) /* bytes; the daemon takes no more */
#define FILE_MODE 0644                 /* what is written is no secret */

static bool is_folder(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

int pem_check(const struct words_line *line, struct err *err)
{
    bool several = line->arg_count > 1 || (line->arg_count == 1 && str_has_glob(line->args[0]));

    if (line->out == NULL || !several || is_folder(line->out))
        return 0;
    return err_set(err, ERR_INVALID, "--out %s: is no folder, and there may be several devices",
                   line->out);
}

static int read_input(struct buf *text, struct err *err)
{
    size_t got;

    do {
        if (buf_reserve(text, 65536) != 0)
            return err_set(err, ERR_NOMEM, "out of memory");
        got = fread(text->p + text->len, 1, text->cap - text->len, stdin);
        text->len += got;
    } while (got > 0 && text->len <= FILE_MAX);
    if (text->len > FILE_MAX)
        return err_set(err, ERR_TOO_BIG,
                       "standard input: more than %zu bytes: is it the right file?", FILE_MAX);
    return 0;
}

int pem_read(const char *path, struct json_t *params, const char *name, struct err *err)
{
    struct buf text = {0};
    int rc =
        strcmp(path, "-") == 0 ? read_input(&text, err) : durable_read(path, FILE_MAX, &text, err);

    if (rc == 0 && memmem(text.p, text.len, "PRIVATE KEY-----", 16) != NULL)
        rc = err_set(err, ERR_INVALID,
                     "%s: holds a private key: the daemon has its own, and this one is not sent",
                     path);
    if (rc == 0 && (text.len == 0 || !str_is_utf8(text.p, text.len)))
        rc =
            err_set(err, ERR_INVALID, "%s: is no PEM: convert it (openssl x509 -inform DER)", path);
    if (rc == 0)
        (void)json_object_set_new(params, name, json_stringn((const char *)text.p, text.len));
    buf_fini_wipe(&text);
    if (rc != 0 && rc != -ERR_NOMEM) /* nobody was asked anything: the words make no sense */
        err->code = ERR_INVALID;
    return rc == 0 ? 0 : -ERR_INVALID;
}

static int write_one(const struct cli *cli, const char *device, const char *ending, const char *pem,
                     struct err *err)
{
    const char *out = cli->line->out;
    char *path;
    int rc;

    if (out == NULL) {
        fputs(pem, cli->out.to);
        return 0;
    }
    path = is_folder(out) ? str_printf("%s/%s.%s", out, device, ending) : strdup(out);
    if (path == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    rc = durable_write(path, pem, strlen(pem), FILE_MODE, err);
    if (rc == 0) {
        table_text(cli->out.to, false, TABLE_PLAIN, path);
        fputc('\n', cli->out.to);
    }
    free(path);
    return rc;
}

/* The rows of an OUTCOME: requests of those that have one, a line for each of the others. */
static int write_requests(const struct cli *cli, const json_t *rows, struct err *err)
{
    json_t *row, *refused = json_array();
    size_t i;
    int rc = 0;

    json_array_foreach(rows, i, row)
    {
        const char *csr = json_string_value(json_object_get(row, "csr"));
        const char *device = json_string_value(json_object_get(row, "device"));

        if (csr == NULL)
            (void)json_array_append(refused, row);
        else if (rc == 0 && device != NULL && str_is_name(device))
            rc = write_one(cli, device, "csr", csr, err);
    }
    if (json_array_size(refused) != 0) {
        fflush(cli->out.to);
        show_outcome(&cli->err, refused);
    }
    json_decref(refused);
    return rc;
}

int pem_write(const struct cli *cli, const struct json_t *answer, struct err *err)
{
    const char *pem;

    if (cli->line->command == WORDS_KEYGEN)
        return write_requests(cli, json_object_get(answer, "devices"), err);
    if (cli->line->command != WORDS_EXPORT)
        return 0;
    pem = json_string_value(json_object_get(answer, "pem"));
    return pem == NULL
               ? 0
               : write_one(cli, cli->line->args[0], cli->line->csr ? "csr" : "pem", pem, err);
}
