/* fleet/sign.c - requests in, certificates out.  What the command does is in sign_run.c. */
#include "fleet/sign.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/durable.h"
#include "base/list.h"
#include "base/names.h"
#include "base/str.h"
#include "conf/template.h"
#include "fleet/sign_run.h"
#include "lint/files.h"
#include "lint/lint.h"
#include "tls/ca.h"
#include "tls/cert.h"
#include "tls/csr.h"
#include "tls/key.h"

#define SANS_MAX     16 /* as a gateway's identity.keygen has them */
#define CHAIN_MAX    10
#define SLICE_US     20000 /* of a step, for the built-in CA */
#define DAY_S        INT64_C(86400)
#define HOUR_S       INT64_C(3600)
#define MIN_RSA_BITS 2048

struct job {
    struct list link;
    char *gateway, *device; /* owned */
    struct csr csr;         /* owned */
    struct sign_run *run;   /* owned; NULL: in the queue */
    int64_t not_before_s, not_after_s;
};

struct signer {
    struct list queue, running; /* struct job */
    size_t count, run_count;
    unsigned days, backdate_h, timeout_s, parallel;
    char *command, *subject, *key; /* owned; key: NULL for any */
    char *sans[SANS_MAX];          /* owned */
    size_t san_count;
    struct ca *ca;                /* owned; NULL: the command */
    struct lint_anchors *anchors; /* owned; NULL: none are known */
};

/* -- making ------------------------------------------------------------------------------------ */

static int copy(char **out, const char *text, struct err *err)
{
    if (text == NULL)
        return 0;
    *out = strdup(text);
    return *out == NULL ? err_set(err, ERR_NOMEM, "out of memory") : 0;
}

static int take_terms(struct signer *s, const struct signer_conf *conf, struct err *err)
{
    enum key_kind kind;
    int rc;

    if (conf->key != NULL && key_kind_parse(conf->key, &kind) != 0)
        return err_set(err, ERR_INVALID,
                       "key = \"%s\": there are ec-p256, ec-p384, rsa-2048, rsa-3072, rsa-4096",
                       conf->key);
    if (conf->san_count > SANS_MAX)
        return err_set(err, ERR_TOO_BIG, "sans: at most %d", SANS_MAX);
    if ((rc = copy(&s->key, conf->key, err)) != 0 ||
        (rc = copy(&s->subject, conf->subject, err)) != 0)
        return rc;
    for (size_t i = 0; i < conf->san_count; i++, s->san_count++)
        if ((rc = copy(&s->sans[i], conf->sans[i], err)) != 0)
            return rc;
    return 0;
}

/* By a device of a name that is as good as any. */
static int try_terms(const struct signer *s, struct err *err);

static int take_way(struct signer *s, const struct signer_conf *conf, struct err *err)
{
    if (conf->command != NULL) {
        sign_run_sweep();
        return copy(&s->command, conf->command, err);
    }
    if (conf->ca_cert_file == NULL || conf->ca_key_file == NULL)
        return err_set(err, ERR_INVALID,
                       "who signs? name a command, or the files of a CA (ca_cert_file, "
                       "ca_key_file)");
    s->ca = ca_new(conf->ca_cert_file, conf->ca_key_file, clock_wall_s(), err);
    return s->ca != NULL ? 0 : -ERR_INVALID;
}

struct signer *signer_new(const struct signer_conf *conf, struct err *err)
{
    struct signer *s = calloc(1, sizeof(*s));
    const char *anchors = conf->anchor_file;
    int rc;

    if (s == NULL) {
        (void)err_set(err, ERR_NOMEM, "out of memory");
        return NULL;
    }
    if (anchors == NULL && conf->command == NULL)
        anchors = conf->ca_cert_file;
    list_init(&s->queue);
    list_init(&s->running);
    s->days = conf->days;
    s->backdate_h = conf->backdate_h;
    s->timeout_s = conf->timeout_s;
    s->parallel = conf->parallel == 0 ? 1 : conf->parallel;
    rc = take_terms(s, conf, err);
    if (rc == 0)
        rc = try_terms(s, err);
    if (rc == 0)
        rc = take_way(s, conf, err);
    if (rc == 0 && anchors != NULL) {
        s->anchors = lint_anchors_read(&anchors, 1, err);
        rc = s->anchors == NULL ? -ERR_INVALID : 0;
    }
    if (rc == 0)
        return s;
    signer_free(s);
    return NULL;
}

static void job_free(struct job *j)
{
    list_del(&j->link);
    sign_run_free(j->run);
    csr_fini(&j->csr);
    free(j->gateway);
    free(j->device);
    free(j);
}

