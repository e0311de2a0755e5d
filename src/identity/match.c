#include "identity/match.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/template.h"

/* The facts of one connection while the rules are tried. */
struct trial {
    const struct match_facts *facts;
    char *client_id; /* owned, NUL-terminated for the globs; NULL: cannot match any */
    char *username;
    const char *san; /* the one that the rule at hand found; NULL: none */
};

/* Why a rule does not hold. */
struct misfit {
    const char *what;   /* "cn" */
    const char *shown;  /* NULL: nothing was */
    const char *wanted; /* NULL: no more than something */
};

/* -- templates
 * ------------------------------------------------------------------------------------- */

static struct slice field_value(const struct match_facts *f, enum template_field field,
                                const char *device, const char *gateway, const char *san)
{
    switch (field) {
    case TEMPLATE_CLIENT_ID:
        return f->client_id;
    case TEMPLATE_DEVICE:
        return slice_of(device);
    case TEMPLATE_CN:
        return slice_of(f->cn);
    case TEMPLATE_SAN:
        return slice_of(san);
    case TEMPLATE_USERNAME:
        return f->has_username ? f->username : slice_of(NULL);
    case TEMPLATE_PASSWORD:
        return f->has_password ? f->password : slice_of(NULL);
    case TEMPLATE_GATEWAY:
        return slice_of(gateway);
    case TEMPLATE_FIELDS:
    case TEMPLATE_TEXT:
        break;
    }
    return slice_of(NULL);
}

static int expand(const char *template, const struct match_facts *facts, const char *device,
                  const char *gateway, const char *san, struct buf *out)
{
    struct template_piece piece;
    int rc;

    while ((rc = template_next(&template, &piece)) > 0) {
        struct slice s = piece.field == TEMPLATE_TEXT
                             ? piece.text
                             : field_value(facts, piece.field, device, gateway, san);

        if (buf_append(out, s.p, s.n) != 0)
            return -ERR_NOMEM;
    }
    return rc;
}

int match_template(const char *template, const struct match_facts *facts, const char *device,
                   const char *gateway, struct buf *out)
{
    return expand(template, facts, device, gateway, facts->san_count > 0 ? facts->sans[0] : NULL,
                  out);
}

int match_template_check(const char *template, struct err *err)
{
    return template_check(template, TEMPLATE_ALL, err);
}

/* -- conditions
 * -------------------------------------------------------------------------------------- */

/* Takes as long for every password that is shown. */
static bool same_secret(const char *wanted, struct slice shown)
{
    size_t n = strlen(wanted);
    volatile unsigned differ = n != shown.n;

    for (size_t i = 0; i < n; i++)
        differ |= (unsigned)((uint8_t)wanted[i] ^ (i < shown.n ? shown.p[i] : 0u));
    return differ == 0;
}

/* One condition over text: `held` counts it when it holds. */
static bool text_holds(const char *what, const char *wanted, const char *shown, bool glob,
                       unsigned *held, struct misfit *why)
{
    if (wanted == NULL)
        return true;
    if (shown != NULL && (glob ? str_glob(wanted, shown) : strcmp(wanted, shown) == 0)) {
        ++*held;
        return true;
    }
    *why = (struct misfit){what, shown, wanted};
    return false;
}

static bool san_holds(struct trial *t, const struct conf_rule *r, unsigned *held,
                      struct misfit *why)
{
    const struct match_facts *f = t->facts;

    t->san = f->san_count > 0 ? f->sans[0] : NULL;
    if (r->san == NULL)
        return true;
    for (size_t i = 0; i < f->san_count; i++) {
        if (str_glob(r->san, f->sans[i])) {
            t->san = f->sans[i];
            ++*held;
            return true;
        }
    }
    *why = (struct misfit){"san", t->san, r->san};
    return false;
}

/* What the template of the name needs must have been shown. */
static bool name_holds(const struct trial *t, const struct conf_rule *r, struct misfit *why)
{
    unsigned fields = template_fields(r->name);

    for (unsigned i = 0; i < TEMPLATE_FIELDS; i++) {
        if ((fields & TEMPLATE_BIT(i)) != 0 && i != TEMPLATE_GATEWAY &&
            field_value(t->facts, (enum template_field)i, NULL, NULL, t->san).n == 0) {
            *why = (struct misfit){template_field_name((enum template_field)i), NULL, NULL};
            return false;
        }
    }
    return true;
}

/* Do all conditions hold?  `held` is how many did before the first that does not. */
static bool rule_holds(struct trial *t, const struct conf_rule *r, unsigned *held,
                       struct misfit *why)
{
    const struct match_facts *f = t->facts;

