/* control/hub_lint.c - what lint says of the identities of devices, and what it keeps from being
 * flipped to.
 *
 * All of it is looked at when an identity is read, which is what costs signatures; what time brings
 * about is told from the dates whenever somebody asks.  So a command for ten thousand devices does
 * not check ten thousand signatures.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "control/hub_inside.h"
#include "lint/files.h"

#define CHAIN_MAX 16
#define DAY_S     INT64_C(86400)
#define BIT(code) (UINT64_C(1) << (code))

_Static_assert(LINT_CODES <= 64, "struct hub_lint has a bit for each");

/* What the clock brings about, and mends: such an identity may wait for its time. */
#define DATES (BIT(LINT_NOT_YET_VALID) | BIT(LINT_EXPIRED))
/* What no force overrides: it cannot work. */
#define HOPELESS (BIT(LINT_KEY_MISMATCH) | BIT(LINT_KEY_UNREADABLE) | BIT(LINT_MALFORMED))

bool hub_lint_has_anchors(const struct hub *h)
{
    return h->lint_anchors != NULL;
}

static struct lint_policy policy_of(const struct conf *conf)
{
    return (struct lint_policy){
        .expiring_days = conf->lint.expiring_days,
        .max_validity_days = conf->lint.max_validity_days,
        .min_rsa_bits = conf->lint.min_rsa_bits,
        .backdate_h = conf->lint.backdate_h,
        .name_match = conf->lint.name_match == CONF_NAME_OFF    ? LINT_NAME_OFF
                      : conf->lint.name_match == CONF_NAME_WARN ? LINT_NAME_WARN
                                                                : LINT_NAME_ERROR,
    };
}

bool hub_lint_same(const struct conf *a, const struct conf *b)
{
    struct lint_policy x = policy_of(a), y = policy_of(b);

    return x.expiring_days == y.expiring_days && x.max_validity_days == y.max_validity_days &&
           x.min_rsa_bits == y.min_rsa_bits && x.backdate_h == y.backdate_h &&
           x.name_match == y.name_match;
}

/* -- who else has it -- */

struct others {
    const struct hub *hub;
    const struct hub_device *device;
    enum flip_slot slot;
    char who[200];
};

static bool same_key(const struct cert_info *a, const struct cert_info *b)
{
    return memcmp(a->spki_fp, b->spki_fp, CERT_FP_BYTES) == 0;
}

/* The same certificate in two slots is one certificate. */
static bool same_serial(const struct cert_info *a, const struct cert_info *b)
{
    return a->issuer != NULL && b->issuer != NULL && strcmp(a->serial_hex, b->serial_hex) == 0 &&
           strcmp(a->issuer, b->issuer) == 0 && memcmp(a->fp, b->fp, CERT_FP_BYTES) != 0;
}

static const char *find_other(struct others *o, const struct cert_info *leaf,
                              bool (*same)(const struct cert_info *a, const struct cert_info *b))
{
    for (size_t i = 0; i < o->hub->count; i++) {
        const struct hub_device *d = o->hub->sorted[i];

        for (int slot = 0; slot < FLIP_SLOTS; slot++) {
            if ((d == o->device && slot == (int)o->slot) || d->cred[slot] == NULL ||
                !same(leaf, cred_leaf(d->cred[slot])))
                continue;
            snprintf(o->who, sizeof(o->who), "%s%s, %s", d == o->device ? "this device" : "device ",
                     d == o->device ? "" : d->name, flip_slot_name((enum flip_slot)slot));
            return o->who;
        }
    }
    return NULL;
}

static const char *key_user(void *arg, const struct cert_info *leaf)
{
    return find_other(arg, leaf, same_key);
}

static const char *serial_user(void *arg, const struct cert_info *leaf)
{
    return find_other(arg, leaf, same_serial);
}

static bool is_revoked(void *arg, const struct cert_info *cert, struct slice der)
{
    const struct others *o = arg;

    (void)cert;
    return hub_lint_revoked(o->hub, der);
}

/* -- one identity -- */