void signer_free(struct signer *s)
{
    if (s == NULL)
        return;
    list_for_each_safe (it, &s->queue)
        job_free(list_entry(it, struct job, link));
    list_for_each_safe (it, &s->running)
        job_free(list_entry(it, struct job, link));
    ca_free(s->ca);
    lint_anchors_free(s->anchors);
    for (size_t i = 0; i < s->san_count; i++)
        free(s->sans[i]);
    free(s->command);
    free(s->subject);
    free(s->key);
    free(s);
}

/* -- checking the request ---------------------------------------------------------------------- */

/* What the request of this device must say. */
struct terms {
    struct dn subject;
    struct san sans[SANS_MAX];
    size_t san_count;
};

static int fill(const char *template, const char *gateway, const char *device, struct buf *out,
                struct err *err)
{
    int rc;

    out->len = 0;
    rc = template_check(template, TEMPLATE_BIT(TEMPLATE_DEVICE) | TEMPLATE_BIT(TEMPLATE_GATEWAY),
                        err);
    if (rc != 0)
        return rc;
    if (template_fill(template, device, gateway, out) != 0 || buf_append_u8(out, '\0') != 0)
        return err_set(err, ERR_NOMEM, "out of memory");
    return 0;
}

static int terms_of(const struct signer *s, const char *gateway, const char *device,
                    struct terms *out, struct err *err)
{
    struct buf text = {0};
    int rc;

    out->subject.count = 0;
    out->san_count = 0;
    rc = fill(s->subject == NULL ? "CN={device}" : s->subject, gateway, device, &text, err);
    if (rc == 0)
        rc = dn_parse((const char *)text.p, &out->subject, err);
    if (rc != 0)
        rc = err_wrap(err, rc, "subject");
    for (size_t i = 0; rc == 0 && i < s->san_count; i++) {
        rc = fill(s->sans[i], gateway, device, &text, err);
        if (rc == 0)
            rc = san_parse((const char *)text.p, &out->sans[i], err);
        if (rc == 0)
            out->san_count++;
        else
            rc = err_wrap(err, rc, "sans: %s", s->sans[i]);
    }
    buf_fini(&text);
    return rc;
}

static int try_terms(const struct signer *s, struct err *err)
{
    struct terms *t = calloc(1, sizeof(*t));
    int rc = t == NULL ? err_set(err, ERR_NOMEM, "out of memory")
                       : terms_of(s, "gateway-1", "device-1", t, err);

    if (t != NULL)
        dn_fini(&t->subject);
    free(t);
    return rc;
}

static int check_key(const struct signer *s, const struct csr *c, struct err *err)
{
    if (s->key != NULL && strcmp(s->key, c->key) != 0)
        return err_set(err, ERR_DENIED, "has a key of kind %s, and %s was asked for", c->key,
                       s->key);
    if (strcmp(c->key, "unknown") == 0)
        return err_set(err, ERR_DENIED, "has a key of a kind that is not known here");
    if (c->rsa_bits > 0 && c->rsa_bits < MIN_RSA_BITS)
        return err_set(err, ERR_DENIED, "has a key of kind %s: %d bits at least", c->key,
                       MIN_RSA_BITS);
    return 0;
}