    *held = 0;
    if (!text_holds("listener", r->listener, f->listener, false, held, why))
        return false;
    if (r->network_count > 0) {
        if (!subnet_has(r->networks, r->network_count, f->peer)) {
            *why = (struct misfit){"network", NULL, NULL};
            return false;
        }
        ++*held;
    }
    if (!text_holds("cn", r->cn, f->cn, true, held, why) || !san_holds(t, r, held, why) ||
        !text_holds("issuer", r->issuer, f->issuer, true, held, why) ||
        !text_holds("fingerprint", r->fingerprint, f->fingerprint, false, held, why) ||
        !text_holds("client_id", r->client_id, t->client_id, true, held, why) ||
        !text_holds("username", r->username, t->username, true, held, why))
        return false;
    if (r->password != NULL) {
        if (!f->has_password || !same_secret(r->password, f->password)) {
            *why = (struct misfit){"password", NULL, NULL};
            return false;
        }
        ++*held;
    }
    if (*held == 0 && !r->any) {
        *why = (struct misfit){"listener", f->listener, "its own Unix listener"};
        return false;
    }
    return name_holds(t, r, why);
}

/* -- words
 * -------------------------------------------------------------------------------------------- */

static void shown_text(struct buf *out, const char *what, const char *value, size_t n)
{
    if (value != NULL)
        buf_printf(out, " %s \"%.*s%s\"", what, (int)(n < 48 ? n : 48), value, n < 48 ? "" : "...");
}

/* "cn "x" issuer "y" client_id "z" from 192.0.2.1 at listener "l"" */
static void shown(const struct match_facts *f, struct buf *out)
{
    char addr[INET6_ADDRSTRLEN] = "";

    if (f->cn != NULL)
        shown_text(out, "cn", f->cn, strlen(f->cn));
    if (f->san_count > 0)
        shown_text(out, "san", f->sans[0], strlen(f->sans[0]));
    if (f->issuer != NULL)
        shown_text(out, "issuer", f->issuer, strlen(f->issuer));
    if (f->fingerprint != NULL)
        shown_text(out, "fingerprint", f->fingerprint, 16);
    else
        buf_printf(out, " no certificate,");
    shown_text(out, "client_id", f->client_id.n == 0 ? "" : (const char *)f->client_id.p,
               f->client_id.n);
    if (f->has_username)
        shown_text(out, "username", f->username.n == 0 ? "" : (const char *)f->username.p,
                   f->username.n);
    if (f->peer != NULL && f->peer->sa_family == AF_INET)
        inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)f->peer)->sin_addr, addr,
                  sizeof(addr));
    else if (f->peer != NULL && f->peer->sa_family == AF_INET6)
        inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)(const void *)f->peer)->sin6_addr, addr,
                  sizeof(addr));
    if (addr[0] != '\0')
        buf_printf(out, " from %s", addr);
    if (f->listener != NULL)
        buf_printf(out, " at listener \"%s\"", f->listener);
}

static void misfit_text(const struct misfit *why, struct buf *out)
{
    if (why->shown != NULL)
        buf_printf(out, "%s \"%.64s\" is not \"%.64s\"", why->what, why->shown, why->wanted);
    else if (why->wanted != NULL)
        buf_printf(out, "it wants %s \"%.64s\", and none was shown", why->what, why->wanted);
    else if (strcmp(why->what, "password") == 0)
        buf_printf(out, "the password is another, or missing");
    else if (strcmp(why->what, "network") == 0)
        buf_printf(out, "the address is in none of its networks");
    else
        buf_printf(out, "its name needs %s, and none was shown", why->what);
}

static int nobody(const struct conf *conf, const struct match_facts *facts,
                  const struct conf_rule *nearest, const struct misfit *why, struct err *err)
{
    struct buf text = {0};
    int rc;

    if (err == NULL)
        return -ERR_NOT_FOUND;
    shown(facts, &text);
    if (nearest != NULL) {
        buf_printf(&text, "; nearest is \"%.64s\" (%s:%u): ", nearest->name, nearest->file,
                   nearest->line);
        misfit_text(why, &text);
    } else if (conf->rule_count == 0) {
        buf_printf(&text, "; devices has no rules");
    }
    rc = err_set(err, ERR_NOT_FOUND, "no rule for%.*s: add one to devices, or mend what was shown",
                 (int)text.len, text.p == NULL ? "" : (const char *)text.p);
    buf_fini(&text);
    return rc;
}