static int run(const struct hub *h, const char *device, const struct cred *cred, int64_t now_s,
               struct others *others, struct lint_report *out)
{
    struct lint_policy policy = policy_of(h->snapshot->conf);
    struct slice chain[CHAIN_MAX];
    struct others nobody = {.hub = h};
    struct lint_input in = {
        .chain = chain,
        .purpose = LINT_CLIENT,
        .anchors = h->lint_anchors,
        .policy = &policy,
        .now_s = now_s,
        .name = device,
        .revoked = h->lint_crls == NULL ? NULL : is_revoked,
        .arg = others == NULL ? &nobody : others,
    };

    if (h->clock.sync.known)
        in.clock = h->clock.sync.synchronised ? LINT_CLOCK_SYNCHRONISED : LINT_CLOCK_UNSYNCHRONISED;
    *out = (struct lint_report){0};
    in.chain_count = cred_chain(cred, chain, CHAIN_MAX);
    if (in.chain_count == 0)
        return 0;
    if (others != NULL) {
        in.key_user = key_user;
        in.serial_user = serial_user;
    }
    return lint_run(&in, out);
}

int hub_lint(const struct hub *h, const struct hub_device *d, enum flip_slot slot, int64_t now_s,
             struct lint_report *out)
{
    return hub_lint_cred(h, d->name, slot, d->cred[slot], now_s, out);
}

int hub_lint_cred(const struct hub *h, const char *device, enum flip_slot slot,
                  const struct cred *cred, int64_t now_s, struct lint_report *out)
{
    struct others others = {.hub = h, .device = hub_find(h, device), .slot = slot};

    return run(h, device, cred, now_s, &others, out);
}

const struct lint_finding *hub_lint_lasting(const struct lint_report *r)
{
    for (size_t i = 0; i < r->count; i++)
        if (r->all[i].severity == LINT_ERROR && (BIT(r->all[i].code) & DATES) == 0)
            return &r->all[i];
    return NULL;
}

static void log_errors(const struct hub_device *d, enum flip_slot slot, const struct lint_report *r)
{
    const struct lint_finding *f = hub_lint_lasting(r);

    if (f == NULL)
        f = lint_worst(r);
    if (f == NULL || f->severity != LINT_ERROR)
        return;
    log_event(LOG_CERT, LOG_WARN_, "identity-lint",
              "device=%s slot=%s code=%s x509=%s msg=%s todo=%s", d->name, flip_slot_name(slot),
              lint_kind(f->code)->code,
              lint_kind(f->code)->x509 == NULL ? "-" : lint_kind(f->code)->x509, LOG_Q(f->text),
              LOG_Q(lint_kind(f->code)->remedy));
}

void hub_lint_look(struct hub *h, struct hub_device *d, enum flip_slot slot)
{
    struct hub_lint *bits = &d->lint[slot], was = *bits;
    const struct lint_finding *keeps;
    struct lint_report r = {0};

    if (slot == FLIP_NEW)
        hub_replace(&d->lint_text, NULL);
    bits->errors = bits->warnings = 0;
    if (d->cred[slot] == NULL)
        return;
    if (run(h, d->name, d->cred[slot], clock_date_s(), NULL, &r) != 0) {
        log_event(LOG_CERT, LOG_ERROR_, "identity-lint", "device=%s slot=%s msg=%s", d->name,
                  flip_slot_name(slot), LOG_Q("no memory to judge it"));
        return;
    }
    for (size_t i = 0; i < r.count; i++) {
        if (r.all[i].code == LINT_CLOCK)
            continue; /* status says so, once for all devices */
        if (r.all[i].severity == LINT_ERROR)
            bits->errors |= BIT(r.all[i].code);
        else if (r.all[i].severity == LINT_WARNING)
            bits->warnings |= BIT(r.all[i].code);
    }
    if (slot == FLIP_NEW && (keeps = hub_lint_lasting(&r)) != NULL) {
        char *text = str_printf("%s: %s [%s]", keeps->text, lint_kind(keeps->code)->remedy,
                                lint_kind(keeps->code)->code);

        hub_replace(&d->lint_text, text == NULL ? lint_kind(keeps->code)->help : text);
        free(text);
    }
    if (bits->errors != was.errors)
        log_errors(d, slot, &r);
    lint_report_fini(&r);
}