/* `out` is written on success only. */
static int read_request(const struct signer *s, const char *gateway, const char *device,
                        const char *text, struct csr *out, struct err *err)
{
    struct terms *t = calloc(1, sizeof(*t));
    struct csr c = {0};
    int rc;

    if (t == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    if (!str_is_name(gateway) || !str_is_name(device))
        rc = err_set(err, ERR_DENIED, "\"%.40s\" or \"%.40s\" is no name", gateway, device);
    else
        rc = terms_of(s, gateway, device, t, err);
    if (rc == 0)
        rc = csr_read(text, strlen(text), &c, err);
    if (rc == 0)
        rc = check_key(s, &c, err);
    if (rc == 0) {
        const struct csr_terms must = {&t->subject, t->sans, t->san_count};

        rc = csr_check(&c, &must, err);
    }
    dn_fini(&t->subject);
    free(t);
    if (rc == 0) {
        *out = c;
        return 0;
    }
    csr_fini(&c);
    rc = err_wrap(err, rc, "the request of %s/%s", gateway, device);
    return rc == -ERR_NOMEM ? rc : -ERR_DENIED;
}

int signer_check(const struct signer *s, const char *gateway, const char *device, const char *csr,
                 struct err *err)
{
    struct csr c;
    int rc = read_request(s, gateway, device, csr, &c, err);

    if (rc == 0)
        csr_fini(&c);
    return rc;
}

int signer_put(struct signer *s, const char *gateway, const char *device, const char *csr,
               struct err *err)
{
    struct job *j = calloc(1, sizeof(*j));
    int rc;

    if (j == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    rc = read_request(s, gateway, device, csr, &j->csr, err);
    if (rc != 0) {
        free(j);
        return rc;
    }
    list_init(&j->link);
    if (copy(&j->gateway, gateway, err) != 0 || copy(&j->device, device, err) != 0) {
        job_free(j);
        return -ERR_NOMEM;
    }
    list_add(&s->queue, &j->link);
    s->count++;
    return 0;
}

/* -- checking the certificate -------------------------------------------------------------------
 */

struct chain {
    struct buf der[CHAIN_MAX];
    size_t count, leaf;
    const struct csr *csr;
    struct err why; /* of the first that is not the leaf */
    int leaf_rc;    /* as csr_check_cert; 1: err has a warning */
    bool found;
};

static int take_cert(void *arg, const uint8_t *der, size_t n, struct err *err)
{
    struct chain *c = arg;
    struct err why = {0};
    int rc;

    if (c->count == CHAIN_MAX)
        return err_set(err, ERR_TOO_BIG, "holds more than %d certificates", CHAIN_MAX);
    if (buf_append(&c->der[c->count], der, n) != 0)
        return err_set(err, ERR_NOMEM, "out of memory");
    rc = c->found ? -ERR_DENIED : csr_check_cert(c->csr, der, n, &why);
    if (rc >= 0) {
        c->found = true;
        c->leaf = c->count;
        c->leaf_rc = rc;
        c->why = why;
    } else if (!c->found && c->count == 0) {
        c->why = why;
    }
    c->count++;
    return 0;
}

static void chain_fini(struct chain *c)
{
    for (size_t i = 0; i < CHAIN_MAX; i++)
        buf_fini(&c->der[i]);
}

/* The worst that lint has to say.  Returns 0, 1 for a warning, or -ERR_DENIED. */
static int judge(const struct signer *s, const struct chain *c, struct err *err)
{
    struct lint_policy policy = LINT_POLICY_DEFAULT;
    struct slice ders[CHAIN_MAX];
    struct lint_report report;
    const struct lint_finding *worst;
    int rc;
    const struct lint_input in = {
        .chain = ders,
        .chain_count = c->count,
        .purpose = LINT_CLIENT,
        .anchors = s->anchors,
        .policy = &policy,
        .now_s = clock_wall_s(),
    };

    policy.backdate_h = s->backdate_h;
    policy.name_match = LINT_NAME_OFF;
    ders[0] = (struct slice){c->der[c->leaf].p, c->der[c->leaf].len};
    for (size_t i = 0, at = 1; i < c->count; i++)
        if (i != c->leaf)
            ders[at++] = (struct slice){c->der[i].p, c->der[i].len};
    if (lint_run(&in, &report) != 0)
        return err_set(err, ERR_NOMEM, "out of memory");
    worst = lint_worst(&report);
    rc = worst == NULL || worst->severity == LINT_INFO ? 0
         : worst->severity == LINT_ERROR               ? -ERR_DENIED
                                                       : 1;
    if (rc != 0)
        (void)err_set(err, ERR_DENIED, "%s [%s]: %s", worst->text, lint_kind(worst->code)->code,
                      lint_kind(worst->code)->remedy);
    lint_report_fini(&report);
    return rc;
}

/* The leaf first, whatever order they came in, and nothing but certificates. */
static int put_chain(const struct chain *c, struct buf *out)
{
    int rc = cert_pem(c->der[c->leaf].p, c->der[c->leaf].len, out);

    for (size_t i = 0; rc == 0 && i < c->count; i++)
        if (i != c->leaf)
            rc = cert_pem(c->der[i].p, c->der[i].len, out);
    return rc == 0 ? buf_append_u8(out, '\0') : rc;
}

/* Less than a whole day is not worth a word. */
static void warn_of_dates(const struct job *j, const struct cert_info *ci, struct err *why)
{
    char has[32];

    if (why->code == 0 && ci->not_after_s < j->not_after_s - DAY_S)
        (void)err_set(why, ERR_INVALID,
                      "it ends already on %s, %lld days were asked for: the CA "
                      "gives no more, or ends itself",
                      clock_text(ci->not_after_s, has, sizeof(has)),
                      (long long)((j->not_after_s - clock_wall_s() + HOUR_S) / DAY_S));
}

/* Is it what was to come of the request?  Returns 0, with a warning in `why` perhaps, or
 * -ERR_DENIED. */
static int check_answer(const struct signer *s, const struct job *j, const struct buf *pem,
                        struct buf *chain, struct signed_cert *out, struct err *why)
{
    struct chain c = {.csr = &j->csr};
    struct cert_info *ci = NULL;
    int rc = cert_pem_each((const char *)pem->p, pem->len, take_cert, &c, why);

    if (rc == 0)
        rc = err_set(why, ERR_DENIED, "it holds no certificate: PEM is expected on stdout");
    else if (rc > 0 && !c.found)
        rc = (*why = c.why, -ERR_DENIED);
    else if (rc > 0)
        rc = judge(s, &c, why);
    if (rc >= 0 && c.leaf_rc > 0)
        *why = c.why;
    if (rc >= 0 && (ci = cert_info_new(c.der[c.leaf].p, c.der[c.leaf].len, why)) == NULL)
        rc = -ERR_DENIED;
    if (rc >= 0 && put_chain(&c, chain) != 0)
        rc = err_set(why, ERR_NOMEM, "out of memory");
    if (rc >= 0) {
        str_hex(out->fp, ci->fp, sizeof(ci->fp));
        out->not_after_s = ci->not_after_s;
        out->chain = (const char *)chain->p;
        warn_of_dates(j, ci, why);
        rc = 0;
    } else {
        rc = err_wrap(why, -ERR_DENIED, "the certificate for %s/%s", j->gateway, j->device);
    }
    cert_info_free(ci);
    chain_fini(&c);
    return rc;
}

/* -- going on ---------------------------------------------------------------------------------- */

/* Takes the job.  `rc` is what became of it so far: 0 with PEM, or negative with why. */
static void finish(struct signer *s, struct job *j, int rc, const struct buf *pem, struct err *why,
                   void (*done)(void *arg, const struct signed_cert *c), void *arg)
{
    struct signed_cert out = {.gateway = j->gateway, .device = j->device};
    struct buf chain = {0};

    list_del(&j->link);
    s->count--;
    if (j->run != NULL)
        s->run_count--;
    if (rc == 0)
        rc = check_answer(s, j, pem, &chain, &out, why);
    out.rc = rc;
    if (rc != 0)
        out.chain = NULL;
    out.why = why->code != 0 ? why->msg : NULL;
    done(arg, &out);
    buf_fini(&chain);
    job_free(j);
}

static void set_dates(const struct signer *s, struct job *j)
{
    int64_t now_s = clock_wall_s();

    j->not_before_s = now_s - s->backdate_h * HOUR_S;
    j->not_after_s = now_s + s->days * DAY_S;
}

static void sign_here(struct signer *s, struct job *j,
                      void (*done)(void *arg, const struct signed_cert *c), void *arg)
{
    struct buf pem = {0};
    struct err why = {0};
    int rc;

    set_dates(s, j);
    rc = ca_sign(s->ca, &j->csr, j->not_before_s, j->not_after_s, &pem, &why);
    finish(s, j, rc, &pem, &why, done, arg);
    buf_fini(&pem);
}

/* Does not come back into the queue: what cannot be begun may work later. */
static void begin(struct signer *s, struct job *j,
                  void (*done)(void *arg, const struct signed_cert *c), void *arg)
{
    struct buf pem = {0};
    struct err why = {0};
    int rc;

    set_dates(s, j);
    rc = csr_pem(j->csr.der.p, j->csr.der.len, &pem) != 0
             ? err_set(&why, ERR_NOMEM, "out of memory")
             : 0;
    if (rc == 0) {
        const struct sign_order order = {
            .command = s->command,
            .gateway = j->gateway,
            .device = j->device,
            .csr = &pem,
            .not_before_s = j->not_before_s,
            .not_after_s = j->not_after_s,
            .timeout_s = s->timeout_s,
        };

        j->run = sign_run_new(&order, &why);
        rc = j->run == NULL ? -ERR_BUSY : 0;
    }
    list_del(&j->link);
    list_add(&s->running, &j->link);
    if (rc == 0)
        s->run_count++;
    else
        finish(s, j, -ERR_BUSY, &pem, &why, done, arg);
    buf_fini(&pem);
}

size_t signer_step(struct signer *s, void (*done)(void *arg, const struct signed_cert *c),
                   void *arg)
{
    int64_t until_us = clock_mono_us() + SLICE_US;

    list_for_each_safe (it, &s->running) {
        struct job *j = list_entry(it, struct job, link);
        struct buf pem = {0};
        struct err why = {0};
        int rc = sign_run_step(j->run, &pem, &why);

        if (rc <= 0)
            finish(s, j, rc, &pem, &why, done, arg);
        buf_fini(&pem);
    }
    list_for_each_safe (it, &s->queue) {
        struct job *j = list_entry(it, struct job, link);

        if (s->ca != NULL ? clock_mono_us() >= until_us : s->run_count >= s->parallel)
            break;
        if (s->ca != NULL)
            sign_here(s, j, done, arg);
        else
            begin(s, j, done, arg);
    }
    return s->count;
}