/* -- the decision
 * --------------------------------------------------------------------------------------- */

/* The rule holds: name the device. */
static int settle(const struct conf *conf, struct trial *t, const struct conf_rule *r,
                  struct match_result *out, struct err *err)
{
    const struct match_facts *f = t->facts;
    struct match_result result = {.rule = r};
    struct buf name = {0};
    int rc = expand(r->name, f, NULL, conf->gateway, t->san, &name);

    if (rc == 0 && buf_append_u8(&name, '\0') != 0)
        rc = -ERR_NOMEM;
    if (rc != 0) {
        err_set(err, (enum err_code) - rc, "rule \"%s\" (%s:%u): %s", r->name, r->file, r->line,
                rc == -ERR_NOMEM ? "out of memory" : "its name is no template");
    } else if (strlen((const char *)name.p) + 1 != name.len || !str_is_name((const char *)name.p)) {
        rc = err_set(err, ERR_INVALID,
                     "rule \"%s\" (%s:%u) gives \"%.140s\", which is no device's name: 1 to 128 of "
                     "A-Z a-z 0-9 . _ -, not beginning with . or -",
                     r->name, r->file, r->line, (const char *)name.p);
    } else {
        memcpy(result.device, name.p, name.len); /* a name has at most 128 bytes */
    }
    buf_fini(&name);
    if (rc != 0)
        return rc;
    if (template_fields(r->name) != 0) {
        const struct conf_rule *own = conf_rule_find(conf, result.device);

        if (own != NULL) /* else a pinned device could be had by whoever shows its name */
            return err_set(err, ERR_DENIED,
                           "rule \"%s\" (%s:%u) gives device %s, which has a rule of its own "
                           "(%s:%u) that does not hold: mend what was shown, or that rule",
                           r->name, r->file, r->line, result.device, own->file, own->line);
    }
    if (!r->any_client_id && r->client_id == NULL && !slice_is(f->client_id, result.device))
        return err_set(err, ERR_DENIED,
                       "device %s came with client identifier \"%.*s\": rule \"%s\" (%s:%u) allows "
                       "only its own name (any_client_id)",
                       result.device, (int)(f->client_id.n < 64 ? f->client_id.n : 64),
                       f->client_id.n == 0 ? "" : (const char *)f->client_id.p, r->name, r->file,
                       r->line);
    *out = result;
    return 0;
}

/* A copy with a NUL at its end; NULL, and *ok false, when out of memory; NULL when it holds one. */
static char *text_of(struct slice s, bool *ok)
{
    char *p;

    if (s.n > 0 && memchr(s.p, '\0', s.n) != NULL)
        return NULL;
    p = malloc(s.n + 1);
    if (p == NULL) {
        *ok = false;
        return NULL;
    }
    if (s.n > 0)
        memcpy(p, s.p, s.n);
    p[s.n] = '\0';
    return p;
}

/* The Unix listener that is made for one device says who it is. */
static const struct conf_rule *bound_rule(const struct conf *conf, const struct match_facts *facts)
{
    const struct conf_listener *l =
        facts->listener == NULL ? NULL : conf_listener_find(conf, facts->listener);

    return l == NULL || l->device == NULL ? NULL : conf_rule_find(conf, l->device);
}

int match_device(const struct conf *conf, const struct match_facts *facts, struct match_result *out,
                 struct err *err)
{
    const struct conf_rule *rule = bound_rule(conf, facts);
    const struct conf_rule *nearest = NULL;
    struct misfit nearest_why = {0};
    unsigned nearest_held = 0;
    struct trial t = {.facts = facts};
    bool ok = true;
    int rc;

    if (rule != NULL)
        return settle(conf, &t, rule, out, err);
    t.client_id = text_of(facts->client_id, &ok);
    if (facts->has_username)
        t.username = text_of(facts->username, &ok);
    if (!ok) {
        rc = err_set(err, ERR_NOMEM, "out of memory");
        goto out;
    }
    for (size_t i = 0; i < conf->rule_count; i++) {
        const struct conf_rule *r = &conf->rules[i];
        struct misfit why = {0};
        unsigned held;

        if (rule_holds(&t, r, &held, &why)) {
            rc = settle(conf, &t, r, out, err);
            goto out;
        }
        if (nearest == NULL || held > nearest_held) {
            nearest = r;
            nearest_held = held;
            nearest_why = why;
        }
    }
    rc = nobody(conf, facts, nearest, &nearest_why, err);
out:
    free(t.client_id);
    free(t.username);
    return rc;
}
