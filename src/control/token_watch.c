/* control/token_watch.c - see token_watch.h. */
#include "control/token_watch.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "control/jsonrpc.h"
#include "tls/token.h"

#define TOKENS_MAX 32 /* as many as the configuration may have */

/* As it was when it was looked at last. */
static struct {
    char name[TOKEN_NAME_BYTES];
    enum token_state state;
} seen[TOKENS_MAX];

int token_watch_conf(const struct conf *conf, struct err *err)
{
    struct token_conf *confs = calloc(conf->token_count + 1, sizeof(*confs));
    int rc;

    if (confs == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    for (size_t i = 0; i < conf->token_count; i++) {
        const struct conf_token *t = &conf->tokens[i];

        confs[i] = (struct token_conf){.name = t->name,
                                       .module = t->module,
                                       .label = t->label,
                                       .serial = t->serial,
                                       .pin_file = t->pin_file,
                                       .timeout_ms = t->timeout_ms};
    }
    rc = tokens_configure(confs, conf->token_count, err);
    free(confs);
    return rc;
}

static void say(const struct token_status *st)
{
    if (st->state == TOKEN_READY)
        log_event(LOG_CERT, LOG_NOTICE_, "token-ready", "token=%s label=%s serial=%s model=%s",
                  st->name, LOG_Q(st->label), LOG_Q(st->serial), LOG_Q(st->model));
    else if (st->state != TOKEN_UNTRIED)
        log_event(LOG_CERT, LOG_ERROR_, "token-trouble", "token=%s state=%s msg=%s", st->name,
                  token_state_name(st->state), LOG_Q(st->text));
}

void token_watch_poll(void)
{
    struct token_status st;

    for (size_t i = 0; i < TOKENS_MAX && tokens_status(i, &st); i++) {
        bool same = strcmp(seen[i].name, st.name) == 0;

        if (same && seen[i].state == st.state)
            continue;
        memcpy(seen[i].name, st.name, sizeof(seen[i].name));
        seen[i].state = st.state;
        say(&st);
    }
}

struct json_t *token_watch_show(void)
{
    json_t *all = json_array();
    struct token_status st;

    for (size_t i = 0; i < TOKENS_MAX && tokens_status(i, &st); i++)
        json_array_append_new(
            all, json_pack("{s:s, s:s, s:o, s:o, s:o, s:o, s:I, s:I, s:I, s:I}", "name", st.name,
                           "state", token_state_name(st.state), "label", rpc_text(st.label),
                           "serial", rpc_text(st.serial), "model", rpc_text(st.model), "message",
                           rpc_text(st.text), "operations", (json_int_t)st.operations, "failures",
                           (json_int_t)st.failures, "us_sum", (json_int_t)st.us_sum, "us_max",
                           (json_int_t)st.us_max));
    return all;
}
