#include "cli/rekey.h"

#include <jansson.h>
#include <stdio.h>

#include "cli/devices.h"
#include "cli/table.h"
#include "control/rpc.h"

/* What all answers come to. */
struct sum {
    json_int_t done, refused;
    json_t *rows; /* owned */
};

static enum cli_status fail(const struct cli *cli, const char *why)
{
    fflush(cli->out.to);
    fputs("certflipctl: rekey: ", cli->err.to);
    table_text(cli->err.to, cli->err.colour, TABLE_BAD, why);
    fputc('\n', cli->err.to);
    return CLI_UNREACHABLE;
}

static void add(struct sum *s, const json_t *answer)
{
    /* Where all were refused the reply is an error, with the same rows in it. */
    const json_t *data = json_object_get(answer, "data");
    const json_t *rows =
        json_object_get(data == NULL ? answer : data, data == NULL ? "devices" : "results");
    json_t *row;
    size_t i;

    json_array_foreach(rows, i, row)
    {
        bool ok = json_is_true(json_object_get(row, "ok"));

        s->done += ok;
        s->refused += !ok;
        if (!ok || json_is_true(json_object_get(row, "changed")))
            (void)json_array_append(s->rows, row);
    }
}

static enum cli_status finish(const struct cli *cli, const struct sum *s)
{
    json_int_t changed = (json_int_t)json_array_size(s->rows) - s->refused;

    if (cli->line->json) {
        json_t *whole = json_pack("{s:I, s:I, s:I, s:O}", "done", s->done, "refused", s->refused,
                                  "changed", changed, "devices", s->rows);

        (void)json_dumpf(whole, cli->out.to, JSON_COMPACT);
        fputc('\n', cli->out.to);
        json_decref(whole);
    } else {
        show_outcome(&cli->out, s->rows);
        fprintf(cli->out.to,
                "%" JSON_INTEGER_FORMAT " devices' keys were written anew, %" JSON_INTEGER_FORMAT
                " were as they have to be, %" JSON_INTEGER_FORMAT " refused\n",
                changed, s->done - changed, s->refused);
    }
    return s->refused > 0 ? CLI_REFUSED : CLI_DONE;
}

enum cli_status rekey_run(const struct cli *cli)
{
    json_t *target = json_string(cli->line->arg_count == 0 ? "*" : cli->line->args[0]);
    struct sum sum = {.rows = json_array()};
    json_t *answer = NULL;
    const json_t *devices;
    struct err err = {0};
    enum cli_status status;
    int rc = devices_fetch(cli->client, target, &answer, &err);

    json_decref(target);
    if (rc > 0) {
        show_error(&cli->err, "rekey", answer);
        json_decref(answer);
        json_decref(sum.rows);
        return CLI_REFUSED;
    }
    devices = json_object_get(answer, "devices");
    for (size_t i = 0; rc >= 0 && i < json_array_size(devices); i += RPC_REKEY_MAX) {
        json_t *names = json_array(), *part = NULL;

        for (size_t k = i; k < i + RPC_REKEY_MAX && k < json_array_size(devices); k++)
            (void)json_array_append(names, json_object_get(json_array_get(devices, k), "device"));
        rc = client_call(cli->client, "keys.rekey", json_pack("{s:o}", "target", names), &part,
                         &err);
        if (rc >= 0)
            add(&sum, part);
        json_decref(part);
    }
    status = rc < 0 ? fail(cli, err.msg) : finish(cli, &sum);
    json_decref(answer);
    json_decref(sum.rows);
    return status;
}
