#include "fleet/gather.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/rand.h"

#define STEP_MS 200

/* -- what comes ------------------------------------------------------------------------------- */

static void on_down(void *arg, const char *why)
{
    struct gather *g = arg;

    (void)why;
    g->down = true;
    for (size_t i = 0; i < g->ask_count; i++)
        if (g->asks[i].reply == NULL)
            g->asks[i].sent = false;
}

static void on_message(void *arg, const char *topic, const void *payload, size_t n, bool retained)
{
    struct gather *g = arg;
    struct err err = {0};

    (void)retained;
    if (view_take(&g->view, g->campaign->root, topic, payload, n, clock_wall_s(), &err) < 0 &&
        g->bad++ == 0)
        snprintf(g->bad_one, sizeof(g->bad_one), "%s", err.msg);
}

/* The number behind the last '-' of an id of ours. */
static struct gather_ask *ask_of(struct gather *g, const char *id)
{
    const char *at = strrchr(id, '-');
    unsigned long i = at == NULL ? g->ask_count : strtoul(at + 1, NULL, 10);

    return i < g->ask_count && strcmp(g->asks[i].id, id) == 0 ? &g->asks[i] : NULL;
}

static void on_reply(void *arg, const char *gateway, const char *id, const char *reply, size_t n)
{
    struct gather *g = arg;
    struct gather_ask *ask = ask_of(g, id);
    json_t *value;

    if (ask == NULL || ask->reply != NULL || strcmp(ask->gateway, gateway) != 0)
        return;
    value = json_loadb(reply, n, JSON_REJECT_DUPLICATES, NULL);
    if (json_is_object(value)) {
        ask->reply = value;
        ask->came_ms = clock_wall_ms();
    } else {
        json_decref(value);
    }
}

static void on_denied(void *arg, const char *topic, const char *id, const char *why)
{
    struct gather *g = arg;
    struct gather_ask *ask = id == NULL ? NULL : ask_of(g, id);

    if (ask != NULL)
        snprintf(ask->refused, sizeof(ask->refused), "%s: %s", topic, why);
    else if (id == NULL && g->denied[0] == '\0')
        snprintf(g->denied, sizeof(g->denied), "%s: %s", topic, why);
}

/* -- life ------------------------------------------------------------------------------------- */

void gather_link_conf(const struct campaign *c, struct link_conf *out)
{
    *out = (struct link_conf){
        .root = c->root,
        .host = c->broker.host,
        .port = c->broker.port,
        .client_id = c->broker.client_id,
        .username = c->broker.username,
        .password = c->password,
        .ca_file = c->broker.ca_file,
        .cert_file = c->broker.cert_file,
        .key_file = c->broker.key_file,
        .tls_name = c->broker.tls_name,
        .keepalive_s = c->broker.keepalive_s,
        .operator_name = c->operator.name,
        .operator_key_file = c->operator.key_file,
        .expiry_s = c->operator.expiry_s,
    };
}

int gather_init(struct gather *g, const struct campaign *c, const volatile sig_atomic_t *stop,
                bool with_devices, struct err *err)
{
    const struct link_events events = {
        .down = on_down,
        .message = on_message,
        .reply = on_reply,
        .denied = on_denied,
        .arg = g,
    };
    struct link_conf conf;
    int rc;

    *g = (struct gather){.campaign = c, .stop = stop};
    if (view_init(&g->view) != 0)
        return err_set(err, ERR_NOMEM, "out of memory");
    gather_link_conf(c, &conf);
    g->link = link_new(&conf, &events, err);
    if (g->link == NULL)
        return -ERR_INVALID;
    rc = link_subscribe(g->link, "+/state", err);
    if (rc == 0 && with_devices)
        rc = link_subscribe(g->link, "+/device/+", err);
    return rc;
}

void gather_fini(struct gather *g)
{
    link_free(g->link);
    view_fini(&g->view);
    g->link = NULL;
}

/* -- waiting ---------------------------------------------------------------------------------- */

static int step(struct gather *g, struct err *err)
{
    int rc = link_step(g->link, STEP_MS, err);

    if (rc == 0 && *g->stop != 0)
        rc = err_set(err, ERR_BUSY, "interrupted");
    if (rc == 0 && g->denied[0] != '\0')
        rc = err_set(err, ERR_DENIED, "%s", g->denied);
    return rc;
}

int gather_wait(struct gather *g, struct err *err)
{
    while (!link_is_settled(g->link)) {
        int rc = step(g, err);

        if (rc != 0)
            return rc;
        if (g->down)
            return err_set(err, ERR_CLOSED, "%s", link_trouble(g->link));
    }
    return 0;
}

/* -- asking ----------------------------------------------------------------------------------- */

/* As many as the broker takes at the moment. */
static int send_some(struct gather *g, unsigned timeout_s, struct err *err)
{
    for (size_t i = 0; i < g->ask_count; i++) {
        struct gather_ask *a = &g->asks[i];
        struct err why = {0};
        int rc;

        if (a->sent)
            continue;
        rc = link_request(g->link, a->gateway, a->id, a->method, a->params, &why);
        if (rc == -ERR_BUSY)
            return 0;
        if (rc != 0)
            return err_set(err, (enum err_code) - rc, "%s", why.msg);
        a->sent = true;
        a->sent_ms = clock_wall_ms();
        a->due_ms = clock_boot_ms() + (int64_t)timeout_s * 1000;
    }
    return 0;
}

static bool is_over(const struct gather *g)
{
    int64_t now_ms = clock_boot_ms();

    for (size_t i = 0; i < g->ask_count; i++) {
        const struct gather_ask *a = &g->asks[i];

        if (a->reply == NULL && a->refused[0] == '\0' && (!a->sent || now_ms < a->due_ms))
            return false;
    }
    return true;
}

int gather_ask(struct gather *g, struct gather_ask *asks, size_t n, unsigned timeout_s,
               struct err *err)
{
    int64_t until_ms = clock_boot_ms() + (int64_t)timeout_s * 1000;
    unsigned long long nonce = (unsigned long long)rand_u64();
    int rc = 0;

    for (size_t i = 0; i < n; i++)
        snprintf(asks[i].id, sizeof(asks[i].id), "ask-%016llx-%zu", nonce, i);
    g->asks = asks;
    g->ask_count = n;
    while (rc == 0 && !is_over(g)) {
        if (link_is_up(g->link))
            until_ms = clock_boot_ms() + (int64_t)timeout_s * 1000;
        else if (clock_boot_ms() > until_ms)
            rc = err_set(err, ERR_CLOSED, "%s", link_trouble(g->link));
        if (rc == 0)
            rc = send_some(g, timeout_s, err);
        if (rc == 0)
            rc = step(g, err);
    }
    g->asks = NULL;
    g->ask_count = 0;
    return rc;
}

void gather_ask_fini(struct gather_ask *asks, size_t n)
{
    for (size_t i = 0; i < n; i++)
        json_decref(asks[i].reply);
}
