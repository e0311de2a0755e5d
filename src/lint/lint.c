/* lint/lint.c - see lint.h.  First what the leaf shows by itself, then each path that may be meant:
 * the one with the least against it is the one that is reported. */
#include "lint/lint.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/err.h"
#include "lint/path.h"
#include "tls/names.h"

#define DAY_S        INT64_C(86400)
#define FINDINGS_MAX 128

/* -- anchors -- */

struct anchor {
    uint8_t *der; /* owned */
    size_t n;
    struct cert_info *info; /* owned */
};

struct lint_anchors {
    struct anchor *all; /* owned */
    size_t count;
};

struct lint_anchors *lint_anchors_new(void)
{
    return calloc(1, sizeof(struct lint_anchors));
}

int lint_anchors_add(struct lint_anchors *a, const uint8_t *der, size_t n, struct err *err)
{
    struct anchor *more = realloc(a->all, (a->count + 1) * sizeof(*more));
    struct anchor *next;

    if (more == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    a->all = more;
    next = &more[a->count];
    *next = (struct anchor){.der = malloc(n), .n = n};
    if (next->der == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    memcpy(next->der, der, n);
    next->info = cert_info_new(der, n, err);
    if (next->info == NULL) {
        free(next->der);
        return -ERR_SYNTAX;
    }
    a->count++;
    return 0;
}

bool lint_anchors_equal(const struct lint_anchors *a, const struct lint_anchors *b)
{
    if (a == NULL || b == NULL || a->count != b->count)
        return a == b;
    for (size_t i = 0; i < a->count; i++)
        if (memcmp(a->all[i].info->fp, b->all[i].info->fp, CERT_FP_BYTES) != 0)
            return false;
    return true;
}

struct slice lint_anchors_at(const struct lint_anchors *a, size_t i)
{
    return (struct slice){a->all[i].der, a->all[i].n};
}

size_t lint_anchors_count(const struct lint_anchors *a)
{
    return a->count;
}

void lint_anchors_free(struct lint_anchors *a)
{
    if (a == NULL)
        return;
    for (size_t i = 0; i < a->count; i++) {
        cert_info_free(a->all[i].info);
        free(a->all[i].der);
    }
    free(a->all);
    free(a);
}

/* -- findings -- */

/* A list that may grow; `failed`: it could not. */
struct findings {
    struct lint_finding *all; /* owned */
    size_t count;
    bool failed;
};

static struct lint_finding *finding_new(struct findings *f)
{
    struct lint_finding *more;

    if (f->count == FINDINGS_MAX)
        return NULL;
    more = realloc(f->all, (f->count + 1) * sizeof(*more));
    if (more == NULL) {
        f->failed = true;
        return NULL;
    }
    f->all = more;
    return &more[f->count++];
}

/* Who is spoken of, then what is said. */
static void __attribute__((format(printf, 6, 7)))
find_as(struct findings *f, enum lint_code code, enum lint_severity severity, int depth,
        const struct cert_info *who, const char *fmt, ...)
{
    struct lint_finding *found = finding_new(f);
    va_list ap;
    int n;

    if (found == NULL)
        return;
    found->code = code;
    found->severity = severity;
    found->depth = depth;
    n = who == NULL
            ? 0
            : snprintf(found->text, sizeof(found->text), "%s%.160s: ", depth > 0 ? "issuer " : "",
                       *who->subject == '\0' ? "(no subject)" : who->subject);
    va_start(ap, fmt);
    vsnprintf(found->text + n, sizeof(found->text) - (size_t)n, fmt, ap);
    va_end(ap);
    str_tidy(found->text);
}

#define FIND(f, code, depth, who, ...) \
    find_as(f, code, lint_kind(code)->severity, depth, who, __VA_ARGS__)

static int graver_first(const void *a, const void *b)
{
    const struct lint_finding *x = a, *y = b;

    if (x->severity != y->severity)
        return x->severity > y->severity ? -1 : 1;
    if (x->depth != y->depth)
        return x->depth < y->depth ? -1 : 1;
    return x->code < y->code ? -1 : x->code > y->code;
}

/* -- one run -- */

struct run {
    const struct lint_input *in;
    struct path_cert *pool; /* owned; the chain, then the anchors */
    struct cert_info **own; /* owned: those of the chain */
    size_t pool_count, chain_count;
    struct findings leaf; /* what does not depend on the path */
    struct findings best; /* of the path that is reported */
    struct path best_path;
    bool has_best;
};

static const struct cert_info *leaf_of(const struct run *r)
{
    return r->pool[0].info;
}

/* -- dates -- */

static void check_dates(const struct lint_input *in, struct findings *f, int depth,
                        const struct cert_info *ci)
{
    const struct lint_policy *policy = in->policy;
    int64_t span = ci->not_after_s - ci->not_before_s;
    int64_t soon = (int64_t)policy->expiring_days * DAY_S;
    char date[32], now[32];

    clock_iso(in->now_s, now, sizeof(now));
    if (in->now_s < ci->not_before_s) {
        FIND(f, LINT_NOT_YET_VALID, depth, ci, "not valid before %s, the clock says %s",
             clock_iso(ci->not_before_s, date, sizeof(date)), now);
    } else if (in->now_s > ci->not_after_s) {
        FIND(f, LINT_EXPIRED, depth, ci, "expired on %s, the clock says %s",
             clock_iso(ci->not_after_s, date, sizeof(date)), now);
    } else {
        if (soon > span / 3)
            soon = span / 3; /* one that lives for a day need not be told for all of it */
        if (ci->not_after_s - in->now_s < soon)
            FIND(f, LINT_EXPIRING, depth, ci, "expires on %s, in %" PRId64 " days",
                 clock_iso(ci->not_after_s, date, sizeof(date)),
                 (ci->not_after_s - in->now_s) / DAY_S);
        if (depth == 0 && in->now_s - ci->not_before_s < (int64_t)policy->backdate_h * 3600 &&
            span > 4 * (int64_t)policy->backdate_h * 3600)
            FIND(f, LINT_NOT_BACKDATED, depth, ci,
                 "valid since %s, less than %u h: who has a clock that is behind refuses it",
                 clock_iso(ci->not_before_s, date, sizeof(date)), policy->backdate_h);
    }
    if (depth > 0)
        return;
    if (span < 0)
        FIND(f, LINT_VALIDITY, depth, ci, "it ends before it begins");
    else if (policy->max_validity_days != 0 && span > (int64_t)policy->max_validity_days * DAY_S)
        FIND(f, LINT_VALIDITY, depth, ci, "valid for %" PRId64 " days, %u are allowed",
             span / DAY_S, policy->max_validity_days);
}

/* -- keys and digests -- */

static bool is_ec(const struct cert_info *ci)
{
    return strncmp(ci->key_alg, "EC", 2) == 0;
}

static bool is_usual_key(const struct cert_info *ci)
{
    static const char *const usual[] = {"RSA",      "RSA-PSS",  "EC P-256",
                                        "EC P-384", "EC P-521", "Ed25519"};

    for (size_t i = 0; i < sizeof(usual) / sizeof(usual[0]); i++)
        if (strcmp(ci->key_alg, usual[i]) == 0)
            return true;
    return false;
}

static void check_key(const struct lint_input *in, struct findings *f, int depth,
                      const struct cert_info *ci)
{
    if (strncmp(ci->key_alg, "RSA", 3) == 0) {
        if (ci->key_bits < in->policy->min_rsa_bits)
            FIND(f, LINT_WEAK_KEY, depth, ci, "an RSA key of %u bits, %u are wanted", ci->key_bits,
                 in->policy->min_rsa_bits);
    } else if (is_ec(ci) && ci->key_bits != 0 && ci->key_bits < 256) {
        FIND(f, LINT_WEAK_KEY, depth, ci, "an %s key, 256 bits are wanted", ci->key_alg);
    } else if (!is_usual_key(ci)) {
        find_as(f, LINT_WEAK_KEY, ci->key_bits >= 256 ? LINT_WARNING : LINT_ERROR, depth, ci,
                "a key of a kind that few peers take (%s)", ci->key_alg);
    }
}

/* -- what it may be used for -- */

static bool eku_has(const struct cert_info *ci, enum lint_purpose purpose)
{
    return purpose == LINT_CLIENT ? ci->eku_client : ci->eku_server;
}

static const char *eku_name(enum lint_purpose purpose)
{
    return purpose == LINT_CLIENT ? "clientAuth" : "serverAuth";
}

/* An issuer's extended key usage bounds what it issues for, though no standard says so. */
static void check_eku(const struct lint_input *in, struct findings *f, int depth,
                      const struct cert_info *ci)
{
    if (!ci->has_eku)
        return;
    if (!eku_has(ci, in->purpose))
        FIND(f, LINT_PURPOSE, depth, ci, "its extended key usage does not hold %s",
             eku_name(in->purpose));
    else if (ci->eku_any)
        FIND(f, LINT_ANY_PURPOSE, depth, ci,
             "its extended key usage holds anyExtendedKeyUsage: peers that go by OpenSSL want %s",
             eku_name(in->purpose));
}

/* RFC 8446, 4.4.2.2 and 4.4.2.4: digitalSignature; a server of TLS 1.2 may do with key exchange. */
static void check_usage(const struct lint_input *in, struct findings *f, const struct cert_info *ci)
{
    unsigned enough = CERT_DIGITAL_SIGNATURE;

    if (in->purpose == LINT_SERVER)
        enough |= CERT_KEY_ENCIPHERMENT | CERT_KEY_AGREEMENT;
    if (ci->has_key_usage && (ci->key_usage & enough) == 0)
        FIND(f, LINT_KEY_USAGE, 0, ci, "its key usage does not hold digitalSignature");
}

/* RFC 5280, 6.1.4 k and n; an anchor of version 1 is the one that may do without. */
static void check_issuer(struct findings *f, int depth, const struct cert_info *ci)
{
    bool old_root = ci->version == 1 && ci->is_self_issued;
    bool says_sign = ci->has_key_usage && (ci->key_usage & CERT_KEY_CERT_SIGN) != 0;

    if (!ci->is_ca && (ci->is_no_ca || !old_root))
        FIND(f, LINT_NOT_A_CA, depth, ci,
             ci->is_no_ca ? "is no CA, its basicConstraints say: it cannot issue certificates"
                          : "has no basicConstraints that make it a CA");
    if (ci->has_key_usage && !says_sign)
        FIND(f, LINT_KEY_USAGE, depth, ci, "its key usage does not hold keyCertSign");
}

static void check_critical(struct findings *f, int depth, const struct cert_info *ci)
{
    if (ci->critical != NULL)
        FIND(f, LINT_CRITICAL, depth, ci, "a critical extension that peers do not know (%s)",
             ci->critical);
}

/* -- whom it names -- */

static bool is_label_of(const char *name, const char *dns)
{
    size_t n = strlen(name);

    return strncasecmp(dns, name, n) == 0 && (dns[n] == '\0' || dns[n] == '.');
}

static bool is_tail_of(const char *name, const char *uri)
{
    size_t n = strlen(name), all = strlen(uri);

    return all >= n && strcasecmp(uri + all - n, name) == 0 &&
           (all == n || strchr("/:#=", uri[all - n - 1]) != NULL);
}

static bool is_mailbox_of(const char *name, const char *mail)
{
    size_t n = strlen(name);

    return strncasecmp(mail, name, n) == 0 && (mail[n] == '\0' || mail[n] == '@');
}

static bool san_names_device(const struct cert_san *san, const char *name)
{
    switch (san->kind) {
    case CERT_SAN_DNS:
        return is_label_of(name, san->text) || strcasecmp(san->text, name) == 0;
    case CERT_SAN_URI:
        return is_tail_of(name, san->text);
    case CERT_SAN_EMAIL:
        return is_mailbox_of(name, san->text);
    case CERT_SAN_IP:
        return strcmp(san->text, name) == 0;
    }
    return false;
}

/* RFC 6125, 6.4: a '*' stands for the whole first label. */
static bool is_host_of(const char *pattern, const char *host)
{
    const char *rest = strchr(host, '.');

    if (pattern[0] == '*' && pattern[1] == '.' && strchr(pattern + 2, '.') != NULL)
        return rest != NULL && rest != host && strcasecmp(pattern + 1, rest) == 0;
    return strcasecmp(pattern, host) == 0;
}

static bool names_host(const struct cert_info *ci, const char *host)
{
    uint8_t address[16];
    bool is_ip = inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1;
    bool dns = false;

    for (size_t i = 0; i < ci->san_count; i++) {
        const struct cert_san *san = &ci->sans[i];

        dns |= san->kind == CERT_SAN_DNS;
        if (is_ip ? san->kind == CERT_SAN_IP && strcasecmp(san->text, host) == 0
                  : san->kind == CERT_SAN_DNS && is_host_of(san->text, host))
            return true;
    }
    return !is_ip && !dns && ci->cn != NULL && is_host_of(ci->cn, host);
}

static bool names_device(const struct cert_info *ci, const char *name)
{
    if (ci->cn != NULL && is_label_of(name, ci->cn))
        return true;
    for (size_t i = 0; i < ci->san_count; i++)
        if (san_names_device(&ci->sans[i], name))
            return true;
    return false;
}

static void check_name(const struct lint_input *in, struct findings *f, const struct cert_info *ci)
{
    enum lint_name_match match = in->policy->name_match;

    if (in->name == NULL || match == LINT_NAME_OFF)
        return;
    if (in->purpose == LINT_SERVER ? names_host(ci, in->name) : names_device(ci, in->name))
        return;
    find_as(f, LINT_NAME, match == LINT_NAME_ERROR ? LINT_ERROR : LINT_WARNING, 0, ci,
            "neither its subject nor its alternative names are those of %s", in->name);
}

/* -- the leaf by itself -- */

static void check_leaf(struct run *r)
{
    const struct lint_input *in = r->in;
    const struct cert_info *ci = leaf_of(r);
    struct findings *f = &r->leaf;
    enum verify pair = in->key.n == 0 ? VERIFY_GOOD : verify_key(in->chain[0], in->key);
    const char *who;

    if (pair == VERIFY_BAD)
        FIND(f, LINT_KEY_MISMATCH, 0, ci, "the private key is another one's");
    else if (pair == VERIFY_UNKNOWN)
        FIND(f, LINT_KEY_UNREADABLE, 0, ci,
             "the private key cannot be read, or is of a kind that "
             "is not known");
    check_name(in, f, ci);
    if (ci->is_ca && !ci->is_self_issued)
        FIND(f, LINT_CA_AS_LEAF, 0, ci, "it may issue certificates: it is a CA's own");
    if (in->key_user != NULL && (who = in->key_user(in->arg, ci)) != NULL)
        FIND(f, LINT_KEY_REUSED, 0, ci, "its private key is also that of %s", who);
    if (in->serial_user != NULL && (who = in->serial_user(in->arg, ci)) != NULL)
        FIND(f, LINT_SERIAL_REUSED, 0, ci, "its issuer has given its serial number %s also to %s",
             ci->serial_hex, who);
    if (in->clock == LINT_CLOCK_UNSYNCHRONISED)
        FIND(f, LINT_CLOCK, -1, NULL, "this machine's clock is not synchronised");
}

/* -- a path -- */

static const struct path_cert *on_path(const struct run *r, const struct path *p, size_t i)
{
    return &r->pool[p->at[i]];
}

/* RFC 5280, 6.1.4 l and m: self-issued certificates do not count. */
static void check_path_length(const struct run *r, const struct path *p, struct findings *f)
{
    int below = 0;

    for (size_t i = 1; i < p->n; i++) {
        const struct cert_info *ci = on_path(r, p, i)->info;

        if (ci->is_ca && ci->path_len >= 0 && below > ci->path_len)
            FIND(f, LINT_PATH_LENGTH, (int)i, ci,
                 "allows %d intermediates below itself, there are %d", ci->path_len, below);
        below += !ci->is_self_issued;
    }
}

static void check_names(const struct run *r, const struct path *p, struct findings *f)
{
    static const char *const how[] = {
        [NAMES_PERMITTED] = "",
        [NAMES_NOT_PERMITTED] = "may not issue for",
        [NAMES_EXCLUDED] = "is kept from issuing for",
        [NAMES_UNKNOWN] = "has constraints that cannot be judged for",
    };
    char which[256];

    for (size_t above = 1; above < p->n; above++) {
        const struct path_cert *ca = on_path(r, p, above);

        for (size_t i = 0; ca->info->has_name_constraints && i < above; i++) {
            const struct path_cert *c = on_path(r, p, i);
            enum names v = NAMES_PERMITTED;

            if (i == 0 || !c->info->is_self_issued)
                v = names_check(ca->der, c->der, i == 0, which, sizeof(which));
            if (v != NAMES_PERMITTED)
                FIND(f, LINT_NAME_CONSTRAINTS, (int)above, ca->info, "%s %s%s%s", how[v], which,
                     i > 0 ? " of " : "", i > 0 ? c->info->subject : "");
        }
    }
}

/* What one certificate of a path shows; an anchor is believed for its key, whoever signed it. */
static void check_link(const struct run *r, const struct path *p, size_t i, struct findings *f)
{
    const struct lint_input *in = r->in;
    const struct path_cert *c = on_path(r, p, i);
    const struct cert_info *ci = c->info;
    bool top = i + 1 == p->n && (c->anchor || p->end == PATH_ROOT);
    int depth = (int)i;

    check_dates(in, f, depth, ci);
    check_key(in, f, depth, ci);
    check_eku(in, f, depth, ci);
    check_critical(f, depth, ci);
    if (i > 0)
        check_issuer(f, depth, ci);
    else
        check_usage(in, f, ci);
    if (ci->weak_digest && !top)
        FIND(f, LINT_WEAK_DIGEST, depth, ci, "signed with %s", ci->sig_alg);
    if ((p->unchecked >> i & 1) != 0)
        FIND(f, LINT_SIGNATURE_UNKNOWN, depth, ci, "its signature (%s) cannot be checked here",
             ci->sig_alg);
    if ((p->misnamed >> i & 1) != 0)
        FIND(f, LINT_KEY_ID, depth, ci,
             "its authority key identifier is not that of %s, which has signed it",
             on_path(r, p, i + 1)->info->subject);
    if (!top && in->revoked != NULL && in->revoked(in->arg, ci, c->der))
        FIND(f, LINT_REVOKED, depth, ci, "revoked by %s", ci->issuer);
}

static void check_end(const struct run *r, const struct path *p, struct findings *f)
{
    const struct cert_info *last = on_path(r, p, p->n - 1)->info;
    bool judged = r->in->anchors != NULL;
    int depth = (int)p->n - 1;

    switch (p->end) {
    case PATH_ANCHORED:
        break;
    case PATH_ROOT:
        if (p->n == 1)
            find_as(f, LINT_SELF_SIGNED, judged ? LINT_ERROR : LINT_WARNING, depth, last,
                    "signed by its own key: only who has pinned it believes it");
        else if (judged)
            FIND(f, LINT_UNKNOWN_ANCHOR, depth, last,
                 "the root of the chain is none of the anchors");
        break;
    case PATH_OPEN:
        if (judged)
            FIND(f, LINT_INCOMPLETE, depth, last,
                 "its issuer %s is neither in the chain nor among the anchors", last->issuer);
        break;
    case PATH_FORGED:
        FIND(f, LINT_SIGNATURE_BAD, depth, last, "its signature is not that of %s", last->issuer);
        break;
    case PATH_DEEP:
        FIND(f, LINT_INCOMPLETE, depth, last, "more certificates than a chain can have");
        break;
    }
}

/* Errors count most, then whether an anchor was reached, then the rest. */
static long weight(const struct findings *f, const struct path *p)
{
    long sum = p->end == PATH_ANCHORED ? 0 : 500;

    for (size_t i = 0; i < f->count; i++)
        sum += f->all[i].severity == LINT_ERROR ? 1000 : f->all[i].severity == LINT_WARNING;
    return sum;
}

static bool has_error(const struct findings *f)
{
    for (size_t i = 0; i < f->count; i++)
        if (f->all[i].severity == LINT_ERROR)
            return true;
    return false;
}

/* Keep what is found on a path if that is the best one so far; go on unless nothing is against it.
 */
static bool judge(void *arg, const struct path *p)
{
    struct run *r = arg;
    struct findings f = {0};

    for (size_t i = 0; i < p->n; i++)
        check_link(r, p, i, &f);
    check_path_length(r, p, &f);
    check_names(r, p, &f);
    check_end(r, p, &f);
    if (!r->has_best || weight(&f, p) < weight(&r->best, &r->best_path)) {
        struct findings worse = r->best;

        r->best = f;
        r->best_path = *p;
        r->has_best = true;
        f = worse;
        f.failed |= r->best.failed;
    }
    r->best.failed |= f.failed;
    free(f.all);
    return has_error(&r->best) || (r->in->anchors != NULL && r->best_path.end != PATH_ANCHORED);
}

/* What stands in the file beside the path, or for nothing on it. */
static void check_rest(struct run *r)
{
    for (size_t i = 1; i < r->chain_count; i++) {
        const struct cert_info *ci = r->pool[i].info;
        int depth = -1;

        for (size_t k = 0; k < r->best_path.n; k++)
            if (memcmp(on_path(r, &r->best_path, k)->info->fp, ci->fp, CERT_FP_BYTES) == 0)
                depth = (int)k;
        if (depth < 0)
            FIND(&r->leaf, LINT_STRAY, -1, NULL,
                 "%s is no part of the path: it is sent for nothing", ci->subject);
        else if (ci->is_self_issued && (size_t)depth + 1 == r->best_path.n)
            FIND(&r->leaf, LINT_ROOT_SENT, depth, ci, "the root need not be sent");
    }
}

/* -- together -- */

/* Read the chain; what cannot be read is said and left out.  Returns 0 or -ERR_NOMEM; 1: there is
 * no leaf. */
static int fill_pool(struct run *r)
{
    const struct lint_input *in = r->in;
    size_t anchors = in->anchors == NULL ? 0 : in->anchors->count;

    r->pool = calloc(in->chain_count + anchors + 1, sizeof(*r->pool));
    r->own = calloc(in->chain_count + 1, sizeof(*r->own));
    if (r->pool == NULL || r->own == NULL)
        return -ERR_NOMEM;
    for (size_t i = 0; i < in->chain_count; i++) {
        struct err err = {0};
        struct cert_info *ci = cert_info_new(in->chain[i].p, in->chain[i].n, &err);

        if (ci == NULL && err.code == ERR_NOMEM)
            return -ERR_NOMEM;
        if (ci == NULL) {
            FIND(&r->leaf, LINT_MALFORMED, i == 0 ? 0 : -1, NULL, "certificate %zu cannot be read",
                 i + 1);
            if (i == 0)
                return 1;
            continue;
        }
        r->own[r->chain_count] = ci;
        r->pool[r->chain_count++] = (struct path_cert){.der = in->chain[i], .info = ci};
    }
    if (r->chain_count == 0) {
        FIND(&r->leaf, LINT_MALFORMED, 0, NULL, "there is no certificate");
        return 1;
    }
    r->pool_count = r->chain_count;
    for (size_t a = 0; a < anchors; a++) {
        const struct anchor *from = &in->anchors->all[a];
        bool there = false;

        for (size_t i = 0; i < r->pool_count; i++)
            if (memcmp(r->pool[i].info->fp, from->info->fp, CERT_FP_BYTES) == 0)
                there = r->pool[i].anchor = true;
        if (!there)
            r->pool[r->pool_count++] =
                (struct path_cert){.der = {from->der, from->n}, .info = from->info, .anchor = true};
    }
    return 0;
}

static int collect(struct run *r, struct lint_report *out)
{
    struct findings *f = &r->leaf;

    for (size_t i = 0; i < r->best.count; i++) {
        struct lint_finding *to = finding_new(f);

        if (to != NULL)
            *to = r->best.all[i];
    }
    if (f->failed || r->best.failed)
        return -ERR_NOMEM;
    if (f->count > 1)
        qsort(f->all, f->count, sizeof(*f->all), graver_first);
    out->all = f->all;
    out->count = f->count;
    out->trusted = r->has_best && r->best_path.end == PATH_ANCHORED && !has_error(&r->best);
    out->path_len = r->has_best ? r->best_path.n : 0;
    f->all = NULL;
    return 0;
}

int lint_run(const struct lint_input *in, struct lint_report *out)
{
    struct run r = {.in = in};
    struct lint_report report = {0};
    int rc = fill_pool(&r);

    if (rc == 0) {
        check_leaf(&r);
        report.signatures = path_each(r.pool, r.pool_count, judge, &r);
        check_rest(&r);
    }
    if (rc >= 0)
        rc = collect(&r, &report);
    for (size_t i = 0; i < r.chain_count; i++)
        cert_info_free(r.own[i]);
    free(r.own);
    free(r.pool);
    free(r.leaf.all);
    free(r.best.all);
    *out = rc == 0 ? report : (struct lint_report){0};
    return rc;
}