bool hub_lint_keeps(const struct hub_device *d)
{
    return (d->lint[FLIP_NEW].errors & ~DATES) != 0;
}

void hub_lint_fault(struct hub_device *d)
{
    bool waits = d->flip.phase == FLIP_STEADY || d->flip.phase == FLIP_STAGED ||
                 d->flip.phase == FLIP_ROLLED_BACK;

    if (d->cred[FLIP_NEW] == NULL) /* that fault is about the files */
        return;
    hub_replace(&d->fault[FLIP_NEW], waits && hub_lint_keeps(d) ? d->lint_text : NULL);
}

int hub_lint_refuse(const struct hub *h, const struct hub_device *d, bool force, const char *who,
                    struct rpc_fault *f)
{
    struct lint_report r = {0};
    const struct lint_finding *worst;
    const struct lint_kind *kind;
    uint64_t found = 0;

    if (hub_lint_now(h, d, FLIP_NEW).errors == 0)
        return 0;
    if (hub_lint(h, d, FLIP_NEW, clock_date_s(), &r) != 0)
        return rpc_refuse(f, RPC_BUSY, NULL, "device %s: out of memory", d->name);
    worst = lint_worst(&r);
    for (size_t i = 0; i < r.count; i++)
        found |= r.all[i].severity == LINT_ERROR ? BIT(r.all[i].code) : 0;
    if (found == 0) {
        lint_report_fini(&r);
        return 0;
    }
    kind = lint_kind(worst->code);
    if (force && (found & HOPELESS) == 0) {
        log_event(LOG_FLIP, LOG_WARN_, "lint-overridden", "device=%s by=%s code=%s msg=%s", d->name,
                  who == NULL ? HUB_SELF : who, kind->code, LOG_Q(worst->text));
        lint_report_fini(&r);
        return 0;
    }
    rpc_refuse(f, RPC_LINT, kind->remedy, "device %s: the new identity: %s [%s]", d->name,
               worst->text, kind->code);
    lint_report_fini(&r);
    return -1;
}

/* -- what is there twice -- */

/* Counted as identities come and go: so a command for one device does not look at all the others,
 * and however many share a key, that one is shared is known at once. */
struct tally {
    struct map *keys;    /* slots by public key */
    struct map *leaves;  /* slots by certificate */
    struct map *serials; /* different certificates by issuer and serial number */
};

#define TALLY_TEXT 17

/* Of a digest with 64 bits and a seed that nobody knows: that two are the same by chance does not
 * happen, and would be a warning too many. */
static const char *tally_text(uint64_t hash, char out[TALLY_TEXT])
{
    snprintf(out, TALLY_TEXT, "%016llx", (unsigned long long)hash);
    return out;
}

static uintptr_t tally_get(const struct map *m, uint64_t hash)
{
    char text[TALLY_TEXT];

    return (uintptr_t)map_get(m, tally_text(hash, text));
}

/* Returns how many there were.  Without memory it is not counted: a warning less. */
static uintptr_t tally_add(struct map *m, uint64_t hash, int by)
{
    char text[TALLY_TEXT];
    uintptr_t was = (uintptr_t)map_get(m, tally_text(hash, text)), is = was + (uintptr_t)by;

    if (was == 0 && by < 0)
        return 0;
    if (is == 0)
        map_del(m, text);
    else
        (void)map_put(m, text, (void *)is);
    return was;
}

static uint64_t key_hash(const struct cert_info *ci)
{
    return map_hash(ci->spki_fp, CERT_FP_BYTES);
}

static uint64_t leaf_hash(const struct cert_info *ci)
{
    return map_hash(ci->fp, CERT_FP_BYTES);
}

/* RFC 5280 section 4.1.2.2: it is unique for each certificate of an issuer. */
static uint64_t serial_hash(const struct cert_info *ci)
{
    return map_hash(ci->serial_hex, strlen(ci->serial_hex)) ^
           map_hash(ci->issuer, strlen(ci->issuer));
}

