/* fleet/link_feed.c - subscriptions, and whether all that is retained has come: see link.h and
 * link_inside.h. */
#include <mqtt_protocol.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/map.h"
#include "base/str.h"
#include "fleet/link_inside.h"

#define MARKER_MS      1000 /* for our own message to come back, then another is sent */
#define SILENT_MS      2000 /* nothing retained for so long, where it does not come back at all */
#define ASKS_LEAST     4    /* gateways that are asked at once until it is known how much comes */
#define ASKS_MOST      64
#define ASKED_MESSAGES 600 /* that may come of those that are asked at once */

static char *topic_of(const struct link *l, const char *rest)
{
    return str_printf("%s/%s", l->conf.root, rest);
}

static int make_filter(const struct link *l, const char *rest, char **out, struct err *err)
{
    *out = topic_of(l, rest);
    if (*out == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    if (mosquitto_sub_topic_check(*out) == MOSQ_ERR_SUCCESS)
        return 0;
    err_set(err, ERR_INVALID, "%s: is no filter of topics", *out);
    free(*out);
    return -ERR_INVALID;
}

/* Several topics of each of all gateways. */
static bool is_paced(const char *rest)
{
    return strncmp(rest, "+/", 2) == 0 && strpbrk(rest + 2, "+#") != NULL;
}

int link_feed_add(struct link *l, const char *rest, bool own, struct err *err)
{
    struct filter *more = reallocarray(l->filters, l->filter_count + 1, sizeof(*more));
    char *topic;
    int rc = more == NULL ? err_set(err, ERR_NOMEM, "out of memory") : 0;

    if (more != NULL)
        l->filters = more;
    if (rc == 0)
        rc = make_filter(l, rest, &topic, err);
    if (rc != 0)
        return rc;
    l->filters[l->filter_count++] = (struct filter){
        .topic = topic, .qos = own ? 1 : 0, .own = own, .paced = !own && is_paced(rest)};
    return 0;
}

/* Something more is to come. */
static void unsettle(struct link *l)
{
    l->settled = l->marker_back = false;
    l->marker_ms = 0;
    l->marker_least = l->marker + 1;
}

void link_feed_subscribe(struct link *l)
{
    for (size_t i = 0; i < l->filter_count; i++) {
        struct filter *f = &l->filters[i];
        int options = l->v5 && f->paced ? MQTT_SUB_OPT_SEND_RETAIN_NEVER : 0;

        if (f->mid != 0 || (!f->own && l->phase != LINK_UP))
            continue;
        if (mosquitto_subscribe_v5(l->mosq, &f->mid, f->topic, f->qos, options, NULL) !=
            MOSQ_ERR_SUCCESS)
            l->failed = true;
    }
    unsettle(l);
}

void link_feed_granted(struct link *l, int mid, int n, const int *granted)
{
    for (size_t i = 0; i < l->filter_count; i++) {
        struct filter *f = &l->filters[i];

        if (f->mid != mid)
            continue;
        f->granted = true;
        if (n > 0 && granted[0] >= 0x80 && l->events.denied != NULL)
            l->events.denied(
                l->events.arg, f->topic, NULL,
                "the broker does not let us subscribe: allow this client to read below "
                "root");
    }
    if (mid == l->asks_mid) {
        l->asks_mid = 0;
        l->asks_granted = l->asks_sent;
    }
}

bool link_feed_is_ready(const struct link *l)
{
    for (size_t i = 0; i < l->filter_count; i++)
        if (l->filters[i].own && !l->filters[i].granted)
            return false;
    return true;
}

static bool all_granted(const struct link *l)
{
    for (size_t i = 0; i < l->filter_count; i++)
        if (!l->filters[i].granted)
            return false;
    return l->asks_mid == 0;
}

/* -- what each gateway retains ---------------------------------------------------------------- */

static void asks_drop(struct link *l)
{
    for (size_t i = 0; i < l->ask_count; i++)
        free(l->asks[i]);
    l->ask_count = l->asks_sent = l->asks_granted = 0;
    l->asks_mid = 0;
}

static int add_ask(struct link *l, const char *rest, struct err *err)
{
    size_t cap = l->ask_cap == 0 ? 64 : l->ask_cap * 2;
    char **more = l->asks, *topic;
    int rc;

    if (l->ask_count == l->ask_cap)
        more = reallocarray(l->asks, cap, sizeof(*more));
    if (more == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    if (more != l->asks)
        l->ask_cap = cap;
    l->asks = more;
    rc = make_filter(l, rest, &topic, err);
    if (rc == 0)
        l->asks[l->ask_count++] = topic;
    return rc;
}

void link_feed_gateway(struct link *l, const char *gateway)
{
    bool failed = false;

    if (l->asked == NULL)
        l->asked = map_new();
    if (l->asked == NULL || map_get(l->asked, gateway) != NULL)
        return;
    failed = map_put(l->asked, gateway, l) != 0;
    for (size_t i = 0; i < l->filter_count && !failed; i++) {
        const char *kind = l->filters[i].topic + strlen(l->conf.root) + 2; /* behind "/+" */
        char *rest = l->filters[i].paced ? str_printf("%s%s", gateway, kind) : NULL;

        failed = l->filters[i].paced && (rest == NULL || add_ask(l, rest, NULL) != 0);
        free(rest);
    }
    l->settled = l->settled && l->asks_sent == l->ask_count;
    l->failed = l->failed || failed;
}

/* So many at once that the broker's queue holds what comes of them. */
static void pace_asks(struct link *l)
{
    uint64_t came = l->retained - l->asked_from;
    size_t n = l->asks_granted == 0 ? 0 : l->asks_most, each;

    if (n == 0) {
        l->asks_most = ASKS_LEAST;
        return;
    }
    each = (size_t)(came / n) + 1;
    l->asks_most = ASKED_MESSAGES / each;
    if (l->asks_most < 1)
        l->asks_most = 1;
    if (l->asks_most > ASKS_MOST)
        l->asks_most = ASKS_MOST;
}

static void ask_next(struct link *l)
{
    size_t n = l->ask_count - l->asks_sent;

    pace_asks(l);
    if (n < l->asks_most)
        l->asks_most = n;
    l->asked_from = l->retained;
    if (mosquitto_subscribe_multiple(l->mosq, &l->asks_mid, (int)l->asks_most,
                                     l->asks + l->asks_sent, 0, 0, NULL) != MOSQ_ERR_SUCCESS)
        l->failed = true;
    l->asks_sent += l->asks_most;
    unsettle(l);
}

/* All has come: what is new comes by the wider filters. */
static void end_asks(struct link *l)
{
    for (size_t at = 0; at < l->asks_granted; at += ASKS_MOST) {
        size_t n = l->asks_granted - at < ASKS_MOST ? l->asks_granted - at : ASKS_MOST;

        if (mosquitto_unsubscribe_multiple(l->mosq, NULL, (int)n, l->asks + at, NULL) !=
            MOSQ_ERR_SUCCESS)
            l->failed = true;
    }
    asks_drop(l);
}

/* -- has everything that is retained come? ---------------------------------------------------- */

static void send_marker(struct link *l)
{
    char *rest = str_printf("%s/reply/%s", l->tag, l->tag), *topic;
    char number[24];

    topic = rest == NULL ? NULL : topic_of(l, rest);
    snprintf(number, sizeof(number), "%llu", (unsigned long long)++l->marker);
    if (topic != NULL) /* at QoS 0, as what is retained: nothing overtakes it */
        (void)mosquitto_publish_v5(l->mosq, NULL, topic, (int)strlen(number), number, 0, false,
                                   NULL);
    l->marker_ms = clock_boot_ms();
    free(topic);
    free(rest);
}

/* A marker may be dropped by a broker that is behind; it is sent again until one comes back, or
 * nothing comes any more. */
void link_feed_look(struct link *l)
{
    int64_t now_ms = clock_boot_ms(), quiet_ms;

    if (l->settled || l->failed || l->phase != LINK_UP || !all_granted(l))
        return;
    if (l->marker_ms == 0)
        l->retained_ms = now_ms;
    quiet_ms = now_ms - l->retained_ms;
    if (l->marker_back && l->asks_sent < l->ask_count) {
        ask_next(l);
    } else if (l->marker_back ? quiet_ms >= QUIET_MS : l->marker_ms != 0 && quiet_ms >= SILENT_MS) {
        if (l->asks_sent < l->ask_count) {
            ask_next(l);
            return;
        }
        l->settled = true;
        end_asks(l);
    } else if (!l->marker_back && (l->marker_ms == 0 || now_ms - l->marker_ms >= MARKER_MS)) {
        send_marker(l);
    }
}

void link_feed_marker(struct link *l, const struct mosquitto_message *m)
{
    char number[24];

    if (m->payloadlen <= 0 || (size_t)m->payloadlen >= sizeof(number))
        return;
    memcpy(number, m->payload, (size_t)m->payloadlen);
    number[m->payloadlen] = '\0';
    if (strtoull(number, NULL, 10) >= l->marker_least)
        l->marker_back = true;
}

int link_subscribe(struct link *l, const char *filter, struct err *err)
{
    int rc = link_feed_add(l, filter, false, err);

    if (rc == 0 && l->phase == LINK_UP)
        link_feed_subscribe(l);
    return rc;
}

int link_refresh(struct link *l, const char *filter, struct err *err)
{
    int rc;

    if (l->phase != LINK_UP)
        return err_set(err, ERR_BUSY, "the broker is not connected");
    rc = add_ask(l, filter, err);
    if (rc == 0 && l->settled)
        unsettle(l);
    return rc;
}

/* -- life ------------------------------------------------------------------------------------- */

void link_feed_reset(struct link *l)
{
    for (size_t i = 0; i < l->filter_count; i++) {
        l->filters[i].mid = 0;
        l->filters[i].granted = false;
    }
    asks_drop(l);
    map_free(l->asked);
    l->asked = NULL;
}

void link_feed_fini(struct link *l)
{
    link_feed_reset(l);
    for (size_t i = 0; i < l->filter_count; i++)
        free(l->filters[i].topic);
    free(l->filters);
    free(l->asks);
}
