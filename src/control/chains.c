/* control/chains.c - see chains.h. */
#include "control/chains.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"

#define CERTS_MAX  16
#define DAY_S      INT64_C(86400)
#define SAY_S      INT64_C(3600)
#define SAYS_A_DAY 24

/* Of two certificates of a chain, the one that a sensor stumbles over first. */
static bool is_worse(const struct cert_info *a, const struct cert_info *b, int64_t now_s)
{
    bool a_early = a->not_before_s > now_s, b_early = b->not_before_s > now_s;

    return a_early != b_early ? a_early
           : a_early          ? a->not_before_s > b->not_before_s
                              : a->not_after_s < b->not_after_s;
}

/* Returns owned; NULL when it cannot be read. */
static struct cert_info *worst_of(const struct cred *cred, int64_t now_s)
{
    struct slice der[CERTS_MAX];
    size_t n = cred_chain(cred, der, CERTS_MAX);
    struct cert_info *worst = NULL;

    for (size_t i = 0; i < n; i++) {
        struct cert_info *ci = cert_info_new(der[i].p, der[i].n, &(struct err){0});

        if (ci != NULL && (worst == NULL || is_worse(ci, worst, now_s))) {
            cert_info_free(worst);
            worst = ci;
        } else {
            cert_info_free(ci);
        }
    }
    return worst;
}

void chains_each(const struct wk_snapshot *s, int64_t now_s,
                 void (*each)(void *arg, const struct chains_one *c), void *arg)
{
    for (size_t i = 0; i < s->conf->listener_count; i++) {
        const struct conf_listener *l = &s->conf->listeners[i];
        const struct snapshot_source *source = &s->listener_source[i];

        for (size_t k = 0; k < source->cred_count && k < l->chain_count; k++) {
            struct cert_info *ci = worst_of(source->creds[k], now_s);
            struct chains_one one = {.listener = l->name, .file = l->chains[k].chain, .ci = ci};
            int64_t soon_s = s->conf->lint.expiring_days * DAY_S;

            if (ci == NULL)
                continue;
            if (soon_s > (ci->not_after_s - ci->not_before_s) / 3)
                soon_s = (ci->not_after_s - ci->not_before_s) / 3;
            one.early = ci->not_before_s > now_s;
            one.over = ci->not_after_s < now_s;
            one.soon = !one.early && !one.over && ci->not_after_s - now_s < soon_s;
            each(arg, &one);
            cert_info_free(ci);
        }
    }
}

struct worrying {
    void (*say)(void *arg, const struct chains_one *c, const char *msg, const char *todo);
    void *arg;
};

static void worry(void *arg, const struct chains_one *c)
{
    const struct worrying *w = arg;
    char msg[1400], when[32];

    if (!c->early && !c->over && !c->soon)
        return;
    snprintf(msg, sizeof(msg),
             "the certificate of listener %s, %.300s in %.600s, %s %s: sensors %s this gateway",
             c->listener, c->ci->subject, c->file,
             c->early  ? "is not valid before"
             : c->over ? "expired on"
                       : "expires on",
             clock_text(c->early ? c->ci->not_before_s : c->ci->not_after_s, when, sizeof(when)),
             c->soon ? "will refuse" : "refuse");
    w->say(w->arg, c, msg,
           c->early
               ? "check the clock; or put one there that is valid now, then: certflipctl reload"
               : "put its successor there, then: certflipctl reload");
}

void chains_worries(const struct wk_snapshot *s, int64_t now_s,
                    void (*say)(void *arg, const struct chains_one *c, const char *msg,
                                const char *todo),
                    void *arg)
{
    struct worrying w = {say, arg};

    chains_each(s, now_s, worry, &w);
}

struct saying {
    int64_t now_s;
    bool all; /* what is not urgent, too */
};

static void say_log(void *arg, const struct chains_one *c, const char *msg, const char *todo)
{
    const struct saying *saying = arg;

    if (c->soon && c->ci->not_after_s - saying->now_s > DAY_S && !saying->all)
        return;
    log_event(LOG_CERT, c->soon ? LOG_WARN_ : LOG_ERROR_, "certificate-ends",
              "listener=%s file=%s msg=%s todo=%s", c->listener, LOG_Q(c->file), LOG_Q(msg),
              LOG_Q(todo));
}

void chains_watch(const struct wk_snapshot *s, int64_t *said)
{
    int64_t hour = clock_boot_ms() / 1000 / SAY_S + 1;
    struct saying saying = {.now_s = clock_date_s()};

    if (*said == hour)
        return;
    saying.all = *said == 0 || *said / SAYS_A_DAY != hour / SAYS_A_DAY;
    *said = hour;
    chains_worries(s, saying.now_s, say_log, &saying);
}