static void count(struct tally *t, const struct cert_info *ci, int by)
{
    uintptr_t was;

    tally_add(t->keys, key_hash(ci), by);
    if (ci->issuer == NULL)
        return;
    was = tally_add(t->leaves, leaf_hash(ci), by);
    if (was == (by > 0 ? 0 : 1)) /* the first, or the last, with this certificate */
        tally_add(t->serials, serial_hash(ci), by);
}

int hub_lint_init(struct hub *h)
{
    struct tally *t = calloc(1, sizeof(*t));

    if (t == NULL)
        return -ERR_NOMEM;
    h->lint_tally = t;
    t->keys = map_new();
    t->leaves = map_new();
    t->serials = map_new();
    return t->keys == NULL || t->leaves == NULL || t->serials == NULL ? -ERR_NOMEM : 0;
}

void hub_lint_fini(struct hub *h)
{
    if (h->lint_tally == NULL)
        return;
    map_free(h->lint_tally->keys);
    map_free(h->lint_tally->leaves);
    map_free(h->lint_tally->serials);
    free(h->lint_tally);
}

void hub_lint_count(struct hub *h, struct hub_device *d, bool gone)
{
    for (int slot = 0; slot < FLIP_SLOTS; slot++) {
        struct cred *is = gone ? NULL : d->cred[slot], *was = d->lint_counted[slot];

        if (is == was)
            continue;
        d->lint_counted[slot] = cred_ref(is);
        if (is != NULL)
            count(h->lint_tally, cred_leaf(is), 1);
        if (was != NULL)
            count(h->lint_tally, cred_leaf(was), -1);
        cred_unref(was);
    }
}

/* Findings about what others have, too. */
static uint64_t reused(const struct hub *h, const struct cert_info *leaf)
{
    const struct tally *t = h->lint_tally;
    uint64_t found = 0;

    if (tally_get(t->keys, key_hash(leaf)) > 1)
        found |= BIT(LINT_KEY_REUSED);
    if (leaf->issuer != NULL && tally_get(t->serials, serial_hash(leaf)) > 1)
        found |= BIT(LINT_SERIAL_REUSED);
    return found;
}

/* -- now -- */

struct hub_lint hub_lint_now(const struct hub *h, const struct hub_device *d, enum flip_slot slot)
{
    struct hub_lint bits = d->lint[slot];
    const struct conf_lint *conf = &h->snapshot->conf->lint;
    int64_t now_s = clock_date_s(), soon = conf->expiring_days * DAY_S;
    const struct cert_info *leaf;

    if (d->cred[slot] == NULL)
        return bits;
    leaf = cred_leaf(d->cred[slot]);
    if (soon > (leaf->not_after_s - leaf->not_before_s) / 3)
        soon = (leaf->not_after_s - leaf->not_before_s) / 3;
    if (now_s >= leaf->not_before_s)
        bits.errors &= ~BIT(LINT_NOT_YET_VALID);
    else
        bits.errors |= BIT(LINT_NOT_YET_VALID);
    if (now_s - leaf->not_before_s >= (int64_t)conf->backdate_h * 3600)
        bits.warnings &= ~BIT(LINT_NOT_BACKDATED);
    if (now_s > leaf->not_after_s) {
        bits.errors |= BIT(LINT_EXPIRED);
        bits.warnings &= ~BIT(LINT_EXPIRING);
    } else if (leaf->not_after_s - now_s < soon) {
        bits.warnings |= BIT(LINT_EXPIRING);
    }
    bits.warnings |= reused(h, leaf);
    return bits;
}

#define LOOKS 2000 /* devices at a time: about a millisecond */

void hub_lint_watch(struct hub *h)
{
    for (size_t n = 0; n < LOOKS && n < h->count; n++) {
        struct hub_device *d = h->sorted[h->looked++ % h->count];
        bool changed = false;

        for (int slot = 0; slot < FLIP_SLOTS; slot++) {
            struct hub_lint now = hub_lint_now(h, d, (enum flip_slot)slot);

            changed = changed || now.errors != d->shown[slot].errors ||
                      now.warnings != d->shown[slot].warnings;
            d->shown[slot] = now;
        }
        if (changed && d->looked_at)
            h->sink.device_changed(h->sink.arg, d->name);
        d->looked_at = true;
    }
}
