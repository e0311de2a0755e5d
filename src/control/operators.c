#include "control/operators.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/durable.h"
#include "base/log.h"
#include "control/hub.h"
#include "flip/clock.h"
#include "tls/jws.h"

#define KEY_FILE_MAX 65536
#define BURST        10    /* refusals that are written down at once */
#define EVERY_MS     60000 /* and one more in this time */

struct operators {
    struct conf *conf;               /* owned reference; names point into it */
    struct signed_operator *members; /* owned, their keys likewise */
    size_t count;
};

/* -- keys -- */

static int read_one(const struct conf_operator *from, struct signed_operator *to, struct err *err)
{
    struct buf pem = {0};
    int rc = durable_read(from->key, KEY_FILE_MAX, &pem, err);

    if (rc == 0) {
        to->name = from->name;
        for (size_t i = 0; i < from->role_count; i++)
            for (enum rpc_access a = RPC_OBSERVE; a <= RPC_TRUST; a++)
                if (strcmp(from->roles[i], rpc_access_name(a)) == 0)
                    to->roles |= 1U << a;
        to->key = jws_key_new((const char *)pem.p, pem.len, err);
        if (to->key == NULL)
            rc = err_wrap(err, -ERR_INVALID, "%s", from->key);
    }
    buf_fini_wipe(&pem); /* it may be a private one by mistake */
    return rc == 0 ? 0 : err_wrap(err, rc, "operators: %s", from->name);
}

struct operators *operators_new(struct conf *conf, struct err *err)
{
    struct operators *o = calloc(1, sizeof(*o));

    if (o != NULL)
        o->members = calloc(conf->operator_count + 1, sizeof(*o->members));
    if (o == NULL || o->members == NULL) {
        free(o);
        err_set(err, ERR_NOMEM, "operators: out of memory");
        return NULL;
    }
    o->conf = conf_ref(conf);
    for (; o->count < conf->operator_count; o->count++)
        if (read_one(&conf->operators[o->count], &o->members[o->count], err) != 0) {
            operators_free(o);
            return NULL;
        }
    return o;
}

void operators_free(struct operators *o)
{
    if (o == NULL)
        return;
    for (size_t i = 0; i < o->count; i++)
        jws_key_free(o->members[i].key);
    free(o->members);
    conf_unref(o->conf);
    free(o);
}

/* -- commands -- */

int operators_open(const struct operators *o, const struct hub *hub, const char *text, size_t n,
                   struct signed_command *out, struct rpc_fault *f)
{
    const struct conf_management *m = &o->conf->management;
    struct flip_clock clock;
    char why[160];
    struct signed_rules rules = {
        .operators = o->members,
        .operator_count = o->count,
        .gateway = o->conf->gateway,
        .tolerance_s = m->signed_tolerance_s,
        .max_expiry_s = m->signed_max_expiry_s,
    };

    hub_clock(hub, &clock);
    rules.now_s = clock.wall_s;
    if (flip_clock_refuses(flip_clock_judge(&clock), o->conf->clock_require_sync))
        rules.clock_fault = flip_clock_text(&clock, why, sizeof(why));
    return signed_open(&rules, text, n, out, f);
}

static enum conf_signed rule_of(const struct conf_management *m, enum rpc_access access)
{
    switch (access) {
    case RPC_OBSERVE:
        return m->signed_observe;
    case RPC_OPERATE:
        return m->signed_operate;
    case RPC_TRUST:
        break;
    }
    return m->signed_trust;
}

int operators_admit(const struct operators *o, const char *who, bool is_signed, unsigned roles,
                    enum rpc_method method, struct rpc_fault *f)
{
    enum rpc_access access = rpc_method_access(method);
    enum conf_signed rule = rule_of(&o->conf->management, access);

    if (!is_signed && rule == CONF_SIGNED_REQUIRED)
        return rpc_refuse(f, RPC_UNSIGNED, "sign it: certflipctl sign",
                          "%s has to be signed on this gateway (management.signed.%s)",
                          rpc_method_name(method), rpc_access_name(access));
    if (is_signed && rule == CONF_SIGNED_OFF)
        return rpc_refuse(f, RPC_NOT_AUTHORISED, "set management.signed, or send it unsigned",
                          "no signature is taken for %s on this gateway (management.signed.%s)",
                          rpc_method_name(method), rpc_access_name(access));
    if (is_signed && (roles & 1U << access) == 0)
        return rpc_refuse(f, RPC_NOT_AUTHORISED,
                          "have it signed by somebody who may, or give the role in operators",
                          "%s has not the role %s, which %s needs", who, rpc_access_name(access),
                          rpc_method_name(method));
    return 0;
}

/* -- the account -- */

static const enum rpc_code counted[OPERATORS_ERRORS] = {
    RPC_UNSIGNED,      RPC_SIGNATURE,      RPC_EXPIRED,   RPC_NOT_YET, RPC_EXPIRY_TOO_FAR,
    RPC_WRONG_GATEWAY, RPC_NOT_AUTHORISED, RPC_ID_REUSED, RPC_CLOCK,   RPC_INVALID_REQUEST,
};

static bool has_room(struct operators_account *a)
{
    int64_t now_ms = clock_boot_ms();

    if (!a->begun)
        a->room = BURST;
    else
        a->room += (double)(now_ms - a->room_ms) / EVERY_MS;
    a->begun = true;
    a->room_ms = now_ms;
    if (a->room > BURST)
        a->room = BURST;
    if (a->room < 1)
        return false;
    a->room -= 1;
    return true;
}

void operators_refused(struct operators_account *a, struct hub *hub, const char *who,
                       const char *method, const char *target, const struct rpc_fault *f)
{
    char outcome[900];

    for (size_t i = 0; i < OPERATORS_ERRORS; i++)
        if (counted[i] == f->code)
            a->refused[i]++;
    if (!has_room(a)) {
        a->unwritten++;
        return;
    }
    snprintf(outcome, sizeof(outcome), "refused: %s: %s", rpc_error_name(f->code), f->message);
    log_event(LOG_CENTRAL, LOG_WARN_, "command-refused",
              "by=%s method=%s target=%s cause=%s msg=%s todo=%s unwritten=%llu", LOG_Q(who),
              LOG_Q(method), LOG_Q(target), rpc_error_name(f->code), LOG_Q(f->message),
              LOG_Q(f->remedy), (unsigned long long)a->unwritten);
    a->unwritten = 0;
    hub_audit(hub, who, *method == '\0' ? "command" : method, target, outcome);
    hub_flush(hub, NULL);
}

/* Which classes of methods have to be signed, in the words of the configuration. */
static json_t *policy_json(const struct operators *o)
{
    static const char *const words[] = {[CONF_SIGNED_OFF] = "off",
                                        [CONF_SIGNED_OPTIONAL] = "optional",
                                        [CONF_SIGNED_REQUIRED] = "required"};
    const struct conf_management *m = &o->conf->management;

    return json_pack("{s:s, s:s, s:s}", "observe", words[m->signed_observe], "operate",
                     words[m->signed_operate], "trust", words[m->signed_trust]);
}

struct json_t *operators_json(const struct operators *o, const struct operators_account *a)
{
    json_t *refused = json_object();

    for (size_t i = 0; i < OPERATORS_ERRORS; i++)
        if (a->refused[i] != 0)
            json_object_set_new(refused, rpc_error_name(counted[i]),
                                json_integer((json_int_t)a->refused[i]));
    return json_pack("{s:I, s:o, s:I, s:o}", "operators", (json_int_t)o->count, "policy",
                     policy_json(o), "good", (json_int_t)a->good, "refused", refused);
}
